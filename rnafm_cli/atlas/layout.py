"""A new map: principal axes, neighbours, clusters, and a place in the plane for every point.

Shape suffixes: N points, K neighbours or axes, D width.
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
from rnafm_cli.errors import InputError, RnafmError, RnafmWarning


@dataclass(frozen=True)
class Curve:
    """UMAP's similarity on the map, 1 / (1 + a d^(2b))."""

    a: float
    b: float


Method = Literal["umap", "pca", "tsne"]

_FEWEST = 3
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
    tell: Callable[[str], None] = lambda message: None,
    advance: Callable[[int], None] | None = None,
) -> AtlasLayout:
    """Map points into the plane; equal input and seed give an equal map.

    Args:
        tell: called with what is going on.
        advance: called with the number of points whose neighbours were found since the last call.

    Raises:
        InputError: for fewer than three points.
    """
    size = vectors_ND.shape[0]
    if size < _FEWEST:
        raise InputError(f"{size} sequence{'s' * (size != 1)} make no map", hint=f"give {_FEWEST} or more")
    method, count = options.method, options.neighbours
    if method != "pca" and size < FEWEST_FOR_UMAP:
        warnings.warn(
            f"{size} sequences are too few for a {method} map: principal axes are drawn instead",
            RnafmWarning,
            stacklevel=2,
        )
        method = "pca"
    if count > size - 1:
        warnings.warn(
            f"{size} sequences have no {count} neighbours each: {size - 1} are used", RnafmWarning, stacklevel=2
        )
        count = size - 1
    components = options.components
    if options.whiten and components > (most := max(2, size // POINTS_PER_WHITE_AXIS)):
        warnings.warn(
            f"{size} sequences are too few to whiten {components} axes: {most} are kept", RnafmWarning, stacklevel=2
        )
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
        place_N2 = plane_of(reduced_NK)
    return AtlasLayout(place_N2.astype(np.float32), pca, reduced_NK, neighbours, graph, cluster_N, method, curve)


def _warn(message: str) -> None:
    warnings.warn(message, RnafmWarning, stacklevel=3)


def plane_of(reduced_NK: np.ndarray) -> np.ndarray:
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
        start = plane_of(reduced_NK)
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
    start = plane_of(reduced_NK)
    start = 1e-4 * start / max(float(start[:, 0].std()), 1e-12)
    perplexity = min(30.0, (len(reduced_NK) - 1) / 3)
    return TSNE(perplexity=perplexity, init=start, random_state=seed, n_jobs=1).fit_transform(reduced_NK)
