"""Communities of a weighted graph by the Leiden algorithm (Traag, Waltman & van Eck 2019), for modularity."""

from __future__ import annotations

from collections import deque

import numpy as np
from scipy import sparse

__all__ = ["leiden"]

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
        member = sparse.csr_matrix((np.ones(len(part)), (np.arange(len(part)), part)), shape=(len(part), count))
        level = (member.T @ level @ member).tocsr()
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
