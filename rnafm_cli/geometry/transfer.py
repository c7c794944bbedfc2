"""How well labels carry over to nearest neighbours, in folds that keep near copies together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

__all__ = ["Transfer", "knn_transfer", "score_types", "unit_rows", "vote"]

_ROWS = 1024


@dataclass(frozen=True)
class Transfer:
    """How well types are recovered."""

    accuracy: float
    macro_accuracy: float
    """Mean over types of the share recovered."""
    by_type: dict[str, float]


def knn_transfer(
    vectors: np.ndarray | sparse.csr_matrix, labels: Sequence[str], fold: np.ndarray, *, neighbours: int = 10
) -> Transfer:
    """Predict each sequence's type from its nearest neighbours (cosine) in the other folds.

    A tie of votes goes to the type whose voter is nearest.
    """
    names, truth = np.unique(np.asarray(labels), return_inverse=True)
    unit = unit_rows(vectors)
    predicted = np.zeros(len(truth), dtype=np.int64)
    for number in np.unique(fold):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        known = unit[train]
        for start in range(0, len(test), _ROWS):
            rows = test[start : start + _ROWS]
            similarity = unit[rows] @ known.T
            if sparse.issparse(similarity):
                similarity = similarity.toarray()
            count = min(neighbours, len(train))
            nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
            close = np.take_along_axis(similarity, nearest, axis=1)
            nearest = np.take_along_axis(nearest, np.argsort(-close, axis=1, kind="stable"), axis=1)
            predicted[rows] = vote(truth[train[nearest]], len(names))
    return score_types(truth, predicted, names)


def unit_rows(vectors: np.ndarray | sparse.csr_matrix) -> np.ndarray | sparse.csr_matrix:
    """The rows scaled to length 1; a row of zeros stays."""
    if isinstance(vectors, sparse.csr_matrix):
        norm = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
        return sparse.diags(1 / np.maximum(norm, 1e-12)) @ vectors
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norm, 1e-12)


def vote(labels: np.ndarray, classes: int) -> np.ndarray:
    """(n,) winner of each row of labels, which stand nearest first."""
    votes = np.zeros((len(labels), classes))
    rows = np.arange(len(labels))
    for rank in range(labels.shape[1]):
        # Less than one vote in all, falling with the rank: breaks ties only.
        votes[rows, labels[:, rank]] += 1 + 0.5 ** (rank + 2)
    return votes.argmax(axis=1)


def score_types(truth: np.ndarray, predicted: np.ndarray, names: np.ndarray) -> Transfer:
    """Shares recovered, from numbers of types (n,), true and predicted, and the names of all types."""
    right = truth == predicted
    by_type = {str(name): float(right[truth == k].mean()) for k, name in enumerate(names) if (truth == k).any()}
    return Transfer(float(right.mean()), float(np.mean(list(by_type.values()))), by_type)
