"""Training and development rows of RBP and MRL heads: sets and assays joined, leaks taken out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.function.heads import BindingConfig, MrlConfig
from rnafm_cli.training.labelled_rows import LabelledRows, read_sets, split_sets, write_labelled
from rnafm_cli.training.recipes import BindingRecipe, RowRecipe

KEPT_ROWS = "rows"
"""Folder of a run with its rows, a table for each set: what was trained on and what was held out, by ``split``."""


@dataclass
class TrainingRows:
    """All training rows, set after set, and the development rows of each set.

    Args:
        names: of the sets.
        sequences: of the n training rows, then of the development rows; none is longer than the head reads.
        values: (n,) float32: labels 0 or 1, or measurements standardised within their set.
        sets: (n,) number of the set of each training row.
        means, deviations: of the values of each set's training rows, before they were standardised.
        dev: development rows, one part for each set; their values are as they were read.
        counts: rows read and left out, by reason.
    """

    names: tuple[str, ...]
    sequences: list[str]
    values: NDArray[np.float32]
    sets: NDArray[np.int64]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    dev: list[LabelledRows]
    counts: dict[str, int]

    def __len__(self) -> int:
        """Training rows."""
        return len(self.values)

    def drawn(self, share: float, *, seed: int) -> NDArray[np.int64]:
        """Numbers of a share of the training rows, ascending, drawn without regard to labels.

        What is computed for these alone says nothing about a row's label by being there.
        """
        count = round(min(1.0, share) * len(self))
        return np.sort(np.random.default_rng([seed, 1]).permutation(len(self))[:count])


def read_training_rows(
    paths: Sequence[Path], recipe: RowRecipe, *, report: Callable[[str], None], run: Path
) -> TrainingRows:
    """Read the tables, split them and join their training rows.

    Of a row longer than the head reads, an RBP head gets the middle and an MRL head the 3' end. An RBP head is measured
    on at most ``run.score_rows`` development rows of each set, drawn with seed 0.

    Args:
        run: folder that gets the rows by split, as :data:`KEPT_ROWS`.
    """
    binding = isinstance(recipe, BindingRecipe)
    column, length, end = ("label", BindingConfig.window, "middle") if binding else ("mrl", MrlConfig.length, "3' end")
    train, dev, counts = split_sets(read_sets(paths, column, binary=binding), recipe.data, report)
    (run / KEPT_ROWS).mkdir(parents=True, exist_ok=True)
    for parts in zip(train, dev, strict=True):
        write_labelled(run / KEPT_ROWS / f"{parts[0].name}.tsv.gz", parts, column)
        for rows, name in zip(parts, ("training", "development"), strict=True):
            if len(set(rows.values.tolist())) < 2:
                same = "are all of one label" if binding else "all have the same ribosome load"
                raise InputError(
                    f"{rows.name}: its {len(rows)} {name} rows {same}",
                    hint="values must differ in both parts: give more rows, or another split",
                )
    counts[f"cut to their {end}"] = sum(len(s) > length for rows in (*train, *dev) for s in rows.sequences)
    if binding:
        counts["bound"] = int(sum(rows.values.sum() for rows in train))
    report("rows: " + ", ".join(f"{name} {count}" for name, count in counts.items() if count))
    for rows in (*train, *dev):
        starts = [max(0, (len(s) - length) // 2 if binding else len(s) - length) for s in rows.sequences]
        rows.sequences[:] = [s[start : start + length] for s, start in zip(rows.sequences, starts, strict=True)]
    means, deviations = ([float(of(rows.values)) for rows in train] for of in (np.mean, np.std))
    values = [rows.values for rows in train]
    if not binding:
        values = [(some - m) / d for some, m, d in zip(values, means, deviations, strict=True)]
    if binding and (most := recipe.run.score_rows) > 0:
        dev = [rows.take(np.sort(np.random.default_rng(0).permutation(len(rows))[:most])) for rows in dev]
    return TrainingRows(
        names=tuple(rows.name for rows in train),
        sequences=[sequence for rows in (*train, *dev) for sequence in rows.sequences],
        values=np.concatenate(values).astype(np.float32),
        sets=np.repeat(np.arange(len(train)), [len(rows) for rows in train]),
        means=tuple(means),
        deviations=tuple(deviations),
        dev=dev,
        counts=counts,
    )
