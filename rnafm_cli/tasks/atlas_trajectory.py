"""A path through the map: pseudotime from a root, the groups it passes, where it ends, and what it goes with.

Shape suffixes: N points, C clusters.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.geometry.association import Association, associate
from rnafm_cli.geometry.leiden import leiden
from rnafm_cli.geometry.lineages import Lineages, connectivity, find_lineages
from rnafm_cli.geometry.pseudotime import diffusion_pseudotime, reachable, walk_pseudotime
from rnafm_cli.tasks.atlas_layout import Layout

__all__ = [
    "Measure",
    "Trajectory",
    "compare_times",
    "find_trajectory",
    "labels_with_times",
    "mean_times",
    "roots_named",
]

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
    raise UsageError(f"--root {root}: is no label and no id", hint=f"labels are {some}")


def find_trajectory(
    layout: Layout,
    root: str,
    root_points: np.ndarray,
    *,
    measure: Measure = "diffusion",
    seed: int = 0,
    warn: Callable[[str], None] = warnings.warn,
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
        warn(f"{lost:,} of {size:,} sequences have no path to the root and no pseudotime; more --neighbours may join")
    count = int(layout.cluster_N.max()) + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # clusters that are out of reach as a whole
        time_C = np.asarray([np.nanmean(time_N[layout.cluster_N == k]) for k in range(count)])
    lineages = find_lineages(connectivity(layout.graph, layout.cluster_N), time_C, root_cluster)
    return Trajectory(root, measure, time_N, root_points, root_cluster, lineages)


def _first_cluster(layout: Layout, root_points: np.ndarray) -> int:
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


def _resolution(layout: Layout) -> float:
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
