"""The reliability curve of many RNAs with bootstrap intervals over RNAs, for pairs within one are not independent.

Shape suffixes: N records, L bases, K bins, B resamples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.bootstrap import Interval, Resampling, bootstrap, column_ratio
from rnafm_cli.rna.pairs import Pairs


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Predicted against observed frequency of pairs.

    Args:
        edges: (K + 1,) bounds of the bins; a bin holds its lower bound, the last one also 1.
        counts: (K,) base pairs (i < j) whose probability falls into each bin.
        predicted: (K,) mean probability in the bin, NaN where it is empty.
        observed: share of each bin's pairs that are true, NaN where it is empty.
        ece: expected calibration error, |predicted - observed| averaged over all pairs in bins.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    predicted: NDArray[np.float64]
    observed: tuple[Interval, ...]
    ece: Interval


def calibrate(
    rnas: Iterable[tuple[NDArray[np.floating], Pairs]], how: Resampling, *, bins: int = 10, min_prob: float = 0.01
) -> Calibration:
    """The curve of all pairs i < j of some RNAs, one at least.

    Args:
        rnas: (L, L) pair probabilities, read above the diagonal, and (n, 2) true pairs of each.
        bins: K bins of equal width from 0 to 1.
        min_prob: pairs below are left out: nearly all pairs of an RNA have probability about 0 and would hide every
            error among the others.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    rows = []
    for probs_LL, true in rnas:
        i, j = np.nonzero(np.triu(probs_LL >= min_prob, 1))
        probs = probs_LL[i, j].astype(np.float64)
        is_true = np.isin(i * len(probs_LL) + j, true[:, 0] * len(probs_LL) + true[:, 1])
        bin_of = np.clip(np.searchsorted(edges, probs, side="right") - 1, 0, bins - 1)
        weights = (np.ones_like(probs), is_true, probs)
        rows.append(np.stack([np.bincount(bin_of, weights=one, minlength=bins) for one in weights]))
    rows_N3K = np.array(rows, dtype=np.float64)
    counts, _, sums = rows_N3K.sum(axis=0)

    def error(means_BK: NDArray[np.float64]) -> NDArray[np.float64]:
        all_BK, true_BK, sums_BK = np.split(means_BK, 3, axis=1)
        gap_B = np.abs(true_BK - sums_BK).sum(axis=1)
        return column_ratio(np.stack([gap_B, all_BK.sum(axis=1)], axis=1))

    return Calibration(
        edges,
        counts.astype(np.int64),
        sums / np.where(counts > 0, counts, np.nan),
        tuple(bootstrap(rows_N3K[:, [1, 0], k], column_ratio, how) for k in range(bins)),
        bootstrap(rows_N3K.reshape(len(rows_N3K), -1), error, how),
    )
