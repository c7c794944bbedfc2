"""A path through the map: pseudotime from a root, the groups it passes, where it ends, and what it goes with.

Two measures: distance in diffusion space, and hitting times of a lazy random walk that teleports.

Shape suffixes: N points, C clusters, T terminal groups, K diffusion components, R root points.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.sparse.linalg import eigsh
from scipy.stats import permutation_test, rankdata

from rnafm_cli.atlas.graph import leiden, sums_between
from rnafm_cli.atlas.layout import AtlasLayout
from rnafm_cli.errors import InputError, RnafmWarning, UsageError


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


_WEAK = 0.1
"""Share of a group's strongest connection below which another group is no neighbour of it."""
_BACKWARD = 0.01
"""Weight of steps back in time beside steps forward."""


@dataclass(frozen=True, eq=False)
class Lineages:
    """The tree of groups that leads from the root, and its ends."""

    connectivity_CC: np.ndarray
    """0 to 1: edges between two groups, as a share of what chance gives to groups of their sizes."""
    time_C: np.ndarray
    """Mean pseudotime; NaN out of reach."""
    parent_C: np.ndarray
    """The group before it on the way from the root; -1 for the root and for groups out of reach."""
    terminal_T: np.ndarray
    """Groups where paths end, by time."""
    fate_CT: np.ndarray
    """Probability that a walk forward in time from a group ends in each terminal group."""


def connectivity(graph: sparse.csr_matrix, group_N: np.ndarray) -> np.ndarray:
    """(C, C) how much more than by chance two groups are joined (the measure of PAGA, Wolf et al. 2019), at most 1."""
    count = int(group_N.max()) + 1
    edges = graph.copy()
    edges.data = np.ones_like(edges.data)
    found_CC = sums_between(edges, group_N).toarray()
    ends_C = found_CC.sum(axis=1)
    sizes_C = np.bincount(group_N, minlength=count)
    chance_CC = (np.outer(ends_C, sizes_C) + np.outer(sizes_C, ends_C)) / max(1, len(group_N) - 1)
    result = np.where(chance_CC > 0, 2 * found_CC / np.maximum(chance_CC, 1e-12), 0.0)
    np.fill_diagonal(result, 0.0)
    return np.minimum(result, 1.0)


def find_lineages(connectivity_CC: np.ndarray, time_C: np.ndarray, root: int) -> Lineages:
    """The tree of strongest connections from the root group, its terminal groups, and fates.

    A terminal group is later than every group it is well connected to.
    """
    parent_C = _parents(connectivity_CC, root)
    strongest_C = connectivity_CC.max(axis=1)
    terminal = []
    for group in range(len(time_C)):
        if group == root or parent_C[group] < 0:
            continue
        near = connectivity_CC[group] >= _WEAK * strongest_C[group]
        if (time_C[near & np.isfinite(time_C)] < time_C[group]).all():
            terminal.append(group)
    terminal_T = np.asarray(sorted(terminal, key=lambda group: time_C[group]), dtype=np.int64)
    return Lineages(connectivity_CC, time_C, parent_C, terminal_T, _fates(connectivity_CC, time_C, terminal_T))


def _parents(connectivity_CC: np.ndarray, root: int) -> np.ndarray:
    """Parents (C,) in the spanning tree of the strongest connections."""
    joined = connectivity_CC > 0
    length = np.zeros_like(connectivity_CC)
    length[joined] = 1 / connectivity_CC[joined]
    tree = minimum_spanning_tree(sparse.csr_matrix(length))
    tree = (tree + tree.T).tocsr()
    _, before = breadth_first_order(tree, root, directed=False)
    return np.where(before >= 0, before, -1).astype(np.int64)


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
    # Least squares: a group from which no terminal group can be reached leaves the system singular.
    fate_CT[free] = np.clip(np.linalg.lstsq(inner, ends, rcond=None)[0], 0.0, 1.0)
    return fate_CT


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
    flow_CC = sums_between(graph, group_N).toarray()
    np.fill_diagonal(flow_CC, 0.0)
    sizes_C = np.bincount(group_N)
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


Measure = Literal["diffusion", "walk"]

_FINER = 4.0
"""The walk's groups have this many times the resolution of the clusters."""
_LEAST_HELD = 0.05
"""Share of the root's points that a cluster must hold to be the first."""
_SAME_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Order along the neighbour graph, and the tree of clusters."""

    root: str
    measure: Measure
    time_N: np.ndarray
    """0 to 1; NaN for points that no path joins to the root."""
    root_points: np.ndarray
    """Numbers of the points where time starts."""
    root_cluster: int
    lineages: Lineages


def roots_named(root: str, ids: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Numbers of the points that a root names: all of a label, or the one with that id.

    Raises:
        UsageError: when it is neither.
    """
    with_label = np.flatnonzero(np.asarray(labels) == root)
    if len(with_label):
        return with_label
    with_id = [k for k, identifier in enumerate(ids) if identifier == root]
    if with_id:
        return np.asarray(with_id)
    names = sorted(set(labels) - {""})
    some = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    raise UsageError(f"--root {root}: is neither a label nor an id", hint=f"labels are {some}")


