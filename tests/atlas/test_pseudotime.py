"""Order and branches of points that grow along a known tree."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from support.points import Branching, branching

from rnafm_cli.atlas.graph import leiden, nearest, neighbour_graph
from rnafm_cli.atlas.trajectory import (
    connectivity,
    diffusion_pseudotime,
    find_lineages,
    hitting_times,
    reachable,
    smoothed,
    walk_pseudotime,
)


@pytest.fixture(scope="module", params=[(0, 300), (1, 300), (0, 1200)], ids=str)
def tree(request: pytest.FixtureRequest) -> Branching:
    return branching(*request.param)


@pytest.mark.parametrize("measure", ["diffusion", "walk"])
def test_known_order_and_branches_are_found(tree: Branching, measure: str) -> None:
    graph = neighbour_graph(nearest(tree.points, 15))
    root = np.asarray([tree.time.argmin()])
    if measure == "walk":
        fine = leiden(graph, resolution=4.0)
        time = walk_pseudotime(graph, fine, int(fine[root[0]]))
    else:
        time = diffusion_pseudotime(graph, root)
    assert spearmanr(time, tree.time).statistic >= 0.9
    assert time.min() == 0 and time.max() == 1
    cluster = leiden(graph)
    mean = np.asarray([time[cluster == k].mean() for k in range(cluster.max() + 1)])
    found = find_lineages(connectivity(graph, cluster), mean, int(cluster[root[0]]))
    ends = [np.bincount(tree.branch[cluster == k]).argmax() for k in found.terminal_T]
    assert sorted(ends) == [1, 2, 3]
    for end, branch in zip(found.terminal_T, ends, strict=True):
        path = [int(end)]
        while found.parent_C[path[0]] >= 0:
            path.insert(0, int(found.parent_C[path[0]]))
        assert path[0] == cluster[root[0]] and path[-1] == end
        for k in path:
            share = np.bincount(tree.branch[cluster == k], minlength=4) / (cluster == k).sum()
            # The cluster at the fork holds the beginnings of all branches.
            assert share.max() < 0.8 or share.argmax() in (0, branch)
    assert found.fate_CT.sum(axis=1) == pytest.approx(1, abs=1e-6)
    for k in range(cluster.max() + 1):
        share = np.bincount(tree.branch[cluster == k], minlength=4) / (cluster == k).sum()
        if share[1:].max() > 0.95 and mean[k] > np.quantile(mean, 0.6):
            assert ends[int(found.fate_CT[k].argmax())] == share.argmax()


def test_points_out_of_reach_have_no_time() -> None:
    tree = branching(count=200)
    points = np.concatenate([tree.points, tree.points[:50] + 1000])
    graph = neighbour_graph(nearest(points, 10))
    root = np.asarray([tree.time.argmin()])
    within = reachable(graph, root)
    assert within[:200].all() and not within[200:].any()
    for time in (diffusion_pseudotime(graph, root), walk_pseudotime(graph, leiden(graph), int(leiden(graph)[root[0]]))):
        assert np.isfinite(time[:200]).all() and np.isnan(time[200:]).all()


def test_many_eigenvectors_or_few_tell_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from rnafm_cli.atlas import trajectory as module

    tree = branching(count=350)
    graph = neighbour_graph(nearest(tree.points, 15))
    root = np.asarray([tree.time.argmin()])
    whole = diffusion_pseudotime(graph, root)
    monkeypatch.setattr(module, "_DENSE", 10)
    assert diffusion_pseudotime(graph, root) == pytest.approx(whole, abs=1e-4)


def test_hitting_times_of_a_line_grow_with_the_square() -> None:
    line = np.diag(np.ones(5), 1)
    times = hitting_times(line + line.T, 0, laziness=0.0, teleport=0.0)
    assert times == pytest.approx(np.arange(6) ** 2)
    lazy = hitting_times(line + line.T, 0, laziness=0.5, teleport=0.0)
    assert lazy == pytest.approx(2 * np.arange(6) ** 2)
    assert hitting_times(line + line.T, 0, teleport=0.1)[-1] < lazy[-1]
    assert np.isnan(hitting_times(np.zeros((2, 2)), 0)[1])


def test_smoothing_leaves_out_what_is_unknown() -> None:
    graph = neighbour_graph(nearest(np.arange(6, dtype=np.float32)[:, None], 2))
    value = np.asarray([0, 1, np.nan, 1, 0, 1.0])
    found = smoothed(graph, value, steps=50)
    assert np.isnan(found[2]) and np.ptp(found[~np.isnan(found)]) < 1
