"""New points on an existing map: UMAP's transform (McInnes, Healy & Melville 2018) with the map held still.

A point starts at the mean of its neighbours' places, weighted as UMAP weights edges, and then moves by UMAP's own
gradients. The steps take their expected value instead of drawing edges, and all points meet the same drawn
repelling points, so a point's place depends on nothing else that is placed.
Shape suffixes: M new points, N points of the map, K neighbours, R repelling points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnafm_cli.geometry.neighbours import Neighbours

__all__ = ["Curve", "place"]

_EPOCHS = 100
_RATE = 0.25
_REPELLERS = 5
_CLIP = 4.0
_BLOCK = 1024


@dataclass(frozen=True)
class Curve:
    """UMAP's similarity on the map, 1 / (1 + a d^(2b))."""

    a: float
    b: float


def place(neighbours: Neighbours, map_N2: np.ndarray, curve: Curve | None = None, *, seed: int = 0) -> np.ndarray:
    """(M, 2) float32 places of new points.

    Args:
        neighbours: of the new points among the map's points, in the space the map was made from.
        curve: the map's; None leaves points at the mean of their neighbours, for maps that are no UMAP.
        seed: of the repelling points.
    """
    map_N2 = np.asarray(map_N2, dtype=np.float64)
    weight_MK = _edge_weights(neighbours.distance_NK.astype(np.float64))
    share_MK = weight_MK / weight_MK.sum(axis=1, keepdims=True)
    result_M2 = np.einsum("mk,mkc->mc", share_MK, map_N2[neighbours.index_NK])
    if curve is not None:
        for start in range(0, len(result_M2), _BLOCK):
            rows = slice(start, start + _BLOCK)
            result_M2[rows] = _settled(result_M2[rows], neighbours.index_NK[rows], weight_MK[rows], map_N2, curve, seed)
    same_M = neighbours.distance_NK[:, 0] == 0
    result_M2[same_M] = map_N2[neighbours.index_NK[same_M, 0]]
    return result_M2.astype(np.float32)


def _edge_weights(far_MK: np.ndarray) -> np.ndarray:
    """exp(-d / s) with s such that a row's weights sum to log2(K)."""
    count = far_MK.shape[1]
    target = np.log2(max(count, 2))
    low, high = np.zeros(len(far_MK)), np.full(len(far_MK), np.inf)
    width = np.ones(len(far_MK))
    for _ in range(64):
        above = np.exp(-far_MK / width[:, None]).sum(axis=1) > target
        high, low = np.where(above, width, high), np.where(above, low, width)
        width = np.where(np.isinf(high), 2 * width, (low + np.minimum(high, 1e300)) / 2)
    width = np.maximum(width, 1e-3 * np.maximum(far_MK.mean(axis=1), 1e-12))
    # In the exponent the nearest is taken off: a point far from everything keeps weights.
    return np.exp(-(far_MK - far_MK[:, :1]) / width[:, None])


def _settled(
    place_M2: np.ndarray, index_MK: np.ndarray, weight_MK: np.ndarray, map_N2: np.ndarray, curve: Curve, seed: int
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    place_M2 = place_M2.copy()
    pull_MK = weight_MK / weight_MK.max()
    pull_M = pull_MK.sum(axis=1, keepdims=True)
    target_MK2 = map_N2[index_MK]
    for epoch in range(_EPOCHS):
        rate = _RATE * (1 - epoch / _EPOCHS)
        away = place_M2[:, None] - target_MK2
        square = (away**2).sum(axis=2)
        power = np.where(square > 0, np.maximum(square, 1e-12) ** (curve.b - 1), 0.0)
        strength = -2 * curve.a * curve.b * power / (curve.a * power * square + 1)
        step_M2 = (pull_MK[:, :, None] * np.clip(strength[:, :, None] * away, -_CLIP, _CLIP)).sum(axis=1)
        repeller_R2 = map_N2[rng.integers(0, len(map_N2), size=_REPELLERS * index_MK.shape[1])]
        away = place_M2[:, None] - repeller_R2
        square = (away**2).sum(axis=2)
        strength = 2 * curve.b / ((0.001 + square) * (curve.a * square**curve.b + 1))
        push_M2 = np.clip(strength[:, :, None] * away, -_CLIP, _CLIP).mean(axis=1)
        place_M2 += rate * (step_M2 + _REPELLERS * pull_M * push_M2)
    return place_M2