def find_trajectory(
    layout: AtlasLayout,
    root: str,
    root_points: np.ndarray,
    *,
    measure: Measure = "diffusion",
    seed: int = 0,
) -> Trajectory:
    """Pseudotime of every point and the tree of clusters from a root.

    Args:
        root_points: numbers of the points that the root names. Time starts at those of them in the cluster where
            they are the largest share; of several such clusters, in the one least joined to other points.
        measure: ``diffusion`` (distance in diffusion space) or ``walk`` (hitting times of a lazy random walk that
            teleports).

    Raises:
        InputError: when there are fewer than five points, or too few of them are joined to the root.
    """
    size = len(layout.place_N2)
    within_N = reachable(layout.graph, root_points)
    if size < 5 or within_N.sum() < 5:
        raise InputError(
            f"{int(within_N.sum())} sequences can be reached from the root {root}: too few for a path",
            hint="give more sequences, or more --neighbours",
        )
    root_cluster = _first_cluster(layout, root_points)
    root_points = root_points[layout.cluster_N[root_points] == root_cluster]
    if measure == "walk":
        finer = leiden(layout.graph, resolution=_FINER * _resolution(layout), seed=seed)
        time_N = walk_pseudotime(layout.graph, finer, int(np.bincount(finer[root_points]).argmax()))
    else:
        time_N = diffusion_pseudotime(layout.graph, root_points)
    lost = int((~np.isfinite(time_N)).sum())
    if lost:
        words = f"{lost:,} of {size:,} sequences have no path to the root and no pseudotime"
        warnings.warn(f"{words}; more --neighbours may join", RnafmWarning, stacklevel=2)
    count = int(layout.cluster_N.max()) + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # clusters that are out of reach as a whole
        time_C = np.asarray([np.nanmean(time_N[layout.cluster_N == k]) for k in range(count)])
    lineages = find_lineages(connectivity(layout.graph, layout.cluster_N), time_C, root_cluster)
    return Trajectory(root, measure, time_N, root_points, root_cluster, lineages)


def _first_cluster(layout: AtlasLayout, root_points: np.ndarray) -> int:
    """The cluster that belongs to the root more than any other."""
    count = int(layout.cluster_N.max()) + 1
    inside_N = np.zeros(len(layout.cluster_N), dtype=bool)
    inside_N[root_points] = True
    held_C = np.bincount(layout.cluster_N, inside_N, minlength=count)
    share_C = held_C / np.bincount(layout.cluster_N, minlength=count)
    share_C[held_C < _LEAST_HELD * len(root_points)] = 0.0
    weight_N = np.asarray(layout.graph.sum(axis=1)).ravel()
    outward_N = np.asarray(layout.graph @ (~inside_N).astype(np.float64)).ravel()
    outward_C = np.bincount(layout.cluster_N, outward_N, minlength=count) / np.bincount(
        layout.cluster_N, weight_N, minlength=count
    )
    best = np.flatnonzero(share_C >= share_C.max() - _SAME_SHARE)
    return int(best[outward_C[best].argmin()])


def _resolution(layout: AtlasLayout) -> float:
    """What makes about as many clusters as the layout has, at least the usual 1."""
    return max(1.0, float(layout.cluster_N.max() + 1) / 20)


def mean_times(time_N: np.ndarray, labels: Sequence[str]) -> dict[str, tuple[float, int]]:
    """Mean pseudotime and number of points of each label, in order of the mean."""
    label_N = np.asarray(labels)
    known = np.isfinite(time_N) & (label_N != "")
    found = {
        str(name): (float(time_N[known & (label_N == name)].mean()), int((known & (label_N == name)).sum()))
        for name in np.unique(label_N[known])
    }
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


def compare_times(means: Mapping[str, tuple[float, int]], times: Mapping[str, float], *, seed: int = 0) -> Association:
    """Rank correlation of the labels' mean pseudotime with given times, over the labels that have both.

    Raises:
        InputError: when fewer than three labels have both.
    """
    both = labels_with_times(means, times)
    first = np.asarray([means[name][0] for name in both])
    return associate(first, np.asarray([times[name] for name in both]), seed=seed)
