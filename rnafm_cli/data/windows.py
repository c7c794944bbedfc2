"""Overlapping windows over sequences beyond a model's limit, and the blending of what they give."""

from __future__ import annotations

import numpy as np

__all__ = ["blend_weights", "window_starts"]


def window_starts(length: int, size: int, overlap: int) -> list[int]:
    """Starts (0-based) of the fewest windows that cover ``length`` with at least ``overlap`` in common.

    All windows have the full ``size`` and lie evenly; one window at 0 if the sequence fits.
    """
    if length <= size:
        return [0]
    count = -(-(length - overlap) // (size - overlap))
    return [round(k * (length - size) / (count - 1)) for k in range(count)]


def blend_weights(start: int, size: int, length: int, overlap: int) -> np.ndarray:
    """Weights (size,) of one window's rows: 1 inside, a linear ramp over the overlap at cut ends.

    The ends of the sequence itself keep weight 1. Divide by the sum over windows to blend.
    """
    weights = np.ones(size, dtype=np.float32)
    ramp = np.arange(1, overlap + 1, dtype=np.float32) / (overlap + 1)
    if start > 0:
        weights[:overlap] = ramp
    if start + size < length:
        weights[size - overlap :] = np.minimum(weights[size - overlap :], ramp[::-1])
    return weights
