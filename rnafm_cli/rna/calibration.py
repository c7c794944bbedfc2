"""The reliability curve of many RNAs with bootstrap intervals over RNAs, for pairs within one are not independent.

Shape suffixes: N records, L bases, K bins, B resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.bootstrap import Interval, bootstrap
from rnafm_cli.rna.pairs import Pairs


@dataclass(frozen=True, slots=True, eq=False)
class ReliabilityCurve:
    """Predicted against observed frequency of pairs.

    Args:
        edges: (K + 1,) bounds of the bins; a bin holds its lower bound, the last one also 1.
        counts: (K,) base pairs (i < j) whose probability falls into each bin.
        predicted: (K,) mean probability in the bin, NaN where it is empty.
        observed: (K,) share of the bin's pairs that are true, NaN where it is empty.
        below: pairs whose probability was too small to enter any bin.
        below_true: how many of those are true, which no curve can show.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    below: int
    below_true: int

    @property
    def ece(self) -> float:
        """Expected calibration error: |predicted - observed| averaged over all pairs in bins; NaN without any."""
        filled = self.counts > 0
        if not filled.any():
            return float("nan")
        gap = np.abs(self.predicted - self.observed)[filled]
        return float(np.average(gap, weights=self.counts[filled]))


class Reliability:
    """Counts pairs of many RNAs into bins of probability, one RNA at a time.

    Args:
        bins: K bins of equal width from 0 to 1.
        min_prob: pairs below are only counted, not binned: nearly all pairs of an RNA have probability
            about 0 and would hide every error among the others.
    """

    def __init__(self, *, bins: int = 10, min_prob: float = 0.01) -> None:
        self.edges = np.linspace(0.0, 1.0, bins + 1)
        self.min_prob = min_prob
        self._counts = np.zeros(bins, dtype=np.int64)
        self._true = np.zeros(bins, dtype=np.int64)
        self._sums = np.zeros(bins)
        self._below = 0
        self._below_true = 0

    def add(self, probs_LL: NDArray[np.floating], true: Pairs) -> None:
        """Count all pairs i < j of one RNA.

        Args:
            probs_LL: pair probabilities, read above the diagonal.
            true: (n, 2) true pairs, 0-based.
        """
        length = len(probs_LL)
        above = np.triu(probs_LL >= self.min_prob, 1)
        i, j = np.nonzero(above)
        probs = probs_LL[i, j].astype(np.float64)
        is_true = np.isin(i * length + j, true[:, 0] * length + true[:, 1])
        bins = len(self._counts)
        bin_of = np.clip(np.searchsorted(self.edges, probs, side="right") - 1, 0, bins - 1)
        self._counts += np.bincount(bin_of, minlength=bins)
        self._true += np.bincount(bin_of[is_true], minlength=bins)
        self._sums += np.bincount(bin_of, weights=probs, minlength=bins)
        self._below += length * (length - 1) // 2 - len(probs)
        self._below_true += len(true) - int(is_true.sum())

    def curve(self) -> ReliabilityCurve:
        """The curve of all pairs counted so far."""
        counts = np.where(self._counts > 0, self._counts, np.nan)
        return ReliabilityCurve(
            edges=self.edges.copy(),
            counts=self._counts.copy(),
            predicted=self._sums / counts,
            observed=self._true / counts,
            below=self._below,
            below_true=self._below_true,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A reliability curve; ``observed`` holds an interval for each bin (NaN for an empty one), ``ece`` one for the
    expected calibration error."""

    curve: ReliabilityCurve
    observed: tuple[Interval, ...]
    ece: Interval


class CalibrationCounts:
    """Counts the pairs of RNAs, one RNA at a time; see ``reliability.Reliability``."""

    def __init__(self, *, bins: int = 10) -> None:
        self._bins = bins
        self._all = Reliability(bins=bins)
        self._rows: list[NDArray[np.float64]] = []

    def add(self, probs_LL: NDArray[np.floating], true: Pairs) -> None:
        """Count all pairs i < j of one RNA, as ``Reliability.add`` does."""
        self._all.add(probs_LL, true)
        one = Reliability(bins=self._bins)
        one.add(probs_LL, true)
        curve = one.curve()
        shares = [np.nan_to_num(part) * curve.counts for part in (curve.observed, curve.predicted)]
        self._rows.append(np.concatenate([curve.counts, *shares]))

    def result(self, *, seed: int = 0, resamples: int = 2000, confidence: float = 0.95) -> Calibration:
        """The curve of everything counted.

        Raises:
            ValueError: when nothing was.
        """
        columns_NK, bins = np.array(self._rows), self._bins

        def observed(k: int) -> Interval:
            rng = np.random.default_rng(seed)
            return bootstrap(columns_NK[:, [k, bins + k]], _share, rng=rng, resamples=resamples, confidence=confidence)

        def error(means_BK: NDArray[np.float64]) -> NDArray[np.float64]:
            gaps_BK = np.abs(means_BK[:, bins : 2 * bins] - means_BK[:, 2 * bins :])
            return _ratio(gaps_BK.sum(axis=1), means_BK[:, :bins].sum(axis=1))

        ece = bootstrap(columns_NK, error, rng=np.random.default_rng(seed), resamples=resamples, confidence=confidence)
        return Calibration(self._all.curve(), tuple(map(observed, range(bins))), ece)


def _share(means_B2: NDArray[np.float64]) -> NDArray[np.float64]:
    return _ratio(means_B2[:, 1], means_B2[:, 0])


def _ratio(part_B: NDArray[np.float64], whole_B: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part_B, whole_B, out=np.full(len(whole_B), np.nan), where=whole_B > 0)


def deviation_scale(error_N: NDArray[np.floating], sd_N: NDArray[np.floating]) -> float:
    """The factor that makes predicted deviations right: the mean square of error / deviation becomes 1."""
    usable = sd_N > 0.05
    return float(np.sqrt(np.mean((error_N[usable] / sd_N[usable]) ** 2))) if usable.any() else 1.0


def coverage(error_N: NDArray[np.floating], sd_N: NDArray[np.floating]) -> dict[str, float]:
    """Share of errors ``within_sd`` of one predicted deviation and ``within_2sd`` of two; 0.68 and 0.95 by rights."""
    return {
        "within_sd": float(np.mean(np.abs(error_N) <= sd_N)),
        "within_2sd": float(np.mean(np.abs(error_N) <= 2.0 * sd_N)),
    }
