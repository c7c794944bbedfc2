"""How well scores rank bound before unbound: average precision and the area under the ROC curve.

Shapes: N rows, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnafm_cli.rna.bootstrap import Interval

__all__ = ["Ranking", "rank"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Figures of one set of scored rows, with percentile intervals over resampled rows."""

    rows: int
    positives: int
    auprc: Interval
    auroc: Interval


def rank(
    labels_N: ArrayLike,
    scores_N: ArrayLike,
    *,
    rng: np.random.Generator | None = None,
    resamples: int = 0,
    confidence: float = 0.95,
) -> Ranking:
    """Score a ranking; equal scores count as one step of the curves.

    Args:
        labels_N: 1 for bound, 0 for not.
        rng, resamples: for intervals; without resamples they are NaN.

    Returns:
        AUPRC is average precision: the mean precision at each bound row. Both are NaN with labels of one kind only.
    """
    labels, scores = np.asarray(labels_N, dtype=np.float64), np.asarray(scores_N, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    steps = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)
    whole = _areas(labels[order], np.ones((1, len(labels))), steps)
    drawn = np.full((2, 1), np.nan)
    if resamples and rng is not None:
        times_RN = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=resamples)
        drawn = _areas(labels[order], times_RN[:, order].astype(np.float64), steps)
    tail = (1 - confidence) / 2
    found = []
    for value, values_R in zip(whole[:, 0], drawn, strict=True):
        defined = values_R[~np.isnan(values_R)]
        low, high = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (np.nan, np.nan)
        found.append(Interval(float(value), float(low), float(high)))
    return Ranking(len(labels), int(labels.sum()), *found)


def _areas(
    labels_N: NDArray[np.float64], times_RN: NDArray[np.float64], steps: NDArray[np.intp]
) -> NDArray[np.float64]:
    """(2, R) average precision and ROC area, rows in descending order of score, each counted ``times``."""
    true_RS = np.cumsum(times_RN * labels_N, axis=1)[:, steps]
    all_RS = np.cumsum(times_RN, axis=1)[:, steps]
    false_RS = all_RS - true_RS
    positives_R1, negatives_R1 = true_RS[:, -1:], false_RS[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        recall_RS = true_RS / positives_R1
        precision_RS = true_RS / np.maximum(all_RS, 1e-12)
        gained_RS = np.diff(recall_RS, axis=1, prepend=0.0)
        auprc_R = (gained_RS * precision_RS).sum(axis=1)
        passed_RS = np.diff(false_RS / negatives_R1, axis=1, prepend=0.0)
        before_RS = np.concatenate([np.zeros_like(positives_R1), recall_RS[:, :-1]], axis=1)
        auroc_R = (passed_RS * (recall_RS + before_RS) / 2).sum(axis=1)
    both = ((positives_R1 > 0) & (negatives_R1 > 0))[:, 0]
    return np.where(both, [auprc_R, auroc_R], np.nan)
