"""Scores turned into probabilities that mean what they say (Platt 1999), and calls made from them.

Shapes: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Platt", "calibration_error", "crossed_error", "fit_platt"]

_STEPS = 50
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
    """Fit the curve by Newton's method on the log likelihood, with a touch of ridge towards slope 1.

    Labels of one kind only leave the logits as they are.
    """
    labels, logits = np.asarray(labels_N, dtype=np.float64), np.asarray(logits_N, dtype=np.float64)
    if len(labels) == 0 or labels.min() == labels.max():
        return Platt()
    x = np.stack([logits, np.ones_like(logits)], axis=1)
    ridge_to = np.array([1.0, 0.0])

    def objective(theta: NDArray[np.float64]) -> float:
        z = x @ theta
        return float((np.logaddexp(0.0, z) - labels * z).sum() + 0.5 * _RIDGE * ((theta - ridge_to) ** 2).sum())

    theta = np.zeros(2)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ theta, -30, 30)))
        gradient = x.T @ (p - labels) + _RIDGE * (theta - ridge_to)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        before, share = objective(theta), 1.0
        # A full step overshoots where the curve is flat.
        while share > 1e-6 and objective(theta - share * step) > before:
            share /= 2
        theta = theta - share * step
        if np.abs(share * step).max() < 1e-8:
            break
    curve = Platt(float(theta[0]), float(theta[1]))
    threshold = _best_threshold(labels, curve.probability(logits))
    return Platt(curve.slope, curve.intercept, threshold, float(labels.mean()))


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


def _best_threshold(labels_N: NDArray[np.float64], probabilities_N: NDArray[np.float64]) -> float:
    order = np.argsort(-probabilities_N, kind="stable")
    true = np.cumsum(labels_N[order])
    f1 = 2 * true / (np.arange(1, len(order) + 1) + labels_N.sum())
    best = int(np.argmax(f1))
    last = probabilities_N[order[best]]
    # Between the last call and the next row, so that rounding changes neither.
    after = probabilities_N[order[best + 1]] if best + 1 < len(order) else 0.0
    return float((last + after) / 2)
