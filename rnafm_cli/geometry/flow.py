"""The direction in which a value grows over a map.

Shape suffixes: N points, G cells along one side of a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

__all__ = ["FlowField", "flow_field"]


@dataclass(frozen=True, eq=False)
class FlowField:
    """A smoothed value and its gradient on a square grid; row k lies at ``y_G[k]``."""

    x_G: np.ndarray
    y_G: np.ndarray
    value_GG: np.ndarray
    """NaN where there are no points."""
    along_GG: np.ndarray
    """Gradient in x; NaN where there are no points."""
    up_GG: np.ndarray
    """Gradient in y; NaN where there are no points."""


def flow_field(
    place_N2: np.ndarray, value_N: np.ndarray, *, cells: int = 60, width: float = 2.0, least: float = 0.15
) -> FlowField:
    """Average the value over the neighbourhood on the map, and take the gradient.

    Args:
        value_N: NaN values are left out.
        cells: G.
        width: standard deviation of the neighbourhood, in cells.
        least: density, as a share of the 95th percentile over cells with points, below which a cell is empty.
    """
    known = np.isfinite(value_N)
    place, value = place_N2[known], value_N[known]
    low, high = place.min(axis=0), place.max(axis=0)
    middle, span = (low + high) / 2, max(float((high - low).max()), 1e-9) * 1.1
    edges = np.linspace(-span / 2, span / 2, cells + 1)
    edges_x, edges_y = middle[0] + edges, middle[1] + edges
    count_GG, _, _ = np.histogram2d(place[:, 1], place[:, 0], bins=(edges_y, edges_x))
    sum_GG, _, _ = np.histogram2d(place[:, 1], place[:, 0], bins=(edges_y, edges_x), weights=value)
    density_GG = gaussian_filter(count_GG, width, mode="constant")
    total_GG = gaussian_filter(sum_GG, width, mode="constant")
    value_GG = total_GG / np.maximum(density_GG, 1e-12)
    step = span / cells
    up_GG, along_GG = np.gradient(value_GG, step, step)
    empty = density_GG < least * np.quantile(density_GG[count_GG > 0], 0.95)
    for grid in (value_GG, along_GG, up_GG):
        grid[empty] = np.nan
    return FlowField((edges_x[:-1] + edges_x[1:]) / 2, (edges_y[:-1] + edges_y[1:]) / 2, value_GG, along_GG, up_GG)
