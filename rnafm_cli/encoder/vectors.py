"""Vectors of RNAs: principal axes, how well labels carry over to nearest neighbours, and vectors without any model.

Shape suffixes: N sequences, D dimensions, K axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from rnafm_cli.rna.kmers import words_of

__all__ = [
    "PCA",
    "Points",
    "Transfer",
    "fit_pca",
    "kmer_frequencies",
    "knn_transfer",
    "one_hot",
    "score_types",
    "unit_rows",
    "vote",
]


_LETTERS = "ACGU"


def kmer_frequencies(sequences: Sequence[str], k: int = 4) -> np.ndarray:
    """(N, 4 ** k) float32 shares of each k-mer of A, C, G, U."""
    words, rows = words_of(sequences, k)
    shape = (len(sequences), 4**k)
    counts = sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, words)), shape=shape).toarray()
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def one_hot(sequences: Sequence[str], length: int = 1022) -> sparse.csr_matrix:
    """(N, 4 * length) sparse one-hot letters from the 5' end, padded with zeros and cut at ``length``."""
    rows, columns = [], []
    for row, sequence in enumerate(sequences):
        codes = np.asarray([_LETTERS.find(letter) for letter in sequence[:length]])
        place = np.flatnonzero(codes >= 0)
        columns.append(place * 4 + codes[place])
        rows.append(np.full(len(place), row))
    ones = np.ones(sum(map(len, rows)), dtype=np.float32)
    shape = (len(sequences), 4 * length)
    return sparse.csr_matrix((ones, (np.concatenate(rows), np.concatenate(columns))), shape=shape)


Points: TypeAlias = np.ndarray | sparse.csr_matrix
"""(N, D), dense or sparse."""

_ROWS = 4096
_EPSILON = 1e-12
_LEAST_VARIANCE = 1e-10
"""Axes with less than this share of the first one's variance are noise of arithmetic: whitening leaves them out."""
_DENSE_WIDTH = 1500
"""Dimensions up to which the covariance is solved as a whole."""


@dataclass(frozen=True, eq=False)
class PCA:
    """An affine map to the axes along which points vary most."""

    mean_D: np.ndarray
    axes_KD: np.ndarray
    """Orthonormal rows, the largest entry of each positive; whitened, each is divided by the deviation along it."""
    share_K: np.ndarray
    """Each axis's share of the variance."""
    whitened: bool = False
    """Whether points vary equally along all axes and have coordinates of unit length."""

    def __str__(self) -> str:
        return f"{len(self.axes_KD)} {'whitened ' * self.whitened}principal axes"

    def project(self, points_ND: Points) -> np.ndarray:
        """(N, K) float32 coordinates."""
        found = self.coordinates(points_ND)
        if self.whitened:
            found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), _EPSILON)
        return found

    def from_middle(self, points_ND: Points) -> np.ndarray:
        """(N,) distances from the mean along the axes; whitened, in standard deviations (Mahalanobis)."""
        return np.linalg.norm(self.coordinates(points_ND), axis=1)

    def coordinates(self, points_ND: Points) -> np.ndarray:
        """(N, K) float32 along the axes, whatever their length."""
        shift_K = self.mean_D @ self.axes_KD.T
        result = np.empty((points_ND.shape[0], len(self.axes_KD)), dtype=np.float32)
        for start in range(0, points_ND.shape[0], _ROWS):
            rows = slice(start, start + _ROWS)
            result[rows] = np.asarray(points_ND[rows] @ self.axes_KD.T) - shift_K
        return result


def fit_pca(points_ND: Points, components: int, *, whiten: bool = False) -> PCA:
    """The ``components`` principal axes, or as many as there are; the same points give the same axes.

    Args:
        whiten: bring all axes to equal variance, and points to unit length (Su et al. 2021). Few points must not be
            whitened along many axes: all would be equally far from each other.
    """
    size, width = points_ND.shape
    components = max(1, min(components, size - 1, width))
    mean_D = np.asarray(points_ND.mean(axis=0, dtype=np.float64)).ravel()
    if width <= _DENSE_WIDTH:
        covariance_DD = _covariance(points_ND, mean_D)
        total = float(np.trace(covariance_DD))
        value_D, vector_DD = np.linalg.eigh(covariance_DD)
        value_K, axes_KD = value_D[::-1][:components], vector_DD.T[::-1][:components]
    else:
        total = _total_variance(points_ND, mean_D)
        value_K, axes_KD = _leading(points_ND, mean_D, components)
    largest_K = np.abs(axes_KD).argmax(axis=1)
    sign_K = np.where(axes_KD[np.arange(len(axes_KD)), largest_K] < 0, -1.0, 1.0)
    share_K = np.maximum(value_K, 0.0) / total if total > 0 else np.zeros(len(value_K))
    axes_KD = axes_KD * sign_K[:, None]
    if not whiten:
        return PCA(mean_D, axes_KD, share_K)
    kept = value_K > _LEAST_VARIANCE * max(float(value_K[0]), _EPSILON)
    return PCA(mean_D, axes_KD[kept] / np.sqrt(value_K[kept])[:, None], share_K[kept], whitened=True)


def _block(points_ND: Points, start: int) -> np.ndarray:
    block: Any = points_ND[start : start + _ROWS]
    return np.asarray(block.toarray() if sparse.issparse(block) else block, dtype=np.float64)


def _covariance(points_ND: Points, mean_D: np.ndarray) -> np.ndarray:
    result = np.zeros((len(mean_D), len(mean_D)))
    for start in range(0, points_ND.shape[0], _ROWS):
        centred = _block(points_ND, start) - mean_D
        result += centred.T @ centred
    return result / max(1, points_ND.shape[0] - 1)


def _total_variance(points_ND: Points, mean_D: np.ndarray) -> float:
    squares = sum(float((_block(points_ND, start) ** 2).sum()) for start in range(0, points_ND.shape[0], _ROWS))
    return max(0.0, squares - points_ND.shape[0] * float(mean_D @ mean_D)) / max(1, points_ND.shape[0] - 1)


def _leading(points_ND: Points, mean_D: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues (K,) and eigenvectors (K, D) of the covariance, without forming it."""
    size = points_ND.shape[0]

    def apply(vector_D: np.ndarray) -> np.ndarray:
        shown_N = points_ND @ vector_D - mean_D @ vector_D
        return (points_ND.T @ shown_N - mean_D * shown_N.sum()) / (size - 1)

    width = len(mean_D)
    operator = LinearOperator((width, width), matvec=apply, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=width)
    value_K, vector_DK = eigsh(operator, k=min(components, width - 1), which="LA", v0=start, tol=1e-6)
    return value_K[::-1], vector_DK.T[::-1]


_QUERIES_AT_ONCE = 1024


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
        for start in range(0, len(test), _QUERIES_AT_ONCE):
            rows = test[start : start + _QUERIES_AT_ONCE]
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
