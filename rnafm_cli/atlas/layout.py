"""The plane: principal axes, neighbours, clusters, and a place for every point, on a new map or on one held still.

A point starts at the mean of its neighbours' places, weighted as UMAP weights edges, and then moves by UMAP's own
gradients. The steps take their expected value instead of drawing edges, and all points meet the same drawn
repelling points, so a point's place depends on nothing else that is placed.

Shape suffixes: M new points, N points of the map, K neighbours, R repelling points, D width.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from rnafm_cli.atlas.graph import Neighbours, leiden, nearest, neighbour_graph
from rnafm_cli.encoder.vectors import PCA, Points, fit_pca
from rnafm_cli.errors import InputError, RnafmError

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


Method = Literal["umap", "pca", "tsne"]
Tell = Callable[[str], None]

FEWEST = 3
FEWEST_FOR_UMAP = 8
"""Below this number of points a map of neighbours says nothing that the principal axes do not."""
POINTS_PER_WHITE_AXIS = 10
"""Whitened along more axes than this allows, all points come to be equally far from each other."""


@dataclass(frozen=True, kw_only=True)
class LayoutOptions:
    """How a map is drawn up."""

    method: Method = "umap"
    components: int = 50
    """Principal axes kept before neighbours are sought."""
    whiten: bool = False
    """Bring these axes to equal variance, and points to unit length; at most one axis for ten points is kept then."""
    neighbours: int = 15
    min_dist: float = 0.1
    """UMAP's least distance between points, in units of the map."""
    resolution: float = 1.0
    """Of the clusters."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class AtlasLayout:
    """A map and what it was made from."""

    place_N2: np.ndarray
    """float32."""
    pca: PCA
    reduced_NK: np.ndarray
    """float32 principal coordinates."""
    neighbours: Neighbours
    graph: sparse.csr_matrix
    cluster_N: np.ndarray
    """int64, 0 the largest."""
    method: Method
    """The one used: small sets have their principal axes instead of a UMAP."""
    curve: Curve | None
    """UMAP's; None for the other methods."""


def lay_out(
    vectors_ND: Points,
    options: LayoutOptions,
    *,
    tell: Tell = lambda message: None,
    warn: Tell = warnings.warn,
    advance: Callable[[int], None] | None = None,
) -> AtlasLayout:
    """Map points into the plane; equal input and seed give an equal map.

    Args:
        tell: called with what is going on.
        warn: called with what the user should know.
        advance: called with the number of points whose neighbours were found since the last call.

    Raises:
        InputError: for fewer than three points.
    """
    size = vectors_ND.shape[0]
    if size < FEWEST:
        raise InputError(f"{size} sequence{'s' * (size != 1)} make no map", hint=f"give {FEWEST} or more")
    method, count = options.method, options.neighbours
    if method != "pca" and size < FEWEST_FOR_UMAP:
        warn(f"{size} sequences are too few for a {method} map: principal axes are drawn instead")
        method = "pca"
    if count > size - 1:
        warn(f"{size} sequences have no {count} neighbours each: {size - 1} are used")
        count = size - 1
    components = options.components
    if options.whiten and components > (most := max(2, size // POINTS_PER_WHITE_AXIS)):
        warn(f"{size} sequences are too few to whiten {components} axes: {most} are kept")
        components = most
    tell("principal axes")
    pca = fit_pca(vectors_ND, components, whiten=options.whiten)
    reduced_NK = pca.project(vectors_ND)
    tell(f"neighbours of {size:,} points")
    neighbours = nearest(reduced_NK, count, report=advance)
    graph = neighbour_graph(neighbours)
    tell("clusters")
    cluster_N = leiden(graph, resolution=options.resolution, seed=options.seed)
    curve: Curve | None = None
    if method == "umap":
        tell("UMAP")
        place_N2, curve = _umap(reduced_NK, neighbours, options)
    elif method == "tsne":
        tell("t-SNE")
        place_N2 = _tsne(reduced_NK, options.seed)
    else:
        place_N2 = _plane(reduced_NK)
    return AtlasLayout(place_N2.astype(np.float32), pca, reduced_NK, neighbours, graph, cluster_N, method, curve)


def _plane(reduced_NK: np.ndarray) -> np.ndarray:
    """The first two axes; zeros where there is but one."""
    place = np.zeros((len(reduced_NK), 2), dtype=np.float32)
    place[:, : min(2, reduced_NK.shape[1])] = reduced_NK[:, :2]
    return place


def _umap(reduced_NK: np.ndarray, neighbours: Neighbours, options: LayoutOptions) -> tuple[np.ndarray, Curve]:
    with warnings.catch_warnings():
        # It warns of its own use of TensorFlow and sklearn, and that no new points can be placed; ours are.
        warnings.simplefilter("ignore")
        try:
            from umap import UMAP
        except ImportError as error:
            raise RnafmError("umap-learn is not installed", hint="pip install umap-learn, or --method pca") from error
        # umap-learn counts a point as the first of its own neighbours.
        own = np.arange(len(reduced_NK))[:, None]
        index = np.concatenate([own, neighbours.index_NK], axis=1)
        distance = np.concatenate([np.zeros((len(own), 1), dtype=np.float32), neighbours.distance_NK], axis=1)
        start = _plane(reduced_NK)
        start = 10 * start / max(float(np.abs(start).max()), 1e-12)
        model = UMAP(
            n_neighbors=index.shape[1],
            min_dist=options.min_dist,
            random_state=options.seed,
            n_jobs=1,
            init=start,
            precomputed_knn=(index, distance),
            force_approximation_algorithm=True,
        )
        place = model.fit_transform(reduced_NK)
    return place, Curve(float(model._a), float(model._b))


def _tsne(reduced_NK: np.ndarray, seed: int) -> np.ndarray:
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise RnafmError("scikit-learn is not installed", hint="pip install scikit-learn, or --method pca") from error
    start = _plane(reduced_NK)
    start = 1e-4 * start / max(float(start[:, 0].std()), 1e-12)
    perplexity = min(30.0, (len(reduced_NK) - 1) / 3)
    return TSNE(perplexity=perplexity, init=start, random_state=seed, n_jobs=1).fit_transform(reduced_NK)
