"""Exact nearest neighbours in bounded memory, and the graph that they make.

Shape suffixes: N points, M points searched among, D dimensions, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

__all__ = ["Neighbours", "nearest", "neighbour_graph"]

_CELLS = 1 << 24
"""Distances held at a time."""
_SPARE = 8
"""Candidates beyond K that are measured again without rounding."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Nearest points of each point, nearest first, itself left out."""

    index_NK: np.ndarray
    """int64."""
    distance_NK: np.ndarray
    """float32, Euclidean."""

    def first(self, count: int) -> Neighbours:
        """The nearest ``count`` of them."""
        return Neighbours(self.index_NK[:, :count], self.distance_NK[:, :count])


def nearest(
    points_ND: np.ndarray,
    count: int,
    *,
    among_MD: np.ndarray | None = None,
    report: Callable[[int], None] | None = None,
) -> Neighbours:
    """The nearest points by Euclidean distance.

    Args:
        count: K; at most as many as there are other points.
        among_MD: where neighbours are sought; the points themselves (each but itself) if None.
        report: called with the number of points that were done since the last call.
    """
    others_MD = np.ascontiguousarray(points_ND if among_MD is None else among_MD, dtype=np.float32)
    points_ND = np.ascontiguousarray(points_ND, dtype=np.float32)
    available = len(others_MD) - (among_MD is None)
    count = min(count, available)
    index_NK = np.zeros((len(points_ND), count), dtype=np.int64)
    distance_NK = np.zeros((len(points_ND), count), dtype=np.float32)
    square_M = np.einsum("md,md->m", others_MD, others_MD)
    rows = max(1, _CELLS // max(1, len(others_MD)))
    for start in range(0, len(points_ND) if count else 0, rows):
        block_BD = points_ND[start : start + rows]
        # The block's own squares change no order.
        far_BM = square_M - 2 * (block_BD @ others_MD.T)
        place_B = np.arange(len(block_BD))
        if among_MD is None:
            far_BM[place_B, start + place_B] = np.inf
        kept = min(count + _SPARE, available)
        candidate_BK = np.argpartition(far_BM, kept - 1, axis=1)[:, :kept]
        away_BK = np.linalg.norm(others_MD[candidate_BK] - block_BD[:, None], axis=2)
        # By distance, then by number: the same neighbours on every machine.
        order_BK = np.lexsort((candidate_BK, away_BK), axis=1)[:, :count]
        index_NK[start : start + rows] = np.take_along_axis(candidate_BK, order_BK, axis=1)
        distance_NK[start : start + rows] = np.take_along_axis(away_BK, order_BK, axis=1)
        if report:
            report(len(block_BD))
    return Neighbours(index_NK, distance_NK)


def neighbour_graph(neighbours: Neighbours) -> sparse.csr_matrix:
    """(N, N) symmetric weights in (0, 1] between neighbours, by a Gaussian whose width follows the local density.

    The weight of two points is exp(-d^2 / (s1 s2)), s being the distance to a point's last neighbour
    (Zelnik-Manor & Perona 2004); an edge stands when one of the two counts the other among its neighbours.
    """
    size, count = neighbours.index_NK.shape
    width_N = neighbours.distance_NK[:, -1].astype(np.float64) if count else np.ones(size)
    positive = width_N[width_N > 0]
    floor = 1e-3 * float(np.median(positive)) if len(positive) else 1.0
    width_N = np.maximum(width_N, floor)
    row = np.repeat(np.arange(size), count)
    column = neighbours.index_NK.ravel()
    square = neighbours.distance_NK.ravel().astype(np.float64) ** 2
    weight = np.exp(-square / (width_N[row] * width_N[column]))
    # A weight that underflows would cut an edge that the neighbours say is there.
    graph = sparse.csr_matrix((np.maximum(weight, 1e-12), (row, column)), shape=(size, size))
    return graph.maximum(graph.T).tocsr()
