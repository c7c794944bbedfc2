"""Training and development rows of an RBP head: sets joined, leaks taken out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.data.labelled_rows import LabelledRows
from rnafm_cli.data.labelled_sets import read_sets, split_sets
from rnafm_cli.errors import InputError
from rnafm_cli.training.function_config import BindingData

__all__ = ["BindingRows", "assemble_binding", "drawn_rows"]

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


def assemble_binding(paths: Sequence[Path], data: BindingData, *, window: int, report: Report) -> BindingRows:
    """Read the sets, split them and join their training rows; longer rows keep their middle.

    Raises:
        InputError: for a set without bound or unbound rows in either part.
    """
    train, dev, counts = split_sets(
        read_sets(paths, "label", binary=True),
        dev_share=data.dev_share,
        filter_leaks=data.filter_leaks,
        seed=data.seed,
        report=report,
    )
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
