"""Positions worth a number along a sequence."""

from __future__ import annotations

__all__ = ["labelled_positions", "tick_step"]

_STEPS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def tick_step(spacing: float, *, room: float = 34.0) -> int:
    """The smallest round distance between numbers that leaves each ``room``, for bases ``spacing`` apart."""
    return next((step for step in _STEPS if step * spacing >= room), _STEPS[-1])


def labelled_positions(length: int, step: int) -> list[int]:
    """Positions (1-based) to number: the first, every ``step``-th, and the last where it does not crowd."""
    inner = [p for p in range(step, length + 1, step) if length - p >= step / 2 or p == length]
    return sorted({1, *inner, length})
