"""What frozen vectors know about RNA types: nearest neighbours in folds without near copies, and a linear probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.sparse.csgraph import connected_components

from rnafm_cli.rna.kmers import kmer_matrix

__all__ = ["Transfer", "knn_transfer", "linear_probe", "separate_folds"]

_ROWS = 1024


@dataclass(frozen=True)
class Transfer:
    """How well types are recovered."""

    accuracy: float
    macro_accuracy: float
    """Mean over types of the share recovered."""
    by_type: dict[str, float]


def separate_folds(sequences: Sequence[str], *, folds: int = 5, share: float = 0.5, seed: int = 0) -> np.ndarray:
    """(n,) fold of each sequence; two that share more than ``share`` of both their 8-mer sets stay together.

    Linked groups are spread over the folds largest first, each into the smallest fold so far.
    """
    matrix = kmer_matrix(sequences)
    table = matrix.T.tocsr()
    sizes = np.diff(matrix.indptr)
    rows, columns = [], []
    for start in range(0, len(sequences), _ROWS):
        shared = (matrix[start : start + _ROWS] @ table).tocoo()
        linked = shared.data > share * np.maximum(sizes[shared.row + start], sizes[shared.col])
        rows.append((shared.row[linked] + start).astype(np.int32))
        columns.append(shared.col[linked].astype(np.int32))
    row, column = np.concatenate(rows), np.concatenate(columns)
    links = sparse.csr_matrix((np.ones(len(row), dtype=np.bool_), (row, column)), shape=(len(sequences),) * 2)
    _, group = connected_components(links, directed=False)
    group_sizes = np.bincount(group)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(group_sizes))
    order = order[np.argsort(-group_sizes[order], kind="stable")]
    load = np.zeros(folds, dtype=np.int64)
    fold_of_group = np.zeros(len(group_sizes), dtype=np.int64)
    for number in order:
        fold_of_group[number] = load.argmin()
        load[fold_of_group[number]] += group_sizes[number]
    return fold_of_group[group]


def knn_transfer(
    vectors: np.ndarray | sparse.csr_matrix, labels: Sequence[str], fold: np.ndarray, *, neighbours: int = 10
) -> Transfer:
    """Predict each sequence's type from its nearest neighbours (cosine) in the other folds.

    A tie of votes goes to the type whose voter is nearest.
    """
    names, truth = np.unique(np.asarray(labels), return_inverse=True)
    unit = _unit_rows(vectors)
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
            predicted[rows] = _vote(truth[train[nearest]], len(names))
    return _score(truth, predicted, names)


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
    return _score(dev_truth, scores.argmax(axis=1), names)


def _unit_rows(vectors: np.ndarray | sparse.csr_matrix) -> np.ndarray | sparse.csr_matrix:
    if isinstance(vectors, sparse.csr_matrix):
        norm = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
        return sparse.diags(1 / np.maximum(norm, 1e-12)) @ vectors
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norm, 1e-12)


def _vote(labels: np.ndarray, classes: int) -> np.ndarray:
    """(n,) winner of each row of labels, which stand nearest first."""
    votes = np.zeros((len(labels), classes))
    rows = np.arange(len(labels))
    for rank in range(labels.shape[1]):
        # Less than one vote in all, falling with the rank: breaks ties only.
        votes[rows, labels[:, rank]] += 1 + 0.5 ** (rank + 2)
    return votes.argmax(axis=1)


def _score(truth: np.ndarray, predicted: np.ndarray, names: np.ndarray) -> Transfer:
    right = truth == predicted
    by_type = {str(name): float(right[truth == k].mean()) for k, name in enumerate(names) if (truth == k).any()}
    return Transfer(float(right.mean()), float(np.mean(list(by_type.values()))), by_type)
