"""What simple models make of the same rows: 5-mer logistic regression for binding, ridge regression for ribosome load.

Shapes: N rows, K features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from rnafm_cli.rna.upstream_starts import upstream_starts
from rnafm_cli.rna.words import words_of

__all__ = ["kmer_counts", "kmer_logistic", "utr_features", "utr_ridge"]

_KMER = 5
_LOGISTIC_STRENGTH = 1e-3
"""Weight of the data against the penalty, as scikit-learn's C, on standardised counts: better on development rows than
1e-2, and than counts as they are with 1."""
_RIDGE_PENALTY = 10.0
_NEAR_START = 12
_STOPS = ("UAA", "UAG", "UGA")


def kmer_counts(sequences: Sequence[str], length: int = _KMER) -> NDArray[np.float32]:
    """(N, 4 ** length) how often each word occurs in each sequence."""
    words, rows = words_of(sequences, length)
    size = 4**length
    flat = np.bincount(rows * size + words.astype(np.int64), minlength=len(sequences) * size)
    return flat.reshape(len(sequences), size).astype(np.float32)


def kmer_logistic(
    train: Sequence[str], labels_N: NDArray[np.floating], scored: Sequence[str], *, iterations: int = 100
) -> NDArray[np.float64]:
    """Log odds of the scored sequences by logistic regression on standardised 5-mer counts of the training ones."""
    x_NK, z_NK = kmer_counts(train), kmer_counts(scored)
    mean_K, spread_K = x_NK.mean(0), np.maximum(x_NK.std(0), 1e-6)
    x_NK, z_NK = (x_NK - mean_K) / spread_K, (z_NK - mean_K) / spread_K
    labels = labels_N.astype(np.float32)

    def objective(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights_K, intercept = theta[:-1], theta[-1]
        logits = x_NK @ weights_K.astype(np.float32) + np.float32(intercept)
        loss = np.logaddexp(0.0, logits).sum() - (logits * labels).sum()
        error = 1 / (1 + np.exp(-logits)) - labels
        gradient = np.append(_LOGISTIC_STRENGTH * (x_NK.T @ error) + weights_K, _LOGISTIC_STRENGTH * error.sum())
        return float(_LOGISTIC_STRENGTH * loss + 0.5 * weights_K @ weights_K), gradient.astype(np.float64)

    start = np.zeros(x_NK.shape[1] + 1)
    theta = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations}).x
    return z_NK @ theta[:-1] + theta[-1]


def utr_features(sequences: Sequence[str]) -> NDArray[np.float64]:
    """(N, K) upstream AUGs, open or stopped, and stop codons by frame; 1- to 4-mers; the last 12 bases; length."""
    words = np.concatenate([kmer_counts(sequences, length) for length in (1, 2, 3, 4)], axis=1)
    own = np.zeros((len(sequences), 9 + 4 * _NEAR_START + 1))
    for row, sequence in zip(own, sequences, strict=True):
        for start in upstream_starts(sequence):
            row[start.frame + (3 if start.stop is not None else 0)] += 1
        for k in range(len(sequence) - 2):
            if sequence[k : k + 3] in _STOPS:
                row[6 + (len(sequence) - k) % 3] += 1
        for place, letter in enumerate(reversed(sequence[-_NEAR_START:])):
            if letter in "ACGU":
                row[9 + 4 * place + "ACGU".index(letter)] = 1
        row[-1] = len(sequence)
    return np.concatenate([words, own], axis=1)


def utr_ridge(train: Sequence[str], values_N: NDArray[np.floating], scored: Sequence[str]) -> NDArray[np.float64]:
    """Ribosome load of the scored UTRs by ridge regression on :func:`utr_features` of the training ones."""
    x_NK, z_NK = utr_features(train), utr_features(scored)
    mean_K, spread_K = x_NK.mean(0), np.maximum(x_NK.std(0), 1e-6)
    x_NK, z_NK = (x_NK - mean_K) / spread_K, (z_NK - mean_K) / spread_K
    centre = float(values_N.mean())
    gram = x_NK.T @ x_NK + _RIDGE_PENALTY * np.eye(x_NK.shape[1])
    return z_NK @ np.linalg.solve(gram, x_NK.T @ (values_N - centre)) + centre
