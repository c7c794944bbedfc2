"""Training and development rows of RBP and MRL heads: sets and assays joined, leaks taken out, smaller sets shown
more often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.training.labelled_rows import LabelledRows, read_sets, split_sets, write_labelled
from rnafm_cli.training.recipes import BindingData, RowData


def repeats(sets_N: NDArray[np.integer], power: float) -> NDArray[np.float64]:
    """(N,) how often each row is shown in a round on average: (largest set / its set) to ``power``."""
    sizes = np.bincount(sets_N).astype(np.float64)
    return ((sizes.max() / np.maximum(sizes, 1)) ** power)[sets_N]


def shown_rows(repeats_N: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Row numbers of one round in random order; a row shown 1.4 times comes once or twice."""
    times = np.floor(repeats_N + rng.random(len(repeats_N))).astype(np.int64)
    return rng.permutation(np.repeat(np.arange(len(repeats_N)), times))


Report = Callable[[str], None]


@dataclass
class BindingRows:
    """All training rows, set after set, and the development rows of each set.

    Args:
        sequences: n training windows, none longer than the head's.
        labels: (n,) float32, 0 or 1.
        sets: (n,) number of the set of each.
        dev: development rows, one set per protein.
        counts: rows read and left out, by reason.
    """

    proteins: tuple[str, ...]
    sequences: list[str]
    labels: NDArray[np.float32]
    sets: NDArray[np.int64]
    dev: list[LabelledRows]
    counts: dict[str, int]


ROWS = "rows"
"""Folder of a run with its rows, a table for each set: what was trained on and what was held out, by ``split``."""


def _split(
    paths: Sequence[Path], column: str, data: RowData, run: Path | None, report: Report
) -> tuple[list[LabelledRows], list[LabelledRows], dict[str, int]]:
    """Training and development part of each set, kept in the folder of the run, and how many rows were left out."""
    train, dev, counts = split_sets(
        read_sets(paths, column, binary=column == "label"),
        dev_share=data.dev_share,
        filter_leaks=data.filter_leaks,
        seed=data.seed,
        report=report,
    )
    if run is not None:
        (run / ROWS).mkdir(parents=True, exist_ok=True)
        for parts in zip(train, dev, strict=True):
            write_labelled(run / ROWS / f"{parts[0].name}.tsv.gz", parts, column)
    return train, dev, counts


def assemble_binding(
    paths: Sequence[Path], data: BindingData, *, window: int, report: Report, run: Path | None = None
) -> BindingRows:
    """Read the sets, split them and join their training rows; longer rows keep their middle.

    Args:
        run: folder that gets the rows by split.

    Raises:
        InputError: for a set without bound or unbound rows in either part.
    """
    train, dev, counts = _split(paths, "label", data, run, report)
    for part, name in ((train, "training"), (dev, "development")):
        for rows in part:
            if len(set(rows.values.tolist())) < 2:
                raise InputError(
                    f"{rows.name}: its {len(rows)} {name} rows are all of one label",
                    hint="both are needed: give more rows, or another split",
                )
    counts["cut to their middle"] = sum(len(s) > window for rows in (*train, *dev) for s in rows.sequences)
    counts["bound"] = int(sum(rows.values.sum() for rows in train))
    report("rows: " + ", ".join(f"{name} {count}" for name, count in counts.items() if count))
    for rows in (*train, *dev):
        rows.sequences[:] = [_middle(sequence, window) for sequence in rows.sequences]
    return BindingRows(
        proteins=tuple(rows.name for rows in train),
        sequences=[sequence for rows in train for sequence in rows.sequences],
        labels=np.concatenate([rows.values for rows in train]).astype(np.float32),
        sets=np.repeat(np.arange(len(train)), [len(rows) for rows in train]),
        dev=dev,
        counts=counts,
    )


def drawn_rows(rows: BindingRows, share: float, *, seed: int) -> NDArray[np.int64]:
    """Numbers of a share of the training rows, ascending, drawn without regard to labels.

    What is computed for these alone says nothing about a row's label by being there.
    """
    count = round(min(1.0, share) * len(rows.sequences))
    return np.sort(np.random.default_rng([seed, 1]).permutation(len(rows.sequences))[:count])


def _middle(sequence: str, window: int) -> str:
    start = max(0, (len(sequence) - window) // 2)
    return sequence[start : start + window]


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
    paths: Sequence[Path], data: RowData, *, length: int, report: Report, run: Path | None = None
) -> LoadRows:
    """Read the assays (column ``mrl``), split them and join their training rows; of longer UTRs the 3' end counts.

    Args:
        run: folder that gets the rows by split.

    Raises:
        InputError: for an assay whose training or development labels do not vary.
    """
    train, dev, counts = _split(paths, "mrl", data, run, report)
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
