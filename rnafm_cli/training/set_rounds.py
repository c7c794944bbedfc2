"""Rounds over the rows of several sets, smaller sets shown more often."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["repeats", "shown_rows"]


def repeats(sets_N: NDArray[np.integer], power: float) -> NDArray[np.float64]:
    """(N,) how often each row is shown in a round on average: (largest set / its set) to ``power``."""
    sizes = np.bincount(sets_N).astype(np.float64)
    return ((sizes.max() / np.maximum(sizes, 1)) ** power)[sets_N]


def shown_rows(repeats_N: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Row numbers of one round in random order; a row shown 1.4 times comes once or twice."""
    times = np.floor(repeats_N + rng.random(len(repeats_N))).astype(np.int64)
    return rng.permutation(np.repeat(np.arange(len(repeats_N)), times))
