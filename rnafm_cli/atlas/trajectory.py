"""A path through the map: pseudotime from a root, the clusters it passes, where it ends, and what it goes with.

Shape suffixes: N points, C clusters, T terminal clusters, K diffusion components, R root points.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.sparse.linalg import eigsh
from scipy.stats import permutation_test, rankdata

from rnafm_cli.atlas.graph import sums_between
from rnafm_cli.atlas.layout import AtlasLayout
from rnafm_cli.errors import InputError, RnafmWarning, UsageError

_WEAK = 0.1
"""Share of a cluster's strongest connection below which another cluster is no neighbour of it."""
_BACKWARD = 0.01
"""Weight of steps back in time beside steps forward."""
_DENSE = 400
"""Nodes up to which all eigenvectors are computed."""
_COMPONENTS = 15
_LEAST_HELD = 0.05
"""Share of the root's points that a cluster must hold to be the first."""
_SAME_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Order along the neighbour graph, and the tree of clusters that leads from the root to its ends."""

    root: str
    time_N: np.ndarray
    """0 to 1; NaN for points that no path joins to the root."""
    root_points: np.ndarray
    """Numbers of the points where time starts."""
    root_cluster: int
    connectivity_CC: np.ndarray
    """0 to 1: edges between two clusters, as a share of what chance gives to clusters of their sizes."""
    time_C: np.ndarray
    """Mean pseudotime; NaN out of reach."""
    parent_C: np.ndarray
    """The cluster before it on the way from the root; -1 for the root's and for clusters out of reach."""
    terminal_T: np.ndarray
    """Clusters where paths end, by time: each later than every cluster it is well connected to."""
    fate_CT: np.ndarray
    """Probability that a walk forward in time from a cluster ends in each terminal cluster."""


