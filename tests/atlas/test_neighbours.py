from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from rnafm_cli.atlas import graph as module
from rnafm_cli.atlas.graph import nearest, neighbour_graph


@pytest.mark.parametrize("rows", [4096, 50])
def test_neighbours_are_the_nearest_points(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(module, "_ROWS", rows)
    points = np.random.default_rng(0).normal(size=(120, 5)).astype(np.float32)
    far = cdist(points, points)
    np.fill_diagonal(far, np.inf)
    done: list[int] = []
    found = nearest(points, 7, report=done.append)
    assert np.array_equal(found.index_NK, np.argsort(far, axis=1)[:, :7])
    assert found.distance_NK == pytest.approx(np.sort(far, axis=1)[:, :7], abs=1e-5)
    assert sum(done) == 120


def test_neighbours_among_others_may_be_the_same_place() -> None:
    points = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    found = nearest(points[:5], 2, among_MD=points)
    assert found.index_NK[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert not found.distance_NK[:, 0].any()


def test_there_are_never_more_neighbours_than_points() -> None:
    points = np.zeros((3, 2), dtype=np.float32)
    assert nearest(points, 10).index_NK.shape == (3, 2)
    assert nearest(points[:1], 10).index_NK.shape == (1, 0)


def test_near_copies_keep_their_order() -> None:
    # In float32, |a|^2 + |b|^2 - 2ab loses such small differences altogether.
    base = np.full((1, 4), 100.0, dtype=np.float32)
    points = np.concatenate([base, base + 0.03, base + 0.01, base + 0.02]).astype(np.float32)
    assert nearest(points, 3).index_NK[0].tolist() == [2, 3, 1]


def test_the_graph_is_symmetric_with_weights_up_to_one() -> None:
    points = np.random.default_rng(2).normal(size=(60, 4)).astype(np.float32)
    points[1] = points[0]
    graph = neighbour_graph(nearest(points, 5))
    assert abs(graph - graph.T).max() == 0
    assert 0 < graph.data.min() and graph.data.max() <= 1
    assert graph[0, 1] == 1
    assert not graph.diagonal().any()
    assert np.diff(graph.indptr).min() >= 5
