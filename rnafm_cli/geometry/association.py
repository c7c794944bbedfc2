"""Rank correlation of two short lists, and the chance of one as strong in shuffled lists."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import factorial

import numpy as np
from scipy.stats import rankdata

__all__ = ["Association", "associate", "spearman"]

_EXACT = 7
"""Values up to which every order is tried."""


@dataclass(frozen=True)
class Association:
    """A rank correlation and how often chance does as well."""

    spearman: float
    p_value: float
    """Two-sided, by permutation."""
    values: int
    permutations: int


def spearman(first_N: np.ndarray, second_N: np.ndarray) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN when one list is constant."""
    a, b = rankdata(first_N), rankdata(second_N)
    a, b = a - a.mean(), b - b.mean()
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / length if length else float("nan")


def associate(first_N: np.ndarray, second_N: np.ndarray, *, resamples: int = 100_000, seed: int = 0) -> Association:
    """Spearman's correlation with a two-sided permutation p value: every order of up to 7 values, else random ones."""
    observed = spearman(first_N, second_N)
    size = len(first_N)
    if not np.isfinite(observed):
        return Association(observed, float("nan"), size, 0)
    a, b = rankdata(first_N), rankdata(second_N)
    a, b = (a - a.mean()) / np.linalg.norm(a - a.mean()), (b - b.mean()) / np.linalg.norm(b - b.mean())
    if size <= _EXACT:
        orders = np.asarray(list(permutations(range(size))))
        strong = int((np.abs(a[orders] @ b) >= abs(observed) - 1e-9).sum())
        return Association(observed, strong / factorial(size), size, factorial(size))
    rng = np.random.default_rng(seed)
    strong = 0
    for start in range(0, resamples, 10_000):
        count = min(10_000, resamples - start)
        shuffled = rng.permuted(np.tile(a, (count, 1)), axis=1)
        strong += int((np.abs(shuffled @ b) >= abs(observed) - 1e-9).sum())
    return Association(observed, (strong + 1) / (resamples + 1), size, resamples)
