"""The nested structure of maximum expected accuracy, exactly and sparsely.

Shapes: L bases, C candidate pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.pairs import Pairs, as_pairs

__all__ = ["expected_accuracy", "heaviest_nested", "unpaired_probability"]


def unpaired_probability(probs_LL: NDArray[np.floating]) -> NDArray[np.float64]:
    """What is left of each base's probability after all its pairs, at least 0; shape (L,)."""
    total_L = probs_LL.sum(axis=1, dtype=np.float64) - np.diagonal(probs_LL)
    return np.clip(1.0 - total_L, 0.0, 1.0)


def expected_accuracy(probs_LL: NDArray[np.floating], pairs: Pairs) -> float:
    """Expected share of bases whose state in the structure (its partner, or none) is right; 1.0 without bases.

    Args:
        probs_LL: symmetric pair probabilities.
        pairs: (n, 2), 0-based.
    """
    if len(probs_LL) == 0:
        return 1.0
    free_L = unpaired_probability(probs_LL)
    free_L[pairs.ravel()] = 0.0
    return float((2.0 * probs_LL[pairs[:, 0], pairs[:, 1]].sum(dtype=np.float64) + free_L.sum()) / len(probs_LL))


def heaviest_nested(candidates: Pairs, gains_C: NDArray[np.floating], length: int) -> Pairs:
    """The nested set of candidate pairs, each base in at most one, with the greatest sum of gains.

    Expected accuracy is a constant plus the gains 2 gamma p_ij - q_i - q_j of the chosen pairs, so pairs of
    no gain never enter an optimum and need not be candidates. For each 3' base the candidates are visited
    from the innermost out; one that does not beat the best structure of its own interval so far cannot be
    part of any better one outside and costs a comparison (sparse folding after Wexler et al. 2007). The
    others update all intervals that end there at once. Time is O(L * useful candidates), memory O(L^2) at
    worst with one row of 8 L bytes for each base that closes a useful candidate.

    Args:
        candidates: (C, 2), 0-based, i < j.
        gains_C: gain of each; only positive ones matter.
        length: L.

    Returns:
        The chosen pairs, (n, 2). Of equal optima the choice is deterministic.
    """
    table = _Table(length)
    positive = np.flatnonzero(gains_C > 0)
    order = positive[np.lexsort((-candidates[positive, 0], candidates[positive, 1]))]
    opens_C = candidates[order, 0]
    gains_C = np.asarray(gains_C, dtype=np.float64)[order]
    bounds = np.searchsorted(candidates[order, 1], np.arange(length + 1))
    for j in range(length):
        table.close(j, opens_C[bounds[j] : bounds[j + 1]], gains_C[bounds[j] : bounds[j + 1]])
    return table.trace()


class _Table:
    """Best sums for all intervals: ``rows[e][i]`` for the bases i .. e-1; rows that repeat are shared."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.rows: list[NDArray[np.float64]] = [np.zeros(length + 1)]
        self.useful: list[list[tuple[int, float]]] = []

    def close(self, j: int, opens: NDArray[np.int64], gains: NDArray[np.float64]) -> None:
        """Add base j, whose candidates open at ``opens`` (descending) with ``gains``."""
        before = row = self.rows[j]
        useful: list[tuple[int, float]] = []
        self.useful.append(useful)
        if len(opens) == 0:
            self.rows.append(row)
            return
        closed = gains + before[opens + 1]
        promising = np.flatnonzero(closed > before[opens])
        for k, value in zip(opens[promising].tolist(), closed[promising].tolist(), strict=True):
            if value > row[k]:
                if row is before:
                    row = before.copy()
                np.maximum(row[: k + 1], self.rows[k][: k + 1] + value, out=row[: k + 1])
                useful.append((k, value))
        self.rows.append(row)

    def trace(self) -> Pairs:
        """The pairs behind the best sum over all bases."""
        chosen: list[tuple[int, int]] = []
        intervals = [(0, self.length)]
        while intervals:
            i, end = intervals.pop()
            while end > i:
                best = self.rows[end][i]
                end -= 1
                if best == self.rows[end][i]:
                    continue
                # The same two numbers were added on the way forward, so equality is exact.
                k = next(k for k, value in self.useful[end] if k >= i and self.rows[k][i] + value == best)
                chosen.append((k, end))
                intervals.append((k + 1, end))
                end = k
        return as_pairs(chosen)
