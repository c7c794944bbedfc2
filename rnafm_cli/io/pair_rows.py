"""Pairs of bases with what is predicted of them, as writers take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.records import SequenceRecord

__all__ = ["PairRow", "pair_rows"]


class PairRow(NamedTuple):
    """A pair i < j (1-based), its letters, its contact probability, and its distance with deviation (Å)."""

    i: int
    j: int
    base_i: str
    base_j: str
    p: float | None = None
    distance: float | None = None
    sd: float | None = None


def pair_rows(
    record: SequenceRecord, pairs: NDArray[np.int64], maps: Mapping[str, NDArray[np.floating]]
) -> list[PairRow]:
    """The rows of chosen pairs, (N, 2) and 0-based, from what there is of ``contact``, ``distance``, ``sd``."""
    first, second = pairs[:, 0], pairs[:, 1]
    nothing = [None] * len(pairs)
    columns = [
        maps[name][first, second].tolist() if name in maps else nothing for name in ("contact", "distance", "sd")
    ]
    letters = record.sequence
    return [
        PairRow(i + 1, j + 1, letters[i], letters[j], p, distance, sd)
        for i, j, p, distance, sd in zip(first.tolist(), second.tolist(), *columns, strict=True)
    ]