def roots_named(root: str, ids: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Numbers of the points that a root names: all of a label, or the one with that id.

    Raises:
        UsageError: when it is neither.
    """
    for names in (labels, ids):
        if len(found := np.flatnonzero(np.asarray(names) == root)):
            return found
    known = sorted(set(labels) - {""})
    some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    raise UsageError(f"--root {root}: is neither a label nor an id", hint=f"labels are {some}")


def find_trajectory(layout: AtlasLayout, root: str, root_points: np.ndarray) -> Trajectory:
    """Pseudotime of every point and the tree of clusters from a root.

    Args:
        root_points: numbers of the points that the root names. Time starts at those of them in the cluster where
            they are the largest share; of several such clusters, in the one least joined to other points.

    Raises:
        InputError: when too few points are joined to the root.
    """
    graph, cluster_N = layout.graph, layout.cluster_N
    _, part_N = connected_components(graph, directed=False)
    reached = int(np.isin(part_N, part_N[root_points]).sum())
    if reached < 5:
        raise InputError(
            f"{reached} sequences can be reached from the root {root}: too few for a path",
            hint="give more sequences, or more --neighbours",
        )
    root_cluster = _first_cluster(layout, root_points)
    root_points = root_points[cluster_N[root_points] == root_cluster]
    time_N = diffusion_pseudotime(graph, root_points)
    lost = int((~np.isfinite(time_N)).sum())
    if lost:
        words = f"{lost:,} of {len(time_N):,} sequences have no path to the root and no pseudotime"
        warnings.warn(f"{words}; more --neighbours may join", RnafmWarning, stacklevel=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # clusters that are out of reach as a whole
        time_C = np.asarray([np.nanmean(time_N[cluster_N == k]) for k in range(layout.clusters)])
    connectivity_CC = connectivity(graph, cluster_N)
    parent_C, ends = _parents(connectivity_CC, root_cluster), []
    for cluster in np.flatnonzero(parent_C >= 0):
        near = connectivity_CC[cluster] >= _WEAK * connectivity_CC[cluster].max()
        if (time_C[near & np.isfinite(time_C)] < time_C[cluster]).all():
            ends.append(cluster)
    terminal_T = np.asarray(sorted(ends, key=lambda cluster: time_C[cluster]), dtype=np.int64)
    fate_CT = _fates(connectivity_CC, time_C, terminal_T)
    return Trajectory(root, time_N, root_points, root_cluster, connectivity_CC, time_C, parent_C, terminal_T, fate_CT)


def _first_cluster(layout: AtlasLayout, root_points: np.ndarray) -> int:
    """The cluster that belongs to the root more than any other."""
    is_root_N = np.isin(np.arange(len(layout.cluster_N)), root_points)
    weight_N = np.asarray(layout.graph.sum(axis=1)).ravel()
    outward_N = layout.graph @ (~is_root_N).astype(np.float64)
    size_C, held_C, weight_C, outward_C = (
        np.bincount(layout.cluster_N, value_N) for value_N in (None, is_root_N, weight_N, outward_N)
    )
    share_C = np.where(held_C < _LEAST_HELD * len(root_points), 0.0, held_C / size_C)
    best = np.flatnonzero(share_C >= share_C.max() - _SAME_SHARE)
    return int(best[(outward_C / weight_C)[best].argmin()])


def connectivity(graph: sparse.csr_matrix, group_N: np.ndarray) -> np.ndarray:
    """(C, C) how much more than by chance two groups are joined (the measure of PAGA, Wolf et al. 2019), at most 1."""
    found_CC = sums_between((graph > 0).astype(np.float64), group_N).toarray()
    ends_C, sizes_C = found_CC.sum(axis=1), np.bincount(group_N)
    chance_CC = (np.outer(ends_C, sizes_C) + np.outer(sizes_C, ends_C)) / max(1, len(group_N) - 1)
    result = np.where(chance_CC > 0, 2 * found_CC / np.maximum(chance_CC, 1e-12), 0.0)
    np.fill_diagonal(result, 0.0)
    return np.minimum(result, 1.0)


def _parents(connectivity_CC: np.ndarray, root: int) -> np.ndarray:
    """Parents (C,) in the spanning tree of the strongest connections; -1 for the root and what it does not reach."""
    length_CC = np.divide(1, connectivity_CC, out=np.zeros_like(connectivity_CC), where=connectivity_CC > 0)
    tree = minimum_spanning_tree(sparse.csr_matrix(length_CC))
    _, before_C = breadth_first_order(tree, root, directed=False)
    return np.maximum(before_C, -1).astype(np.int64)


def _fates(connectivity_CC: np.ndarray, time_C: np.ndarray, terminal_T: np.ndarray) -> np.ndarray:
    size = len(time_C)
    fate_CT = np.zeros((size, len(terminal_T)))
    fate_CT[terminal_T, np.arange(len(terminal_T))] = 1.0
    known = np.isfinite(time_C)
    free = np.flatnonzero(known & ~np.isin(np.arange(size), terminal_T) & (connectivity_CC.sum(axis=1) > 0))
    if not len(terminal_T) or not len(free):
        return fate_CT
    time_C = np.where(known, time_C, 0.0)
    forward_CC = connectivity_CC * np.where(time_C[None, :] > time_C[:, None], 1.0, _BACKWARD) * known[None, :]
    step_CC = forward_CC / np.maximum(forward_CC.sum(axis=1, keepdims=True), 1e-300)
    inner = np.eye(len(free)) - step_CC[np.ix_(free, free)]
    ends = step_CC[np.ix_(free, terminal_T)]
    # Least squares: a cluster from which no terminal one can be reached leaves the system singular.
    fate_CT[free] = np.clip(np.linalg.lstsq(inner, ends, rcond=None)[0], 0.0, 1.0)
    return fate_CT


def diffusion_pseudotime(graph: sparse.csr_matrix, roots_R: np.ndarray) -> np.ndarray:
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
    inside = np.flatnonzero(part_N == np.bincount(part_N[roots_R]).argmax())
    if len(inside) < 3:
        time_N[inside] = 0.0
        return time_N
    value_K, vector_NK = _diffusion_components(graph[inside][:, inside].tocsr())
    place_NK = vector_NK * (value_K / np.maximum(1 - value_K, 1e-9))
    away_N = np.linalg.norm(place_NK - place_NK[np.isin(inside, roots_R)].mean(axis=0), axis=1)
    away_N -= away_N.min()
    time_N[inside] = away_N / (away_N.max() or 1.0)
    return time_N


def _diffusion_components(graph: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (K,), largest first without the trivial 1, and right eigenvectors (N, K) of the walk."""
    size = graph.shape[0]
    density = np.asarray(graph.sum(axis=1)).ravel()
    even = sparse.diags(1 / density) @ graph @ sparse.diags(1 / density)
    degree = np.asarray(even.sum(axis=1)).ravel()
    root = sparse.diags(1 / np.sqrt(degree))
    walk = (root @ even @ root).tocsr()
    wanted = min(_COMPONENTS + 1, size - 1)
    if size <= _DENSE:
        value, vector = np.linalg.eigh(walk.toarray())
        value, vector = value[-wanted:], vector[:, -wanted:]
    else:
        start = np.random.default_rng(0).normal(size=size)
        breadth = min(size - 1, max(60, 3 * wanted))
        value, vector = eigsh(walk, k=wanted, which="LA", v0=start, ncv=breadth, tol=1e-7, maxiter=5000)
    order = np.argsort(-value)[1:]
    return value[order], vector[:, order] / np.sqrt(degree)[:, None]


def mean_times(time_N: np.ndarray, labels: Sequence[str]) -> dict[str, tuple[float, int]]:
    """Mean pseudotime and number of points of each label, in order of the mean."""
    label_N = np.asarray(labels)
    known = np.isfinite(time_N) & (label_N != "")
    times_of = {str(name): time_N[known & (label_N == name)] for name in np.unique(label_N[known])}
    found = {name: (float(times.mean()), len(times)) for name, times in times_of.items()}
    return dict(sorted(found.items(), key=lambda item: item[1][0]))


def labels_with_times(labels: Iterable[str], times: Mapping[str, float]) -> list[str]:
    """The distinct labels that have a time, in their order.

    Raises:
        InputError: when they are fewer than three.
    """
    both = [name for name in dict.fromkeys(labels) if name in times]
    if len(both) < 3:
        raise InputError(f"{len(both)} labels have a time: too few to compare", hint="3 are needed at least")
    return both


@dataclass(frozen=True)
class Association:
    """A rank correlation and how often chance does as well."""

    spearman: float
    p_value: float
    """Two-sided, by permutation."""
    values: int
    permutations: int


def associate(first_N: np.ndarray, second_N: np.ndarray, *, resamples: int = 100_000, seed: int = 0) -> Association:
    """Spearman's correlation (NaN for a constant list) with a two-sided permutation p value.

    Every order is tried where there are no more of them than ``resamples``, else random ones.
    """
    size = len(first_N)
    if not (np.ptp(first_N) and np.ptp(second_N)):
        return Association(float("nan"), float("nan"), size, 0)
    a, b = _unit_ranks(first_N), _unit_ranks(second_N)
    found = permutation_test(
        (a,),
        lambda orders, axis: np.abs(orders @ b),
        permutation_type="pairings",
        alternative="greater",
        vectorized=True,
        batch=10_000,
        n_resamples=resamples,
        rng=seed,
    )
    return Association(float(a @ b), float(found.pvalue), size, len(found.null_distribution))


def _unit_ranks(value_N: np.ndarray) -> np.ndarray:
    """Ranks around their mean (ties at their mean rank), of length 1."""
    rank_N = rankdata(value_N) - (len(value_N) + 1) / 2
    return rank_N / np.linalg.norm(rank_N)
