from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import adjusted_rand_score
from support.points import blobs

from rnafm_cli.atlas.graph import leiden, nearest, neighbour_graph


def modularity(graph: sparse.csr_matrix, label: np.ndarray, resolution: float = 1.0) -> float:
    total = graph.sum()
    strength = np.asarray(graph.sum(axis=1)).ravel()
    row, column = graph.nonzero()
    inside = graph.data[label[row] == label[column]].sum() / total
    return float(inside - resolution * ((np.bincount(label, strength) / total) ** 2).sum())


@pytest.fixture(scope="module")
def graph() -> sparse.csr_matrix:
    return neighbour_graph(nearest(blobs(groups=5, members=40, apart=9.0), 10))


def test_separate_groups_are_found(graph: sparse.csr_matrix) -> None:
    found = leiden(graph)
    truth = np.repeat(np.arange(5), 40)
    assert adjusted_rand_score(found, truth) > 0.95
    assert np.bincount(found).tolist() == sorted(np.bincount(found), reverse=True)


def test_equal_seeds_give_equal_communities(graph: sparse.csr_matrix) -> None:
    assert np.array_equal(leiden(graph, seed=3), leiden(graph, seed=3))
    assert adjusted_rand_score(leiden(graph, seed=3), leiden(graph, seed=4)) > 0.9


def test_resolution_sets_how_many(graph: sparse.csr_matrix) -> None:
    assert leiden(graph, resolution=0.01).max() <= leiden(graph).max() < leiden(graph, resolution=8).max()


def test_no_single_move_gains_and_communities_hold_together(graph: sparse.csr_matrix) -> None:
    found = leiden(graph, resolution=2.0)
    best = modularity(graph, found, 2.0)
    for node in range(0, graph.shape[0], 7):
        for other in np.unique(found[graph[node].indices]):
            moved = found.copy()
            moved[node] = other
            assert modularity(graph, moved, 2.0) <= best + 1e-9
    for number in range(found.max() + 1):
        inside = np.flatnonzero(found == number)
        assert connected_components(graph[inside][:, inside])[0] == 1


def test_it_is_as_good_as_networkx(graph: sparse.csr_matrix) -> None:
    networkx = pytest.importorskip("networkx")
    other = networkx.Graph(graph)
    groups = networkx.community.louvain_communities(other, seed=0)
    label = np.empty(graph.shape[0], dtype=int)
    for number, members in enumerate(groups):
        label[list(members)] = number
    assert modularity(graph, leiden(graph)) >= modularity(graph, label) - 0.005


def test_a_graph_without_edges_is_all_singles() -> None:
    assert leiden(sparse.csr_matrix((4, 4))).tolist() == [0, 1, 2, 3]
