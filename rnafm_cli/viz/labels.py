"""Finds room for small labels beside the bases of a drawing.

Shapes: N obstacles, K directions.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.viz.canvas import Point

__all__ = ["LabelPlacer"]

_DIRECTIONS = 24


class LabelPlacer:
    """Puts each label where the least is in its way, and remembers it as an obstacle for the next.

    Args:
        obstacles_N2: centres of what is drawn already.
    """

    def __init__(self, obstacles_N2: NDArray[np.float64]) -> None:
        self._taken_N2 = obstacles_N2
        angles_K = np.arange(_DIRECTIONS) * (math.tau / _DIRECTIONS)
        self._directions_K2 = np.stack([np.cos(angles_K), np.sin(angles_K)], axis=1)

    def place(self, at: Point, distance: float, *, away: Point | None = None) -> Point:
        """A place for a label that belongs to the base at ``at``.

        Args:
            distance: from the base to the middle of the label.
            away: a preferred direction, taken where there is as much room.
        """
        origin_2 = np.array(at)
        candidates_K2 = origin_2 + distance * self._directions_K2
        gaps_KN = np.linalg.norm(candidates_K2[:, None] - self._taken_N2[None], axis=2)
        # What lies farther than two label distances is in nobody's way.
        nearest_K3 = np.minimum(np.sort(gaps_KN, axis=1)[:, :3], 2 * distance)
        room_K = nearest_K3 @ np.array([1.0, 0.5, 0.25])[: nearest_K3.shape[1]]
        if away is not None and (norm := math.hypot(*away)) > 0:
            room_K = room_K + 0.25 * distance * (self._directions_K2 @ (np.array(away) / norm))
        best_2 = candidates_K2[int(np.argmax(np.round(room_K, 6)))]
        self._taken_N2 = np.vstack([self._taken_N2, best_2])
        return float(best_2[0]), float(best_2[1])
