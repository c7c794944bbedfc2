"""Exact nearest neighbours in bounded memory, their graph, and its communities.

Shape suffixes: N points, M points searched among, D dimensions, K neighbours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

_ROWS = 4096
"""Points whose neighbours are sought at a time."""
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
    """The ``count`` nearest points by Euclidean distance, or as many as there are.

    Args:
        among_MD: where neighbours are sought; the points themselves (each but itself) if None.
        report: called with the number of points that were done since the last call.
    """
    is_own = among_MD is None
    points_ND = np.ascontiguousarray(points_ND, dtype=np.float32)
    others_MD = points_ND if among_MD is None else np.ascontiguousarray(among_MD, dtype=np.float32)
    count = min(count, len(others_MD) - is_own)
    index_NK = np.zeros((len(points_ND), count), dtype=np.int64)
    distance_NK = np.zeros((len(points_ND), count), dtype=np.float32)
    search = NearestNeighbors(n_neighbors=min(count + is_own + _SPARE, len(others_MD)), algorithm="brute")
    search.fit(others_MD)
    for start in range(0, len(points_ND) if count else 0, _ROWS):
        rows = slice(start, start + _ROWS)
        candidate_BK = search.kneighbors(points_ND[rows], return_distance=False)
        # Measured again: the search rounds, and near copies must keep their order.
        away_BK = np.linalg.norm(others_MD[candidate_BK] - points_ND[rows, None], axis=2)
        if is_own:
            away_BK[candidate_BK == np.arange(start, start + len(away_BK))[:, None]] = np.inf
        # By distance, then by number: the same neighbours on every machine.
        order_BK = np.lexsort((candidate_BK, away_BK), axis=1)[:, :count]
        index_NK[rows] = np.take_along_axis(candidate_BK, order_BK, axis=1)
        distance_NK[rows] = np.take_along_axis(away_BK, order_BK, axis=1)
        if report:
            report(len(away_BK))
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


def sums_between(graph: sparse.csr_matrix, group_N: np.ndarray) -> sparse.csr_matrix:
    """(C, C) sums of the weights between groups of nodes."""
    shape = (len(group_N), int(group_N.max()) + 1)
    member = sparse.csr_matrix((np.ones(len(group_N)), (np.arange(len(group_N)), group_N)), shape=shape)
    return (member.T @ graph @ member).tocsr()


# Of our own: igraph would be a compiled dependency for this alone, and would cut the shipped map anew.
_LEVELS = 30
_EPSILON = 1e-12


def leiden(graph: sparse.csr_matrix, *, resolution: float = 1.0, seed: int = 0) -> np.ndarray:
    """(N,) number of each node's community, the largest community being 0.

    Nodes move to the best neighbouring community until none gains; each community is then split into well-connected
    parts, and these become the nodes of the next round. Where the algorithm draws a part at random, the best is taken.

    Args:
        graph: symmetric, with positive weights.
        resolution: above 1 for more and smaller communities.
        seed: of the order in which nodes are visited.
    """
    rng = np.random.default_rng(seed)
    level = graph.tocsr().astype(np.float64)
    strength = np.asarray(level.sum(axis=1)).ravel()
    total = strength.sum()
    owner = np.arange(level.shape[0])
    community = owner.copy()
    if not total:
        return owner
    scale = resolution / total
    for _ in range(_LEVELS):
        community = _moved(level, strength, community, scale, rng)
        part = _refined(level, strength, community, scale, rng)
        count = int(part.max()) + 1
        if count == level.shape[0]:
            break
        first = np.zeros(count, dtype=np.int64)
        first[part] = community
        level = sums_between(level, part)
        strength = np.bincount(part, strength, minlength=count)
        owner, community = part[owner], np.unique(first, return_inverse=True)[1]
    return _by_size(community[owner])


def _by_size(label_N: np.ndarray) -> np.ndarray:
    """Labels renumbered by size, equal sizes in order of first appearance."""
    _, first, label_N, sizes = np.unique(label_N, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return rank[label_N]


def _moved(
    graph: sparse.csr_matrix, strength_N: np.ndarray, start_N: np.ndarray, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Communities after every node has moved to where modularity gains most, again and again."""
    starts, others, weights = graph.indptr.tolist(), graph.indices.tolist(), graph.data.tolist()
    community, strength = start_N.tolist(), strength_N.tolist()
    total = np.bincount(start_N, strength_N, minlength=len(community)).tolist()
    queue = deque(rng.permutation(len(community)).tolist())
    waiting = [True] * len(community)
    while queue:
        node = queue.popleft()
        waiting[node] = False
        old, own = community[node], strength[node]
        total[old] -= own
        link = {old: 0.0}
        for k in range(starts[node], starts[node + 1]):
            if others[k] != node:
                there = community[others[k]]
                link[there] = link.get(there, 0.0) + weights[k]
        best, gain = old, link[old] - scale * own * total[old]
        for there, weight in link.items():
            value = weight - scale * own * total[there]
            if value > gain + _EPSILON:
                best, gain = there, value
        total[best] += own
        if best == old:
            continue
        community[node] = best
        for k in range(starts[node], starts[node + 1]):
            other = others[k]
            if community[other] != best and not waiting[other]:
                waiting[other] = True
                queue.append(other)
    return np.unique(np.asarray(community), return_inverse=True)[1]


def _refined(
    graph: sparse.csr_matrix, strength_N: np.ndarray, community_N: np.ndarray, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Parts of communities that hold together: single nodes join well-connected parts of their community."""
    starts, others, weights = graph.indptr.tolist(), graph.indices.tolist(), graph.data.tolist()
    community, strength = community_N.tolist(), strength_N.tolist()
    whole = np.bincount(community_N, strength_N).tolist()
    row = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    inside = (community_N[row] == community_N[graph.indices]) & (row != graph.indices)
    cut = np.bincount(row[inside], graph.data[inside], minlength=graph.shape[0]).tolist()
    single_cut = list(cut)
    part, total = list(range(len(community))), list(strength)
    alone = [True] * len(community)
    for node in rng.permutation(len(community)).tolist():
        own, home = strength[node], community[node]
        if not alone[node] or single_cut[node] < scale * own * (whole[home] - own):
            continue
        link: dict[int, float] = {}
        for k in range(starts[node], starts[node + 1]):
            other = others[k]
            if other != node and community[other] == home:
                link[part[other]] = link.get(part[other], 0.0) + weights[k]
        best, gain = node, 0.0
        for there, weight in link.items():
            if there == node or cut[there] < scale * total[there] * (whole[home] - total[there]):
                continue
            value = weight - scale * own * total[there]
            if value > gain + _EPSILON:
                best, gain = there, value
        if best == node:
            continue
        part[node] = best
        total[best] += own
        cut[best] += single_cut[node] - 2 * link[best]
        alone[node] = alone[best] = False
    return np.unique(np.asarray(part), return_inverse=True)[1]
