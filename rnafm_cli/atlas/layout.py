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
from rnafm_cli.errors import InputError, RnafmWarning

Method = Literal["umap", "pca", "tsne"]
Curve = tuple[float, float]
"""a and b of UMAP's similarity on the map, 1 / (1 + a d^(2b))."""

_FEWEST = 3
_FEWEST_FOR_UMAP = 8
"""Below this number of points a map of neighbours says nothing that the principal axes do not."""
_POINTS_PER_WHITE_AXIS = 10
"""Whitened along more axes than this allows, all points come to be equally far from each other."""


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

    @property
    def clusters(self) -> int:
        """How many there are."""
        return int(self.cluster_N.max()) + 1


def lay_out(
    vectors_ND: Points,
    *,
    method: Method = "umap",
    components: int = 50,
    whiten: bool = False,
    neighbours: int = 15,
    min_dist: float = 0.1,
    resolution: float = 1.0,
    seed: int = 0,
    tell: Callable[[str], None] = lambda message: None,
    advance: Callable[[int], None] | None = None,
) -> AtlasLayout:
    """Map points into the plane; equal input and seed give an equal map.

    Args:
        components: principal axes kept before neighbours are sought.
        whiten: bring these axes to equal variance, and points to unit length; at most one axis for ten points is kept.
        min_dist: UMAP's least distance between points, in units of the map.
        resolution: of the clusters.
        tell: called with what is going on.
        advance: called with the number of points whose neighbours were found since the last call.

    Raises:
        InputError: for fewer than three points.
    """
    size = vectors_ND.shape[0]
    if size < _FEWEST:
        raise InputError(f"{size} sequence{'s' * (size != 1)} make no map", hint=f"give {_FEWEST} or more")

    def warn(message: str) -> None:
        warnings.warn(f"{size} sequences {message}", RnafmWarning, stacklevel=3)

    if method != "pca" and size < _FEWEST_FOR_UMAP:
        warn(f"are too few for a {method} map: principal axes are drawn instead")
        method = "pca"
    if neighbours > size - 1:
        warn(f"have no {neighbours} neighbours each: {size - 1} are used")
    if whiten and components > (most := max(2, size // _POINTS_PER_WHITE_AXIS)):
        warn(f"are too few to whiten {components} axes: {most} are kept")
        components = most
    tell("principal axes")
    pca = fit_pca(vectors_ND, components, whiten=whiten)
    reduced_NK = pca.project(vectors_ND)
    tell(f"neighbours of {size:,} points")
    near = nearest(reduced_NK, neighbours, report=advance)
    graph = neighbour_graph(near)
    tell("clusters")
    cluster_N = leiden(graph, resolution=resolution, seed=seed)
    place_N2, curve = plane_of(reduced_NK), None
    if method == "umap":
        tell("UMAP")
        place_N2, curve = _umap(reduced_NK, near, place_N2, min_dist, seed)
    elif method == "tsne":
        tell("t-SNE")
        place_N2 = _tsne(reduced_NK, place_N2, seed)
    return AtlasLayout(place_N2.astype(np.float32), pca, reduced_NK, near, graph, cluster_N, method, curve)


def plane_of(reduced_NK: np.ndarray) -> np.ndarray:
    """The first two axes; zeros where there is but one."""
    place = np.zeros((len(reduced_NK), 2), dtype=np.float32)
    place[:, : min(2, reduced_NK.shape[1])] = reduced_NK[:, :2]
    return place


def _umap(
    reduced_NK: np.ndarray, near: Neighbours, start_N2: np.ndarray, min_dist: float, seed: int
) -> tuple[np.ndarray, Curve]:
    with warnings.catch_warnings():
        # It warns of its own use of TensorFlow and sklearn, and that no new points can be placed; ours are.
        warnings.simplefilter("ignore")
        from umap import UMAP

        # umap-learn counts a point as the first of its own neighbours.
        own = np.arange(len(reduced_NK))[:, None]
        index = np.concatenate([own, near.index_NK], axis=1)
        distance = np.concatenate([np.zeros((len(own), 1), dtype=np.float32), near.distance_NK], axis=1)
        model = UMAP(
            n_neighbors=index.shape[1],
            min_dist=min_dist,
            random_state=seed,
            n_jobs=1,
            init=10 * start_N2 / max(float(np.abs(start_N2).max()), 1e-12),
            precomputed_knn=(index, distance),
            force_approximation_algorithm=True,
        )
        place = model.fit_transform(reduced_NK)
    return place, (float(model._a), float(model._b))


def _tsne(reduced_NK: np.ndarray, start_N2: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    start_N2 = 1e-4 * start_N2 / max(float(start_N2[:, 0].std()), 1e-12)
    perplexity = min(30.0, (len(reduced_NK) - 1) / 3)
    return TSNE(perplexity=perplexity, init=start_N2, random_state=seed, n_jobs=1).fit_transform(reduced_NK)
