"""What contacts and distances cost nothing: guesses from separation in sequence and ViennaRNA's pair probabilities.

Shape suffix: L residues.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from rnafm_cli.families.shapes import Relatives
from rnafm_cli.rna.chains import FARTHEST, Chain

_NEIGHBOUR_SHARE = 0.4
"""Share of a pair's probability that the pairs around it get as contacts."""
_EDGES = (0.003, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
"""Where bins of the largest probability nearby end."""
_REACH = 2
_FEWEST = 30
"""Pairs below which a cell of the table takes the mean of its row."""


def spread_probabilities(p_LL: NDArray[np.floating], *, share: float = _NEIGHBOUR_SHARE) -> NDArray[np.float32]:
    """Contact scores (L, L): pair probabilities, and ``share`` of the largest among the eight pairs around."""
    p_LL = np.asarray(p_LL, dtype=np.float32)
    if not p_LL.size:
        return p_LL
    around_LL = maximum_filter(p_LL, size=3, mode="constant")
    return np.maximum(p_LL, np.float32(share) * around_LL)


def with_relatives(
    contact_LL: NDArray[np.float32], distance_LL: NDArray[np.float32], relatives: Relatives
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Guesses of contacts and distances, both (L, L), in part replaced by what relatives tell, as far as they do."""
    seen_LL, measured_LL = np.sqrt(relatives.seen_LL), np.sqrt(relatives.measured_LL)
    return (
        contact_LL + seen_LL * (relatives.contact_LL - contact_LL),
        distance_LL + measured_LL * (relatives.distance_LL - distance_LL),
    )


class DistanceTable:
    """Mean distance of residues by their separation, and by the largest pair probability near them.

    Args:
        examples: chains with distances and their (L, L) pair probabilities.
    """

    def __init__(self, examples: Iterable[tuple[Chain, NDArray[np.floating]]]) -> None:
        shape = (_separation_bins(np.array([10**6]))[0] + 1, len(_EDGES) + 1)
        total, count = np.zeros(shape), np.zeros(shape)
        for chain, p_LL in examples:
            clipped_LL = chain.clipped_distances()
            if clipped_LL is None:
                continue
            rows, columns = np.triu_indices(len(chain), k=1)
            known = np.isfinite(clipped_LL[rows, columns])
            rows, columns = rows[known], columns[known]
            place = self._cells(p_LL, rows, columns)
            np.add.at(total, place, clipped_LL[rows, columns])
            np.add.at(count, place, 1.0)
        self._mean = _filled(total, count)

    def predict(self, p_LL: NDArray[np.floating]) -> NDArray[np.float32]:
        """(L, L) Å, symmetric, of an RNA with these pair probabilities."""
        length = len(p_LL)
        rows, columns = np.triu_indices(length, k=1)
        found_LL = np.zeros((length, length), dtype=np.float32)
        found_LL[rows, columns] = self._mean[self._cells(p_LL, rows, columns)]
        return found_LL + found_LL.T

    def _cells(
        self, p_LL: NDArray[np.floating], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        near_LL = maximum_filter(np.asarray(p_LL, dtype=np.float32), size=2 * _REACH + 1, mode="constant")
        return _separation_bins(columns - rows), np.searchsorted(_EDGES, near_LL[rows, columns], side="right")


def _separation_bins(separation: NDArray[np.int64]) -> NDArray[np.int64]:
    """Exact up to 30, then ever wider."""
    edges = np.array([*range(2, 31), 34, 40, 48, 60, 80, 110, 160])
    return np.searchsorted(edges, separation, side="right")


def _filled(total: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float32]:
    """Means of the cells; of sparse ones the mean of their row, then of the row above."""
    mean = np.full(total.shape, FARTHEST)
    for row in range(len(total)):
        known = count[row].sum()
        fallback = total[row].sum() / known if known > 0 else (mean[row - 1, 0] if row else FARTHEST)
        enough = count[row] >= _FEWEST
        mean[row] = np.where(enough, total[row] / np.where(enough, count[row], 1.0), fallback)
    return mean.astype(np.float32)


def distance_guesses(
    chains: Sequence[Chain], priors: Sequence[NDArray[np.floating]], fold_N: NDArray[np.integer]
) -> dict[str, NDArray[np.float32]]:
    """Mean distances by separation and pair probability nearby, of chains by id (Å).

    The table for each chain comes from the chains of the other folds, so that none is guessed from itself.

    Args:
        priors: (L, L) pair probabilities of each chain.
    """
    guesses: dict[str, NDArray[np.float32]] = {}
    for fold in np.unique(fold_N):
        table = DistanceTable((chains[k], priors[k]) for k in np.flatnonzero(fold_N != fold).tolist())
        guesses |= {chains[k].id: table.predict(priors[k]) for k in np.flatnonzero(fold_N == fold).tolist()}
    return guesses
