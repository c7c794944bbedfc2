"""The reliability curve of many RNAs with bootstrap intervals over RNAs, for pairs within one are not independent.

Shapes: N records, L bases, K bins, B resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.bootstrap import Interval, bootstrap
from rnafm_cli.rna.pairs import Pairs
from rnafm_cli.rna.reliability import Reliability, ReliabilityCurve

__all__ = ["Calibration", "CalibrationCounts"]


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
