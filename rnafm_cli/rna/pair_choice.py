"""Which pairs of a contact or distance map are written.

Shape suffixes: L bases, N pairs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import UsageError

__all__ = ["PairChoice", "Top", "parse_top"]

_TOP = re.compile(r"(?P<times>\d+(?:\.\d+)?)?\s*\*?\s*(?P<length>L)?\s*(?:/\s*(?P<part>\d+(?:\.\d+)?))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Top:
    """A number of pairs: fixed, or a multiple of the length."""

    times: float
    of_length: bool

    def count(self, length: int) -> int:
        """Pairs of an RNA, at least 1."""
        return max(1, int(self.times * (length if self.of_length else 1)))


def parse_top(text: str) -> Top:
    """Read ``L/2``, ``L``, ``1.5L`` or ``100``.

    Raises:
        UsageError: for anything else.
    """
    match = _TOP.fullmatch(text.strip())
    if match is None or not (match["times"] or match["length"]):
        raise UsageError(f"--top {text}: is no number of pairs", hint="write L/2, L, 2L or a number")
    part = float(match["part"] or 1)
    times = float(match["times"] or 1) / part if part else 0.0
    if not times or (not match["length"] and (match["part"] or times != int(times))):
        raise UsageError(f"--top {text}: is no number of pairs", hint="write L/2, L, 2L or a number")
    return Top(times, match["length"] is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairChoice:
    """Rules for the pairs i < j to write; what is None does not matter.

    Args:
        least: smallest contact probability.
        farthest: largest distance, Å.
        separation: smallest j - i.
        top: how many of the best.
    """

    least: float | None = None
    farthest: float | None = None
    separation: int = 1
    top: Top | None = None

    def pairs(
        self, contact_LL: NDArray[np.floating] | None, distance_LL: NDArray[np.floating] | None
    ) -> NDArray[np.int64]:
        """(N, 2) pairs, 0-based, i < j, the best first: most probable, or nearest where there are no probabilities.

        Raises:
            ValueError: when there is no map at all.
        """
        ranked_LL = contact_LL if contact_LL is not None else distance_LL
        if ranked_LL is None:
            raise ValueError("no map to choose pairs from")
        rows, columns = np.triu_indices(len(ranked_LL), k=max(1, self.separation))
        kept = np.ones(len(rows), dtype=np.bool_)
        if self.least is not None and contact_LL is not None:
            kept &= contact_LL[rows, columns] >= self.least
        if self.farthest is not None and distance_LL is not None:
            kept &= distance_LL[rows, columns] <= self.farthest
        rows, columns = rows[kept], columns[kept]
        rank_N = ranked_LL[rows, columns].astype(np.float64)
        order = np.argsort(-rank_N if contact_LL is not None else rank_N, kind="stable")
        if self.top is not None:
            order = order[: self.top.count(len(ranked_LL))]
        return np.stack([rows[order], columns[order]], axis=1).astype(np.int64)
