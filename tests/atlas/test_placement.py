from __future__ import annotations

import numpy as np
import pytest
from support.points import blobs

from rnafm_cli.atlas.graph import nearest
from rnafm_cli.atlas.placement import place

CURVE = (1.577, 0.895)
"""UMAP's for min_dist 0.1."""


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return blobs(groups=4, members=40)


@pytest.fixture(scope="module")
def plane() -> np.ndarray:
    """A made-up map with a group in each corner."""
    rng = np.random.default_rng(0)
    corner = np.asarray([(0, 0), (10, 0), (0, 10), (10, 10)], dtype=np.float32)
    return np.repeat(corner, 40, axis=0) + rng.normal(size=(160, 2)).astype(np.float32)


@pytest.mark.parametrize("curve", [CURVE, None])
def test_new_points_join_their_group(points: np.ndarray, plane: np.ndarray, curve: tuple[float, float] | None) -> None:
    fresh = points + np.random.default_rng(1).normal(size=points.shape).astype(np.float32) * 0.3
    found = place(nearest(fresh, 10, among_MD=points), plane, curve)
    corner = plane.reshape(4, 40, 2).mean(axis=1)
    far = np.linalg.norm(found[:, None] - corner, axis=2)
    assert np.array_equal(far.argmin(axis=1), np.repeat(np.arange(4), 40))
    assert np.median(far.min(axis=1)) < 2


def test_a_point_of_the_map_stays_there(points: np.ndarray, plane: np.ndarray) -> None:
    found = place(nearest(points, 10, among_MD=points), plane, CURVE)
    assert found == pytest.approx(plane)


def test_a_place_does_not_depend_on_the_others(points: np.ndarray, plane: np.ndarray) -> None:
    fresh = points[::7] + 0.2
    together = place(nearest(fresh, 10, among_MD=points), plane, CURVE)
    alone = np.concatenate([place(nearest(row[None], 10, among_MD=points), plane, CURVE) for row in fresh])
    assert together == pytest.approx(alone, abs=1e-4)


@pytest.mark.slow
def test_places_are_those_of_umap(points: np.ndarray) -> None:
    umap = pytest.importorskip("umap")
    model = umap.UMAP(n_neighbors=10, random_state=0, n_jobs=1, init="pca")
    plane = model.fit_transform(points)
    fresh = points[::4] + np.random.default_rng(2).normal(size=points[::4].shape).astype(np.float32) * 0.3
    theirs = model.transform(fresh)
    ours = place(nearest(fresh, 10, among_MD=points), plane, (float(model._a), float(model._b)))
    across = np.linalg.norm(np.ptp(plane, axis=0))
    assert np.median(np.linalg.norm(ours - theirs, axis=1)) < 0.05 * across
