"""A coordinate check of distances: one point a residue in space, as the distances ask for it.

Not a structure predictor: points have no atoms, and distances do not tell a fold from its mirror image. Shape suffixes:
L residues, K of them with known distances, X three coordinates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import minimize
from scipy.sparse.csgraph import shortest_path

from rnafm_cli.rna.chains import FARTHEST

TRACE_METRICS = ("trace_correlation", "trace_rmsd")
_FAR = FARTHEST - 2.0
"""Å; from here on a predicted distance says that it is long, and no more."""
_SCALE = 6.0
"""Å at which a distance weighs half as much as none."""
_APART = 3.0 * FARTHEST
"""Å between residues that no way joins."""

_Floats = NDArray[np.float64]


def space_points(distance_LL: NDArray[np.floating], far: float = np.inf) -> _Floats:
    """(L, 3) points in Å by metric multidimensional scaling of symmetric distances (Å), near pairs first.

    Distances from ``far`` on only say that they are long: such points are kept from coming nearer. Unknown ones (NaN)
    say nothing. It starts from classical scaling, where the shortest way over near pairs stands for both.
    """
    near_LL = np.where(distance_LL < far, np.maximum(distance_LL, 0.1), np.inf).astype(np.float64)
    ways_LL = shortest_path(near_LL, directed=False)
    ways_LL[np.isinf(ways_LL)] = _APART
    squares_LL = ways_LL**2
    means_L = squares_LL.mean(axis=0)
    values, vectors = np.linalg.eigh(-0.5 * (squares_LL - means_L[:, None] - means_L + means_L.mean()))
    start_LX = vectors[:, -3:] * np.sqrt(np.maximum(values[-3:], 1e-6))

    size = len(distance_LL)
    rows, columns = np.nonzero(np.triu(np.isfinite(distance_LL), 1))
    target_N = np.minimum(distance_LL[rows, columns].astype(np.float64), far)
    weight_N = 1.0 / (1.0 + (target_N / _SCALE) ** 2)

    def stress(flat: _Floats) -> tuple[float, _Floats]:
        point_LX = flat.reshape(-1, 3)
        apart_NX = point_LX[rows] - point_LX[columns]
        length_N = np.linalg.norm(apart_NX, axis=1) + 1e-9
        error_N = np.where(target_N < far, length_N - target_N, np.minimum(length_N - target_N, 0.0))
        push_NX = (2.0 * weight_N * error_N / length_N)[:, None] * apart_NX
        pushes = (np.bincount(rows, push_N, size) - np.bincount(columns, push_N, size) for push_N in push_NX.T)
        return float(weight_N @ error_N**2), np.stack(list(pushes), axis=1).ravel()

    found = minimize(stress, start_LX.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return np.asarray(found.x.reshape(-1, 3))


def compare_traces(
    known_LL: NDArray[np.floating], distance_LL: NDArray[np.floating]
) -> tuple[dict[str, float], _Floats, _Floats] | None:
    """Points of predicted distances against those of all known distances of a chain, long ones included.

    Args:
        known_LL: Å, NaN where a residue was not observed.

    Returns:
        ``trace_correlation`` of the known distances with those of the points, and ``trace_rmsd`` (Å) of the two traces;
        the predicted points, turned and mirrored onto the known ones, and these, both (K, 3). None where K is below 4.
    """
    seen_L = np.isfinite(known_LL).sum(axis=1) > 1
    if seen_L.sum() < 4:
        return None
    true_KK = known_LL[np.ix_(seen_L, seen_L)]
    known_KX, found_KX = (
        points - points.mean(axis=0) for points in (space_points(true_KK), space_points(distance_LL, _FAR)[seen_L])
    )
    found_KX = found_KX @ orthogonal_procrustes(found_KX, known_KX)[0]
    rows, columns = np.nonzero(np.triu(np.isfinite(true_KK), 1))
    apart_N = np.linalg.norm(found_KX[rows] - found_KX[columns], axis=1)
    values = {
        "trace_correlation": float(np.corrcoef(true_KK[rows, columns], apart_N)[0, 1]),
        "trace_rmsd": float(np.sqrt(((found_KX - known_KX) ** 2).sum(axis=1).mean())),
    }
    return values, found_KX, known_KX
