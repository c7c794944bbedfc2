"""The reliability curve of many RNAs with bootstrap intervals over RNAs, for pairs within one are not independent.

Shape suffixes: N records, L bases, K bins, B resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.bootstrap import Interval, Statistic, bootstrap, column_ratio
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


class CalibrationCounts:
    """Counts pairs of many RNAs into bins of probability, one RNA at a time.

    Args:
        bins: K bins of equal width from 0 to 1.
        min_prob: pairs below are left out: nearly all pairs of an RNA have probability about 0 and would hide every
            error among the others.
    """

    def __init__(self, *, bins: int = 10, min_prob: float = 0.01) -> None:
        self._edges, self._min_prob = np.linspace(0.0, 1.0, bins + 1), min_prob
        self._rows: list[NDArray[np.float64]] = []

    def add(self, probs_LL: NDArray[np.floating], true: Pairs) -> None:
        """Count all pairs i < j of one RNA.

        Args:
            probs_LL: pair probabilities, read above the diagonal.
            true: (n, 2) true pairs, 0-based.
        """
        length, bins = len(probs_LL), len(self._edges) - 1
        i, j = np.nonzero(np.triu(probs_LL >= self._min_prob, 1))
        probs = probs_LL[i, j].astype(np.float64)
        is_true = np.isin(i * length + j, true[:, 0] * length + true[:, 1])
        bin_of = np.clip(np.searchsorted(self._edges, probs, side="right") - 1, 0, bins - 1)
        weights = (np.ones_like(probs), is_true, probs)
        self._rows.append(np.stack([np.bincount(bin_of, weights=one, minlength=bins) for one in weights]))

    def result(self, *, seed: int = 0, resamples: int = 2000, confidence: float = 0.95) -> Calibration:
        """The curve of everything counted.

        Raises:
            ValueError: when nothing was.
        """
        if not self._rows:
            raise ValueError("no records to resample")
        rows_N3K = np.array(self._rows)
        counts, _, sums = rows_N3K.sum(axis=0)

        def interval(columns_NK: NDArray[np.float64], statistic: Statistic) -> Interval:
            rng = np.random.default_rng(seed)
            return bootstrap(columns_NK, statistic, rng=rng, resamples=resamples, confidence=confidence)

        def error(means_BK: NDArray[np.float64]) -> NDArray[np.float64]:
            all_BK, true_BK, sums_BK = np.split(means_BK, 3, axis=1)
            gap_B = np.abs(true_BK - sums_BK).sum(axis=1)
            return column_ratio(np.stack([gap_B, all_BK.sum(axis=1)], axis=1))

        return Calibration(
            edges=self._edges.copy(),
            counts=counts.astype(np.int64),
            predicted=sums / np.where(counts > 0, counts, np.nan),
            observed=tuple(interval(rows_N3K[:, [1, 0], k], column_ratio) for k in range(len(counts))),
            ece=interval(rows_N3K.reshape(len(rows_N3K), -1), error),
        )
