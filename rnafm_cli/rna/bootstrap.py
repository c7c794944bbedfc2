"""Means and shares of many scores, with confidence intervals by resampling records.

Shapes: N records, K columns, B resamples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnafm_cli.rna.metrics import POOLED, Score

_NAN = float("nan")
_RESAMPLES_AT_ONCE = 128
FEWEST = 10
"""Records below which a group gets no intervals: resampling a handful tells nothing, and of one it gives 0 width."""

Statistic: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From column means (B, K) to values (B,), NaN where undefined."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals are made. Each starts from the same seed, so that it depends on its own records only."""

    resamples: int = 2000
    """0 for none: then the ends of all intervals are NaN."""
    confidence: float = 0.95
    seed: int = 0


_USUAL = Resampling()


class Interval(NamedTuple):
    """An estimate, the percentile interval ``low`` to ``high`` around it, and for differences a two-sided p-value."""

    estimate: float
    low: float = _NAN
    high: float = _NAN
    p_value: float = _NAN


def bootstrap(columns_NK: NDArray[np.floating], statistic: Statistic, how: Resampling = _USUAL) -> Interval:
    """A statistic of column means, with its interval under resampling of records.

    Args:
        columns_NK: K quantities of each record.
    """
    sample_NK = np.asarray(columns_NK, dtype=np.float64)
    estimate = float(statistic(sample_NK.mean(axis=0, keepdims=True))[0])
    return Interval(estimate, *percentiles(statistic(_resampled_means(sample_NK, how)), how))


def mean_interval(values_N: ArrayLike, how: Resampling = _USUAL) -> Interval:
    """A mean over records with its interval."""
    return bootstrap(np.asarray(values_N)[:, None], lambda means_BK: means_BK[:, 0], how)


def paired_difference(a_N: NDArray[np.floating], b_N: NDArray[np.floating], how: Resampling = _USUAL) -> Interval:
    """How much better one predictor is than another on the same records, record by record; of fewer than
    :data:`FEWEST` the mean alone.

    The p-value is twice the smaller share of resampled mean differences on either side of 0, with one added to
    count and total so that it is never 0.
    """
    difference_N = np.asarray(a_N, dtype=np.float64) - b_N
    if len(difference_N) < FEWEST:
        return Interval(float(difference_N.mean()))
    means_B = _resampled_means(difference_N[:, None], how)[:, 0]
    tail = min((means_B <= 0).sum(), (means_B >= 0).sum())
    p_value = min(1.0, 2.0 * (tail + 1) / (how.resamples + 1))
    return Interval(float(difference_N.mean()), *percentiles(means_B, how), float(p_value))


def summarise(scores: Sequence[Score], metrics: Sequence[str], how: Resampling = _USUAL) -> dict[str, Interval]:
    """Each metric of a set of records: the mean over those for which it is defined, or a share of ``POOLED``.

    Metrics that fewer than :data:`FEWEST` records have get no intervals.
    """
    found = {}
    for metric in metrics:
        parts, wholes = POOLED.get(metric, ((metric,), ()))
        rows_NK = np.array([[score[name] for name in (*parts, *wholes)] for score in scores], dtype=np.float64)
        rows_NK = rows_NK[~np.isnan(rows_NK).any(axis=1)]
        enough = how if len(rows_NK) >= FEWEST else dataclasses.replace(how, resamples=0)
        if not len(rows_NK):
            found[metric] = Interval(_NAN)
        elif wholes:
            found[metric] = bootstrap(rows_NK, partial(column_ratio, parts=len(parts)), enough)
        else:
            found[metric] = mean_interval(rows_NK[:, 0], enough)
    return found


def column_ratio(means_BK: NDArray[np.float64], parts: int = 1) -> NDArray[np.float64]:
    """(B,) sum of the first columns over that of the others, NaN where the latter is 0."""
    whole_B = means_BK[:, parts:].sum(axis=1)
    return np.divide(means_BK[:, :parts].sum(axis=1), whole_B, out=np.full(len(whole_B), np.nan), where=whole_B > 0)


@lru_cache(maxsize=1)
def draws(count: int, resamples: int, seed: int) -> NDArray[np.uint8]:
    """(B, N) how often each record is drawn, which says all about a resample; several metrics share it."""
    rng, even = np.random.default_rng(seed), np.full(count, 1.0 / count)
    starts = range(0, resamples, _RESAMPLES_AT_ONCE)
    sizes = [min(_RESAMPLES_AT_ONCE, resamples - start) for start in starts]
    return np.concatenate([rng.multinomial(count, even, size=size).astype(np.uint8) for size in sizes])


def _resampled_means(columns_NK: NDArray[np.float64], how: Resampling) -> NDArray[np.float64]:
    """Column means (B, K) of resamples of N records with replacement."""
    count = len(columns_NK)
    if not how.resamples:
        return np.empty((0, columns_NK.shape[1]))
    times_BN = draws(count, how.resamples, how.seed)
    starts = range(0, len(times_BN), _RESAMPLES_AT_ONCE)
    return np.concatenate([times_BN[k : k + _RESAMPLES_AT_ONCE] @ columns_NK / count for k in starts])


def percentiles(values_B: NDArray[np.float64], how: Resampling) -> tuple[float, float]:
    """Ends of the interval of resampled values; NaN without any that is defined."""
    defined = values_B[~np.isnan(values_B)]
    if not len(defined):
        return _NAN, _NAN
    tail = (1.0 - how.confidence) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)
