"""Confidence intervals by resampling records.

Shapes: N records, K columns, B resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnafm_cli.rna.metrics import MEANS, POOLED, FoldScore

_RESAMPLES_AT_ONCE = 128
_COUNTS = tuple(sorted({column for columns in POOLED.values() for column in columns}))

Statistic: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From column means (B, K) to values (B,)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the percentile interval ``low`` to ``high`` around it."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of a - b over records, its percentile interval, and a two-sided bootstrap p-value against 0."""

    estimate: float
    low: float
    high: float
    p_value: float


def bootstrap(
    columns_NK: NDArray[np.floating],
    statistic: Statistic,
    *,
    rng: np.random.Generator,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Percentile interval of a statistic of column means under resampling of records.

    Args:
        columns_NK: K quantities of each record.
        statistic: from (B, K) column means to (B,) values; NaN where it is undefined.

    Raises:
        ValueError: when there are no records.
    """
    sample = np.asarray(columns_NK, dtype=np.float64)
    means_BK = _resampled_means(sample, rng, resamples)
    return _interval(sample.mean(axis=0, keepdims=True), means_BK, statistic, confidence)


def mean_interval(
    values_N: ArrayLike, *, rng: np.random.Generator, resamples: int = 2000, confidence: float = 0.95
) -> Interval:
    """Percentile interval of a mean over records."""
    column_N1 = np.asarray(values_N, dtype=np.float64)[:, None]
    return bootstrap(column_N1, _first, rng=rng, resamples=resamples, confidence=confidence)


def paired_difference(
    a_N: ArrayLike,
    b_N: ArrayLike,
    *,
    rng: np.random.Generator,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Difference:
    """How much better one predictor is than another on the same records, record by record.

    The p-value is twice the smaller share of resampled mean differences on either side of 0, with one added to
    count and total so that it is never 0.

    Raises:
        ValueError: for different numbers of records, or none.
    """
    a_N, b_N = np.asarray(a_N, dtype=np.float64), np.asarray(b_N, dtype=np.float64)
    if a_N.shape != b_N.shape:
        raise ValueError(f"paired values of shapes {a_N.shape} and {b_N.shape}")
    difference_N = a_N - b_N
    means_B = _resampled_means(difference_N[:, None], rng, resamples)[:, 0]
    tail = min((means_B <= 0).sum(), (means_B >= 0).sum())
    p_value = min(1.0, 2.0 * (tail + 1) / (resamples + 1))
    return Difference(float(difference_N.mean()), *_percentiles(means_B, confidence), float(p_value))


def fold_intervals(
    scores: Sequence[FoldScore], *, rng: np.random.Generator, resamples: int = 2000, confidence: float = 0.95
) -> dict[str, Interval]:
    """Intervals of all that ``metrics.summarise`` finds, by the same names, from one set of resamples.

    Raises:
        ValueError: when there are no scores.
    """
    names = (*MEANS, *_COUNTS)
    columns_NK = np.array([[getattr(score, name) for name in names] for score in scores], dtype=np.float64)
    resampled_BK = _resampled_means(columns_NK, rng, resamples)
    mean_1K = columns_NK.mean(axis=0, keepdims=True)

    def interval(statistic: Statistic, *columns: str) -> Interval:
        taken = [names.index(name) for name in columns]
        return _interval(mean_1K[:, taken], resampled_BK[:, taken], statistic, confidence)

    found = {name: interval(_first, name) for name in MEANS}
    found |= {name: interval(column_ratio, *columns) for name, columns in POOLED.items()}
    half = interval(column_ratio, "hits", "predicted", "true")
    return found | {"micro_f1": Interval(2 * half.estimate, 2 * half.low, 2 * half.high)}


def _interval(
    mean_1K: NDArray[np.float64], resampled_BK: NDArray[np.float64], statistic: Statistic, confidence: float
) -> Interval:
    return Interval(float(statistic(mean_1K)[0]), *_percentiles(statistic(resampled_BK), confidence))


def _first(means_BK: NDArray[np.float64]) -> NDArray[np.float64]:
    return means_BK[:, 0]


def column_ratio(means_BK: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) first column over the sum of the others, NaN where that is 0."""
    whole_B = means_BK[:, 1:].sum(axis=1)
    return np.divide(means_BK[:, 0], whole_B, out=np.full(len(whole_B), np.nan), where=whole_B > 0)


def _resampled_means(columns_NK: NDArray[np.float64], rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Column means (B, K) of resamples of N records with replacement."""
    count = len(columns_NK)
    if count == 0:
        raise ValueError("no records to resample")
    even = np.full(count, 1.0 / count)
    parts = []
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        # How often each record is drawn says all about a resample, so the means are one matrix product.
        times_BN = rng.multinomial(count, even, size=min(_RESAMPLES_AT_ONCE, resamples - start))
        parts.append(times_BN @ columns_NK / count)
    return np.concatenate(parts)


def _percentiles(values_B: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    defined = values_B[~np.isnan(values_B)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)
