"""Training and development rows of an MRL head: assays joined, each standardised on its own training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.data.labelled_rows import LabelledRows
from rnafm_cli.data.labelled_sets import read_sets, split_sets
from rnafm_cli.errors import InputError
from rnafm_cli.training.function_config import FunctionData

__all__ = ["LoadRows", "assemble_loads"]


@dataclass
class LoadRows:
    """All training rows, assay after assay, and the development rows of each assay.

    Args:
        sequences: n UTRs, none longer than the head reads.
        labels: (n,) float32, standardised.
        assays: (n,) number of the assay of each.
        means, deviations: of the labels of each assay's training rows.
        counts: rows read and left out, by reason.
    """

    names: tuple[str, ...]
    sequences: list[str]
    labels: NDArray[np.float32]
    assays: NDArray[np.int64]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    dev: list[LabelledRows]
    counts: dict[str, int]


def assemble_loads(
    paths: Sequence[Path], data: FunctionData, *, length: int, report: Callable[[str], None]
) -> LoadRows:
    """Read the assays (column ``mrl``), split them and join their training rows; of longer UTRs the 3' end counts.

    Raises:
        InputError: for an assay whose training or development labels do not vary.
    """
    train, dev, counts = split_sets(
        read_sets(paths, "mrl", binary=False),
        dev_share=data.dev_share,
        filter_leaks=data.filter_leaks,
        seed=data.seed,
        report=report,
    )
    counts["cut to their 3' end"] = sum(len(s) > length for rows in (*train, *dev) for s in rows.sequences)
    report("rows: " + ", ".join(f"{name} {count}" for name, count in counts.items() if count))
    for rows in (*train, *dev):
        rows.sequences[:] = [sequence[-length:] for sequence in rows.sequences]
    means = [float(rows.values.mean()) for rows in train]
    deviations = [float(rows.values.std()) for rows in train]
    for rows, deviation in zip(train, deviations, strict=True):
        if not deviation > 0:
            raise InputError(f"{rows.name}: its training rows all have the same ribosome load")
    for rows in dev:
        if len(set(rows.values.tolist())) < 2:
            raise InputError(
                f"{rows.name}: its {len(rows)} development rows all have the same ribosome load",
                hint="give more rows, or another split",
            )
    labels = [(rows.values - m) / d for rows, m, d in zip(train, means, deviations, strict=True)]
    return LoadRows(
        names=tuple(rows.name for rows in train),
        sequences=[sequence for rows in train for sequence in rows.sequences],
        labels=np.concatenate(labels).astype(np.float32),
        assays=np.repeat(np.arange(len(train)), [len(rows) for rows in train]),
        means=tuple(means),
        deviations=tuple(deviations),
        dev=dev,
        counts=counts,
    )
