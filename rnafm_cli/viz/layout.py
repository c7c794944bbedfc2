"""Where the bases of a nested structure go in the plane.

ViennaRNA's RNApuzzler (Wiegreffe et al. 2018) draws without overlaps. Where the package is missing, or the
structure is none that it can take, every loop becomes a regular polygon.

Shape suffix: L bases. One unit is the distance of neighbours in sequence.
"""

from __future__ import annotations

import importlib
import importlib.util
import math

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.pairs import Pairs, pairs_to_partners
from rnafm_cli.rna.pseudoknots import to_dot_bracket

__all__ = ["place_bases", "polygon_layout"]

_PUZZLER_TYPE = 4
_PUZZLER_STEP = 25.0
_SHORTEST = 5
# RNApuzzler crashes on hairpins of fewer bases.
_LEAST_LOOP = 3
_SLIM = 1.7
_BROAD = 2.2
_COMPACT = 0.6
"""A ring is worth it when it needs at most this share of the line's length."""


def place_bases(nested: Pairs, length: int) -> NDArray[np.float64]:
    """Coordinates (L, 2) of all bases, y downwards, the 5' end to the left; a tall slim fold is laid on its side.

    Args:
        nested: (n, 2) pairs that do not cross, 0-based.
    """
    drawn = nested[nested[:, 1] - nested[:, 0] > _LEAST_LOOP]
    if length >= _SHORTEST and len(drawn) and importlib.util.find_spec("RNA") is not None:
        where_L2 = _puzzler(to_dot_bracket(drawn, length))
        if np.ptp(where_L2[:, 0]) > _BROAD * np.ptp(where_L2[:, 1]):
            ring_L2 = _ring(to_dot_bracket(drawn, length))
            where_L2 = ring_L2 if np.ptp(ring_L2, axis=0).max() < _COMPACT * np.ptp(where_L2[:, 0]) else where_L2
    else:
        where_L2 = polygon_layout(nested, length)
    width, height = np.ptp(where_L2, axis=0)
    if height > _SLIM * width and height > _SLIM * 10:
        # Upwards becomes rightwards: the 5' strand of a long hairpin ends on top, as in drawings of miRNA precursors.
        where_L2 = np.stack([where_L2[:, 1], -where_L2[:, 0]], axis=1)
    return where_L2 * np.array([1.0, -1.0])


def polygon_layout(nested: Pairs, length: int) -> NDArray[np.float64]:
    """Coordinates (L, 2), y upwards: each loop a regular polygon, the exterior along a line; parts may overlap."""
    partners = pairs_to_partners(nested, length).tolist()
    where = [0j] * length
    open_pairs: list[tuple[int, int]] = []
    x, k = 0.0, 0
    while k < length:
        where[k] = complex(x)
        if (j := partners[k]) > k:
            x += 1.0
            where[j] = complex(x)
            open_pairs.append((k, j))
            k = j
        x, k = x + 1.0, k + 1
    while open_pairs:
        i, j = open_pairs.pop()
        inside: list[int] = []
        k = i + 1
        while k < j:
            inside.append(k)
            if (m := partners[k]) > k:
                inside.append(m)
                open_pairs.append((k, m))
                k = m
            k += 1
        corners = len(inside) + 2
        # Walking the polygon from i, each edge turns right by the same angle until it closes from j to i.
        turn = -math.tau / corners
        edge = (where[i] - where[j]) * complex(math.cos(turn), math.sin(turn)) / max(abs(where[i] - where[j]), 1e-9)
        here = where[i]
        for k in inside:
            here += edge
            where[k] = here
            edge *= complex(math.cos(turn), math.sin(turn))
    return np.array([[point.real, point.imag] for point in where])


def _ring(structure: str) -> NDArray[np.float64]:
    """A layout with the exterior bent to a ring: that of the structure within one more pair, which is left out."""
    return _puzzler(f"({structure})")[1:-1]


def _puzzler(structure: str) -> NDArray[np.float64]:
    library = importlib.import_module("RNA")
    before = library.cvar.rna_plot_type
    library.cvar.rna_plot_type = _PUZZLER_TYPE
    try:
        found = library.get_xy_coordinates(structure)
        points = [(found.get(k).X, found.get(k).Y) for k in range(len(structure))]
    finally:
        library.cvar.rna_plot_type = before
    return np.array(points, dtype=np.float64) / _PUZZLER_STEP
