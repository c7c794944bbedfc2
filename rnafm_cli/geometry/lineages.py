"""Groups of points as stations of a path: which are joined, where paths end, and where a point is bound.

Shape suffixes: N points, C groups, T terminal groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

__all__ = ["Lineages", "connectivity", "find_lineages"]

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

    def path_to(self, group: int) -> list[int]:
        """The groups from the root to this one."""
        path = [group]
        while self.parent_C[path[-1]] >= 0:
            path.append(int(self.parent_C[path[-1]]))
        return path[::-1]


def connectivity(graph: sparse.csr_matrix, group_N: np.ndarray) -> np.ndarray:
    """(C, C) how much more than by chance two groups are joined (the measure of PAGA, Wolf et al. 2019), at most 1."""
    count = int(group_N.max()) + 1
    edges = graph.copy()
    edges.data = np.ones_like(edges.data)
    member = sparse.csr_matrix((np.ones(len(group_N)), (np.arange(len(group_N)), group_N)), shape=(len(group_N), count))
    found_CC = np.asarray((member.T @ edges @ member).todense())
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
