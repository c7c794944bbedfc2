"""How well scores rank bound before unbound and become probabilities, and how well a measured number is predicted.

Shape suffixes: N rows, R resamples, S distinct scores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnafm_cli.rna.bootstrap import Resampling, bootstrap, draws, percentiles

_RIDGE = 1e-3
_BINS = 10


@dataclass(frozen=True, slots=True)
class Platt:
    """A logistic curve over a logit, and the probability from which a call is made.

    Args:
        slope, intercept: probability = 1 / (1 + exp(-(slope * logit + intercept))).
        threshold: probability of the highest F1 on the rows it was fitted on.
        prevalence: share of bound rows among them, which the probabilities take for granted.
    """

    slope: float = 1.0
    intercept: float = 0.0
    threshold: float = 0.5
    prevalence: float = 0.5

    def probability(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities, of the shape given."""
        z = self.slope * np.asarray(logits, dtype=np.float64) + self.intercept
        return 1 / (1 + np.exp(-np.clip(z, -50, 50)))


def fit_platt(labels_N: NDArray[np.floating], logits_N: NDArray[np.floating]) -> Platt:
    """Fit the curve by logistic regression; labels of one kind only leave the logits as they are."""
    from sklearn.linear_model import LogisticRegression

    labels, logits = np.asarray(labels_N, dtype=np.float64), np.asarray(logits_N, dtype=np.float64)
    if len(set(labels.tolist())) < 2:
        return Platt()
    # A touch of ridge keeps the curve finite where a threshold parts the labels.
    fitted = LogisticRegression(C=1 / _RIDGE, tol=1e-8, max_iter=1000).fit(logits[:, None], labels)
    curve = Platt(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))
    threshold = _best_threshold(labels, curve.probability(logits))
    return replace(curve, threshold=threshold, prevalence=float(labels.mean()))


def _best_threshold(labels_N: NDArray[np.float64], probabilities_N: NDArray[np.float64]) -> float:
    order = np.argsort(-probabilities_N, kind="stable")
    true = np.cumsum(labels_N[order])
    best = int(np.argmax(2 * true / (np.arange(1, len(order) + 1) + labels_N.sum())))
    # Between the last call and the next row, so that rounding changes neither.
    last, after = np.append(probabilities_N[order], 0.0)[best : best + 2]
    return float((last + after) / 2)


def calibration_error(labels_N: NDArray[np.floating], probabilities_N: NDArray[np.floating]) -> float:
    """Mean gap between predicted probability and share of bound rows over ten bins of equal width."""
    bins = np.minimum((np.asarray(probabilities_N) * _BINS).astype(np.int64), _BINS - 1)
    gap = np.bincount(bins, weights=np.asarray(labels_N) - probabilities_N, minlength=_BINS)
    return float(np.abs(gap).sum() / max(1, len(bins)))


def crossed_error(labels_N: NDArray[np.floating], logits_N: NDArray[np.floating]) -> float:
    """Calibration error of curves that are each fitted on one half of the rows and measured on the other."""
    probabilities = np.empty(len(labels_N))
    for half in (0, 1):
        mine = np.arange(len(labels_N)) % 2 == half
        probabilities[mine] = fit_platt(labels_N[~mine], logits_N[~mine]).probability(logits_N[mine])
    return calibration_error(labels_N, probabilities)


_NO_INTERVALS = Resampling(resamples=0)


def rank(labels_N: ArrayLike, scores_N: ArrayLike, resampling: Resampling = _NO_INTERVALS) -> dict[str, Any]:
    """Score a ranking; equal scores count as one step of the curves.

    Args:
        labels_N: 1 for bound, 0 for not.

    Returns:
        ``rows``, ``positives``, ``auprc`` (average precision: the mean precision at each bound row) and ``auroc``, both
        NaN with labels of one kind only; ``auprc_low``, ``auprc_high`` and so on, NaN without resamples.
    """
    labels, scores = np.asarray(labels_N, dtype=np.float64), np.asarray(scores_N, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    steps = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)
    whole = _areas(labels[order], np.ones((1, len(labels))), steps)[:, 0]
    drawn_2R = np.full((2, 0), np.nan)
    if resampling.resamples and not np.isnan(whole).any():
        times_RN = draws(len(labels), resampling.resamples, resampling.seed)
        # A resample may hold labels of one kind only; its areas are NaN.
        drawn_2R = _areas(labels[order], times_RN[:, order].astype(np.float64), steps)
    found: dict[str, Any] = {"rows": len(labels), "positives": int(labels.sum())}
    for name, area, drawn_R in zip(("auprc", "auroc"), whole.tolist(), drawn_2R, strict=True):
        low, high = percentiles(drawn_R, resampling)
        found |= {name: area, f"{name}_low": low, f"{name}_high": high}
    return found


def _areas(
    labels_N: NDArray[np.float64], times_RN: NDArray[np.float64], steps_S: NDArray[np.intp]
) -> NDArray[np.float64]:
    """(2, R) average precision and ROC area, rows in descending order of score, each counted ``times``."""
    true_RS = np.cumsum(times_RN * labels_N, axis=1)[:, steps_S]
    all_RS = np.cumsum(times_RN, axis=1)[:, steps_S]
    false_RS = all_RS - true_RS
    with np.errstate(invalid="ignore", divide="ignore"):
        recall_RS, passed_RS = true_RS / true_RS[:, -1:], false_RS / false_RS[:, -1:]
        precision_RS = true_RS / np.maximum(all_RS, 1e-12)
        auprc_R = (np.diff(recall_RS, axis=1, prepend=0.0) * precision_RS).sum(axis=1)
        before_RS = np.pad(recall_RS[:, :-1], ((0, 0), (1, 0)))
        auroc_R = (np.diff(passed_RS, axis=1, prepend=0.0) * (recall_RS + before_RS) / 2).sum(axis=1)
    both_R = (true_RS[:, -1] > 0) & (false_RS[:, -1] > 0)
    return np.where(both_R, [auprc_R, auroc_R], np.nan)


def regress(truth_N: ArrayLike, predicted_N: ArrayLike, resampling: Resampling = _NO_INTERVALS) -> dict[str, Any]:
    """Score predictions, in the label's own units.

    Returns:
        ``rows``; ``r2``, the squared Pearson correlation, as the data's authors report, with ``r2_low`` and ``r2_high``
        (NaN without resamples); ``determination``, 1 - squared error / variance of the truth, which falls with a wrong
        scale, and below 0; ``mae`` and ``mse``. The first two are NaN where the truth does not vary.
    """
    truth, predicted = np.asarray(truth_N, dtype=np.float64), np.asarray(predicted_N, dtype=np.float64)
    error = predicted - truth
    # Centred first: the moments below would lose digits otherwise.
    x, y = truth - truth.mean(), predicted - predicted.mean()
    moments_N5 = np.stack([x, y, x * x, y * y, x * y], axis=1)
    r2 = bootstrap(moments_N5, _squared_correlation, resampling)
    variance, mse = float((x * x).mean()), float((error**2).mean())
    return {
        "rows": len(truth),
        "r2": r2.estimate,
        "r2_low": r2.low,
        "r2_high": r2.high,
        "determination": 1 - mse / variance if variance > 0 else float("nan"),
        "mae": float(np.abs(error).mean()),
        "mse": mse,
    }


def _squared_correlation(means_R5: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, xx, yy, xy = means_R5.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return (xy - x * y) ** 2 / ((xx - x * x) * (yy - y * y))
