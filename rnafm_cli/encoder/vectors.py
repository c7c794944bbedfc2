"""Vectors of RNAs: principal axes, how well labels carry over to nearest neighbours, and vectors without any model.

Shape suffixes: N sequences, D dimensions, K axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import sparse

from rnafm_cli.rna.alphabet import letter_codes
from rnafm_cli.rna.kmers import words_of


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
        codes = letter_codes(sequence[:length]).astype(np.int64) - 1
        place = np.flatnonzero(codes >= 0)
        columns.append(place * 4 + codes[place])
        rows.append(np.full(len(place), row))
    ones = np.ones(sum(map(len, rows)), dtype=np.float32)
    shape = (len(sequences), 4 * length)
    return sparse.csr_matrix((ones, (np.concatenate(rows), np.concatenate(columns))), shape=shape)


def chosen_per_label(labels: Sequence[str], most: int, *, seed: int = 0) -> np.ndarray:
    """Ascending numbers of at most ``most`` points of each label, a seeded choice."""
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = np.asarray(labels)[order]
    return np.sort(np.concatenate([order[shuffled == label][:most] for label in np.unique(shuffled)]))


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
    from sklearn.decomposition import PCA as Axes

    size, width = points_ND.shape
    whole = width <= _DENSE_WIDTH
    components = max(1, min(components, size - 1, width if whole else width - 1))
    with np.errstate(invalid="ignore"):  # points that are all equal have no share of any variance
        fitted = Axes(components, svd_solver="covariance_eigh" if whole else "arpack", random_state=0).fit(
            points_ND.astype(np.float64)
        )
    axes_KD, share_K = fitted.components_, np.nan_to_num(fitted.explained_variance_ratio_)
    if not whiten:
        return PCA(fitted.mean_, axes_KD, share_K)
    value_K = fitted.explained_variance_
    kept = value_K > _LEAST_VARIANCE * max(float(value_K[0]), _EPSILON)
    return PCA(fitted.mean_, axes_KD[kept] / np.sqrt(value_K[kept])[:, None], share_K[kept], whitened=True)


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
    from sklearn.neighbors import KNeighborsClassifier

    truth = np.asarray(labels)
    predicted = np.empty_like(truth)
    for number in np.unique(fold):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        voters = KNeighborsClassifier(min(neighbours, len(train)), weights=_votes, algorithm="brute", metric="cosine")
        predicted[test] = voters.fit(vectors[train], truth[train]).predict(vectors[test])
    return score_types(truth, predicted)


def _votes(distances: np.ndarray) -> np.ndarray:
    """One vote a neighbour, and less than one in all that falls with the rank: it breaks ties only."""
    return np.zeros_like(distances) + 1 + 0.5 ** (np.arange(distances.shape[1]) + 2.0)


def score_types(truth: np.ndarray, predicted: np.ndarray) -> Transfer:
    """Shares recovered, from types (n,), true and predicted."""
    right = truth == predicted
    by_type = {str(name): float(right[truth == name].mean()) for name in np.unique(truth)}
    return Transfer(float(right.mean()), float(np.mean(list(by_type.values()))), by_type)
