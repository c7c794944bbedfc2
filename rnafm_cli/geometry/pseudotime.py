"""How far points lie from a root along a neighbour graph.

Two measures: distance in diffusion space, and hitting times of a lazy random walk that teleports.
Shape suffixes: N points, C groups of points, K diffusion components, R root points.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

__all__ = ["diffusion_pseudotime", "hitting_times", "reachable", "smoothed", "walk_pseudotime"]

_DENSE = 400
"""Nodes up to which all eigenvectors are computed."""
_COMPONENTS = 15


def reachable(graph: sparse.csr_matrix, roots_R: np.ndarray) -> np.ndarray:
    """(N,) bool: points that a path joins to a root."""
    _, component_N = connected_components(graph, directed=False)
    return np.isin(component_N, np.unique(component_N[roots_R]))


def diffusion_pseudotime(graph: sparse.csr_matrix, roots_R: np.ndarray, *, components: int = _COMPONENTS) -> np.ndarray:
    """(N,) float64 diffusion pseudotime (Haghverdi et al. 2016), 0 at the start, 1 at the farthest point.

    The walk's weights are freed of the density of points (Coifman & Lafon 2006, alpha = 1); the distance sums the
    components weighted by (l / (1 - l))^2 for the eigenvalue l, as walks of all lengths do. Points without a path
    to a root are NaN. Several roots start from their mean place.

    Args:
        graph: symmetric weights.
        roots_R: numbers of the points where time is zero; in one connected part, or the largest of theirs is taken.
    """
    time_N = np.full(graph.shape[0], np.nan)
    _, part_N = connected_components(graph, directed=False)
    part = np.bincount(part_N[roots_R]).argmax()
    inside = np.flatnonzero(part_N == part)
    roots = np.flatnonzero(np.isin(inside, roots_R))
    if len(inside) < 3:
        time_N[inside] = 0.0
        return time_N
    value_K, vector_NK = _diffusion_components(graph[inside][:, inside].tocsr(), components)
    scale_K = value_K / np.maximum(1 - value_K, 1e-9)
    place_NK = vector_NK * scale_K
    time_N[inside] = np.linalg.norm(place_NK - place_NK[roots].mean(axis=0), axis=1)
    return _scaled(time_N)


def walk_pseudotime(
    graph: sparse.csr_matrix, group_N: np.ndarray, root_group: int, *, laziness: float = 0.5, teleport: float = 0.02
) -> np.ndarray:
    """(N,) float64 pseudotime from hitting times between groups of points, 0 to 1; NaN out of reach.

    Each group's time is the expected number of steps in which a walk from the root group first meets it; points
    get the mean of their neighbours' groups. Walks between single points would not do: in large graphs their hitting
    times tell the density at the target alone (von Luxburg, Radl & Hein 2014).
    """
    count = int(group_N.max()) + 1
    member = sparse.csr_matrix((np.ones(len(group_N)), (np.arange(len(group_N)), group_N)), shape=(len(group_N), count))
    flow_CC = np.asarray((member.T @ graph @ member).todense())
    np.fill_diagonal(flow_CC, 0.0)
    sizes_C = np.bincount(group_N, minlength=count)
    # Edges per pair of points: a large group is no attraction by itself.
    flow_CC = flow_CC / np.sqrt(np.outer(sizes_C, sizes_C))
    time_C = hitting_times(flow_CC, root_group, laziness=laziness, teleport=teleport)
    return _scaled(smoothed(graph, time_C[group_N], steps=4))


def hitting_times(flow_CC: np.ndarray, root: int, *, laziness: float = 0.5, teleport: float = 0.02) -> np.ndarray:
    """(C,) expected steps from ``root`` until a node is first met; 0 for the root, NaN for nodes out of reach.

    The walk stays with probability ``laziness``, jumps to a node at random with probability ``teleport`` and else
    follows an edge with probability in proportion to its weight, as in VIA (Stassen et al. 2021).
    """
    size = len(flow_CC)
    _, part_C = connected_components(sparse.csr_matrix(flow_CC), directed=False)
    inside = np.flatnonzero(part_C == part_C[root])
    time_C = np.full(size, np.nan)
    time_C[root] = 0.0
    if len(inside) == 1:
        return time_C
    flow = flow_CC[np.ix_(inside, inside)]
    step = flow / flow.sum(axis=1, keepdims=True)
    step = laziness * np.eye(len(inside)) + (1 - laziness) * step
    step = (1 - teleport) * step + teleport / len(inside)
    start = int(np.flatnonzero(inside == root)[0])
    for target in range(len(inside)):
        if target == start:
            continue
        rest = np.arange(len(inside)) != target
        times = np.linalg.solve(np.eye(len(inside) - 1) - step[np.ix_(rest, rest)], np.ones(len(inside) - 1))
        time_C[inside[target]] = times[start - (start > target)]
    return time_C


def smoothed(graph: sparse.csr_matrix, value_N: np.ndarray, *, steps: int) -> np.ndarray:
    """Values after some lazy steps to the mean of the neighbours; NaN neighbours do not count."""
    known_N = np.isfinite(value_N)
    value_N = np.where(known_N, value_N, 0.0)
    weight_N = np.asarray(graph @ known_N.astype(np.float64)).ravel()
    for _ in range(steps):
        mean_N = np.asarray(graph @ value_N).ravel() / np.maximum(weight_N, 1e-300)
        value_N = np.where(known_N & (weight_N > 0), 0.5 * value_N + 0.5 * mean_N, value_N)
    return np.where(known_N, value_N, np.nan)


def _diffusion_components(graph: sparse.csr_matrix, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (K,), largest first without the trivial 1, and right eigenvectors (N, K) of the walk."""
    density = np.asarray(graph.sum(axis=1)).ravel()
    even = sparse.diags(1 / density) @ graph @ sparse.diags(1 / density)
    degree = np.asarray(even.sum(axis=1)).ravel()
    root = sparse.diags(1 / np.sqrt(degree))
    walk = (root @ even @ root).tocsr()
    wanted = min(components + 1, graph.shape[0] - 1)
    if graph.shape[0] <= _DENSE:
        value, vector = np.linalg.eigh(walk.toarray())
        value, vector = value[-wanted:], vector[:, -wanted:]
    else:
        start = np.random.default_rng(0).normal(size=graph.shape[0])
        breadth = min(graph.shape[0] - 1, max(60, 3 * wanted))
        value, vector = eigsh(walk, k=wanted, which="LA", v0=start, ncv=breadth, tol=1e-7, maxiter=5000)
    order = np.argsort(-value)[1:]
    return value[order], vector[:, order] / np.sqrt(degree)[:, None]


def _scaled(time_N: np.ndarray) -> np.ndarray:
    """From 0 at the least to 1 at the greatest finite value."""
    low, high = np.nanmin(time_N), np.nanmax(time_N)
    return (time_N - low) / (high - low) if high > low else np.where(np.isfinite(time_N), 0.0, np.nan)
