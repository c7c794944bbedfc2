"""Colours of groups on a map, and where on the map a group's name belongs.

Shape suffixes: N points, L labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

__all__ = ["GROUP_COLOURS", "NO_GROUP", "Groups", "group_points", "rgb"]

GROUP_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#332288",
    "#882255",
    "#999933",
)
"""Apart for colour-blind readers (after Okabe & Ito 2008, and Tol's muted scheme)."""
NO_GROUP = "#c3c7ce"

_CELLS = 64


@dataclass(frozen=True, eq=False)
class Groups:
    """Labels as groups, the largest first."""

    names: list[str]
    sizes: list[int]
    index_N: np.ndarray
    """Group of each point; -1 for points without label."""
    colours: list[str]
    """Of each group; beyond nine groups colours repeat, as far from each other on the map as can be."""
    anchors_L2: np.ndarray
    """The middle of the densest part of each group."""

    def colour_of_points(self) -> np.ndarray:
        """(N, 3) red, green, blue from 0 to 1."""
        table = np.asarray([rgb(colour) for colour in (*self.colours, NO_GROUP)])
        return table[self.index_N]


def rgb(colour: str) -> tuple[float, float, float]:
    """Red, green and blue from 0 to 1 of ``#rrggbb``."""
    return int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255


def group_points(place_N2: np.ndarray, labels: Sequence[str]) -> Groups:
    """Groups of a map's points by label, with a colour and a place for the name of each."""
    counts = Counter(label for label in labels if label)
    names = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    number = {name: k for k, name in enumerate(names)}
    index_N = np.asarray([number.get(label, -1) for label in labels], dtype=np.int64)
    anchors_L2 = np.asarray([_densest(place_N2[index_N == k], place_N2) for k in range(len(names))]).reshape(-1, 2)
    return Groups(names, [counts[name] for name in names], index_N, _colours(anchors_L2), anchors_L2)


def _densest(member_M2: np.ndarray, all_N2: np.ndarray) -> np.ndarray:
    """The mean of a group's points around its densest spot."""
    low, high = all_N2.min(axis=0), all_N2.max(axis=0)
    span = np.maximum(high - low, 1e-9)
    cell_M2 = np.minimum(((member_M2 - low) / span * _CELLS).astype(np.int64), _CELLS - 1)
    count = np.zeros((_CELLS, _CELLS))
    np.add.at(count, (cell_M2[:, 0], cell_M2[:, 1]), 1.0)
    peak = np.unravel_index(gaussian_filter(count, 1.5, mode="constant").argmax(), count.shape)
    near = np.abs(cell_M2 - np.asarray(peak)).max(axis=1) <= 2
    return member_M2[near].mean(axis=0) if near.any() else np.median(member_M2, axis=0)


def _colours(anchors_L2: np.ndarray) -> list[str]:
    """A colour for each group in turn: an unused one, else the one whose bearers are farthest away."""
    chosen: list[int] = []
    for k, anchor in enumerate(anchors_L2):
        if k < len(GROUP_COLOURS):
            chosen.append(k)
            continue
        far = np.linalg.norm(anchors_L2[:k] - anchor, axis=1)
        closest = [far[np.asarray(chosen) == c].min() for c in range(len(GROUP_COLOURS))]
        chosen.append(int(np.argmax(closest)))
    return [GROUP_COLOURS[k] for k in chosen]
