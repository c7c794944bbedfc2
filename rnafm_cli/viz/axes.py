"""Plain axes that the figures of scores share, and positions worth a number along a sequence.

Shapes: N records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_STEPS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def tick_step(spacing: float, *, room: float = 34.0) -> int:
    """The smallest round distance between numbers that leaves each ``room``, for bases ``spacing`` apart."""
    return next((step for step in _STEPS if step * spacing >= room), _STEPS[-1])


def labelled_positions(length: int, step: int) -> list[int]:
    """Positions (1-based) to number: the first, every ``step``-th, and the last where it does not crowd."""
    inner = [p for p in range(step, length + 1, step) if length - p >= step / 2 or p == length]
    return sorted({1, *inner, length})


_MEMBERS_PER_BIN = 40
_MOST_BINS = 10
_RASTER_FROM = 5000
"""Points beyond which an SVG holds them as a picture instead of one by one."""


def figure_and_axes(width: float, height: float) -> tuple[Any, Any]:
    """An empty white figure of so many inches, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    axes = figure.subplots()
    plain_frame(axes)
    return figure, axes


def plain_frame(axes: Any) -> None:
    """Axes without the upper and right line, with small letters."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_size(9)
    axes.yaxis.label.set_size(9)


def points(
    axes: Any, x_N: np.ndarray, y_N: np.ndarray, colour: str, *, label: str = "", faint: bool = False, zorder: int = 2
) -> None:
    """Dots that darken where they lie on each other."""
    axes.scatter(
        x_N,
        y_N,
        s=9 if faint else 14,
        color=colour,
        alpha=0.24 if faint else 0.45,
        linewidths=0,
        label=label or None,
        rasterized=len(x_N) > _RASTER_FROM,
        zorder=zorder,
    )


def equal_bins(length_N: np.ndarray) -> list[np.ndarray]:
    """Row numbers of bins from short to long with about equally many records; equal lengths stay together."""
    count = int(np.clip(len(length_N) // _MEMBERS_PER_BIN, 1, _MOST_BINS))
    edges = np.unique(np.quantile(length_N, np.linspace(0, 1, count + 1)[1:-1]))
    bin_N = np.searchsorted(edges, length_N, side="right")
    return [np.flatnonzero(bin_N == k) for k in np.unique(bin_N)]


def plain_lengths(axes: Any, lengths: Sequence[int]) -> None:
    """A logarithmic axis with round lengths as ticks instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

    axes.set_xscale("log")
    axes.set_xlim(min(lengths) / 1.08, max(lengths) * 1.08)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
