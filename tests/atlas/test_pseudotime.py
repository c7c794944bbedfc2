"""Order and branches of points that grow along a known tree."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from support.points import Branching, branching

from rnafm_cli.atlas.graph import nearest, neighbour_graph
from rnafm_cli.atlas.layout import lay_out
from rnafm_cli.atlas.trajectory import diffusion_pseudotime, find_trajectory


@pytest.fixture(scope="module", params=[(0, 300), (1, 300), (0, 1200)], ids=str)
def tree(request: pytest.FixtureRequest) -> Branching:
    return branching(*request.param)


def test_known_order_and_branches_are_found(tree: Branching) -> None:
    layout = lay_out(tree.points, method="pca")
    found = find_trajectory(layout, "root", np.asarray([tree.time.argmin()]))
    time, cluster = found.time_N, layout.cluster_N
    assert spearmanr(time, tree.time).statistic >= 0.9
    assert time.min() == 0 and time.max() == 1
    ends = [np.bincount(tree.branch[cluster == k]).argmax() for k in found.terminal_T]
    assert sorted(ends) == [1, 2, 3]
    for end, branch in zip(found.terminal_T, ends, strict=True):
        path = [int(end)]
        while found.parent_C[path[0]] >= 0:
            path.insert(0, int(found.parent_C[path[0]]))
        assert path[0] == found.root_cluster and path[-1] == end
        for k in path:
            share = np.bincount(tree.branch[cluster == k], minlength=4) / (cluster == k).sum()
            # The cluster at the fork holds the beginnings of all branches.
            assert share.max() < 0.8 or share.argmax() in (0, branch)
    assert found.fate_CT.sum(axis=1) == pytest.approx(1, abs=1e-6)
    for k in range(cluster.max() + 1):
        share = np.bincount(tree.branch[cluster == k], minlength=4) / (cluster == k).sum()
        if share[1:].max() > 0.95 and found.time_C[k] > np.quantile(found.time_C, 0.6):
            assert ends[int(found.fate_CT[k].argmax())] == share.argmax()


def test_points_out_of_reach_have_no_time() -> None:
    tree = branching(count=200)
    points = np.concatenate([tree.points, tree.points[:50] + 1000])
    graph = neighbour_graph(nearest(points, 10))
    root = np.asarray([tree.time.argmin()])
    time = diffusion_pseudotime(graph, root)
    assert np.isfinite(time[:200]).all() and np.isnan(time[200:]).all()


def test_many_eigenvectors_or_few_tell_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from rnafm_cli.atlas import trajectory as module

    tree = branching(count=350)
    graph = neighbour_graph(nearest(tree.points, 15))
    root = np.asarray([tree.time.argmin()])
    whole = diffusion_pseudotime(graph, root)
    monkeypatch.setattr(module, "_DENSE", 10)
    assert diffusion_pseudotime(graph, root) == pytest.approx(whole, abs=1e-4)
