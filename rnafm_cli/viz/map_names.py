"""Names beside the groups of a map, moved apart until none covers another.

Lengths are in points (1/72 inch) from the lower left corner. Shape suffix: L labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["NamePlaces", "name_boxes", "spread_names"]

NamePlaces = np.ndarray

_LETTER = 0.56
"""Mean width of a letter, as a share of the font size."""
_ROUNDS = 400


def name_boxes(names: Sequence[str], size: float) -> np.ndarray:
    """(L, 2) width and height of names in a font of this size, with a little room around."""
    return np.asarray([(max(1, len(name)) * _LETTER * size + 4, 1.25 * size + 1) for name in names]).reshape(-1, 2)


def spread_names(anchors_L2: np.ndarray, boxes_L2: np.ndarray, frame: tuple[float, float]) -> NamePlaces:
    """(L, 2) middles of the names: near their anchors, inside the frame, and apart where there is room.

    Args:
        frame: width and height of the map.
    """
    place = anchors_L2.astype(np.float64).copy()
    half = boxes_L2 / 2
    low, high = half, np.maximum(np.asarray(frame) - half, half)
    for round_number in range(_ROUNDS):
        place += 0.02 * (anchors_L2 - place) * (1 - round_number / _ROUNDS)
        gap = place[:, None] - place[None]
        overlap = half[:, None] + half[None] - np.abs(gap)
        cover = np.asarray((overlap > 0).all(axis=2))
        np.fill_diagonal(cover, False)
        if cover.any():
            # Names are wide and low: the shorter way apart is nearly always up or down.
            along = (overlap[..., 0] < overlap[..., 1]).astype(int)
            first, second = np.nonzero(cover)
            axis = along[first, second]
            toward = np.sign(gap[first, second, axis])
            toward = np.where(toward == 0, np.where(first < second, 1.0, -1.0), toward)
            np.add.at(place, (first, axis), 0.26 * toward * overlap[first, second, axis])
        place = np.clip(place, low, high)
        if round_number > _ROUNDS // 2 and not cover.any():
            break
    return place
