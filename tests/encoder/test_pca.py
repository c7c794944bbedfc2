from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from rnafm_cli.encoder import vectors as module
from rnafm_cli.encoder.vectors import fit_pca


@pytest.fixture
def points() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(200, 12)) * np.linspace(5, 0.5, 12) + 3).astype(np.float32)


def test_axes_are_those_of_the_singular_values(points: np.ndarray) -> None:
    pca = fit_pca(points, 4)
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    _, value, axes = np.linalg.svd(centred, full_matrices=False)
    assert np.abs((pca.axes_KD * axes[:4]).sum(axis=1)) == pytest.approx(1)
    assert pca.share_K == pytest.approx((value**2 / (value**2).sum())[:4])
    shown = pca.project(points)
    assert shown.mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert (np.linalg.norm(shown, axis=1) <= np.linalg.norm(centred, axis=1) + 1e-4).all()


def test_whitened_axes_have_equal_variance_and_points_unit_length(points: np.ndarray) -> None:
    plain, white = fit_pca(points, 6), fit_pca(points, 6, whiten=True)
    raw = (points - white.mean_D) @ white.axes_KD.T
    assert np.cov(raw.T) == pytest.approx(np.eye(6), abs=1e-4)
    assert white.share_K == pytest.approx(plain.share_K)
    assert white.project(points) == pytest.approx(raw / np.linalg.norm(raw, axis=1, keepdims=True), abs=1e-5)


def test_whitening_leaves_out_directions_without_variance(points: np.ndarray) -> None:
    flat = np.concatenate([points, points[:, :3]], axis=1)
    assert fit_pca(flat, 15, whiten=True).axes_KD.shape == (12, 15)
    assert not fit_pca(np.ones((5, 3), dtype=np.float32), 10, whiten=True).project(np.ones((5, 3))).any()


def test_sparse_and_dense_points_have_the_same_axes(points: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    points[points < 4] = 0
    dense = fit_pca(points, 3)
    monkeypatch.setattr(module, "_DENSE_WIDTH", 1)
    thin = fit_pca(sparse.csr_matrix(points), 3)
    assert thin.axes_KD == pytest.approx(dense.axes_KD, abs=1e-4)
    assert thin.share_K == pytest.approx(dense.share_K, rel=1e-4)
    assert thin.project(sparse.csr_matrix(points)) == pytest.approx(dense.project(points), abs=1e-3)


def test_equal_points_have_no_variance() -> None:
    pca = fit_pca(np.ones((5, 3), dtype=np.float32), 10)
    assert pca.axes_KD.shape == (3, 3)
    assert not pca.share_K.any()
    assert not pca.project(np.ones((5, 3))).any()
