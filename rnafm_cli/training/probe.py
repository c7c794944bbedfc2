"""What a linear map of frozen vectors knows about RNA types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from rnafm_cli.geometry.transfer import Transfer, score_types

__all__ = ["linear_probe"]


def linear_probe(
    train: np.ndarray, train_labels: Sequence[str], dev: np.ndarray, dev_labels: Sequence[str], *, strength: float = 0.1
) -> Transfer:
    """Multinomial logistic regression on standardised vectors.

    Minimises ``strength`` x summed cross-entropy + half the squared norm of the weights (no penalty on intercepts), by
    L-BFGS.
    """
    names, truth = np.unique(np.asarray(train_labels), return_inverse=True)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    x = ((train - mean) / deviation).astype(np.float64)
    classes, features = len(names), x.shape[1]
    target = np.eye(classes)[truth]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, intercepts = flat[: classes * features].reshape(classes, features), flat[classes * features :]
        scores = x @ weights.T + intercepts
        scores -= scores.max(axis=1, keepdims=True)
        log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        error = strength * (np.exp(log_p) - target)
        gradient = np.concatenate([(error.T @ x + weights).ravel(), error.sum(axis=0)])
        return float(-strength * (log_p * target).sum() + 0.5 * (weights**2).sum()), gradient

    start = np.zeros(classes * features + classes)
    flat = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    weights, intercepts = flat[: classes * features].reshape(classes, features), flat[classes * features :]
    scores = ((dev - mean) / deviation) @ weights.T + intercepts
    place = {name: k for k, name in enumerate(names)}
    dev_truth = np.asarray([place[label] for label in dev_labels])
    return score_types(dev_truth, scores.argmax(axis=1), names)
