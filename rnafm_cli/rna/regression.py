"""How well a measured number is predicted.

Shapes: N rows, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnafm_cli.rna.bootstrap import Interval, bootstrap

__all__ = ["Regression", "regress"]


@dataclass(frozen=True, slots=True)
class Regression:
    """Figures of one set of predictions, in the label's own units."""

    rows: int
    r2: Interval
    """Squared Pearson correlation, as the data's authors report, with a percentile interval over resampled rows."""
    determination: float
    """1 - squared error / variance of the truth: falls with a wrong scale, and below 0."""
    mae: float
    mse: float


def regress(
    truth_N: ArrayLike,
    predicted_N: ArrayLike,
    *,
    rng: np.random.Generator | None = None,
    resamples: int = 0,
    confidence: float = 0.95,
) -> Regression:
    """Score predictions; ``r2`` and ``determination`` are NaN where the truth does not vary.

    Args:
        rng, resamples: for the interval; without resamples it is NaN.
    """
    truth, predicted = np.asarray(truth_N, dtype=np.float64), np.asarray(predicted_N, dtype=np.float64)
    error = predicted - truth
    # Centred first: the moments below would lose digits otherwise.
    x, y = truth - truth.mean(), predicted - predicted.mean()
    moments_N5 = np.stack([x, y, x * x, y * y, x * y], axis=1)
    if resamples and rng is not None:
        r2 = bootstrap(moments_N5, _squared_correlation, rng=rng, resamples=resamples, confidence=confidence)
    else:
        r2 = Interval(float(_squared_correlation(moments_N5.mean(axis=0, keepdims=True))[0]), np.nan, np.nan)
    variance = float((x * x).mean())
    determination = 1 - float((error**2).mean()) / variance if variance > 0 else float("nan")
    return Regression(len(truth), r2, determination, float(np.abs(error).mean()), float((error**2).mean()))


def _squared_correlation(means_R5: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, xx, yy, xy = means_R5.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return (xy - x * y) ** 2 / ((xx - x * x) * (yy - y * y))
