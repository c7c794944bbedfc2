"""A coordinate check of distances: one point a residue in space, as the distances ask for it.

Not a structure predictor: points have no atoms, and distances do not tell a fold from its mirror image. Shape suffixes:
L residues, N pairs, X three coordinates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import minimize
from scipy.sparse.csgraph import shortest_path

from rnafm_cli.rna.chains import FARTHEST, Chain

TRACE_METRICS = ("trace_correlation", "trace_rmsd")
_FAR = FARTHEST - 2.0
"""Å; from here on a distance is known to be long, and no more."""
_SCALE = 6.0
"""Å at which a distance weighs half as much as none."""

Floats = NDArray[np.float64]


def embed(distance_LL: NDArray[np.floating], *, far: float = _FAR) -> Floats:
    """(L, 3) points in Å, by metric multidimensional scaling, near pairs first; NaN for residues without a distance.

    Long distances, of which a prediction only says that they are long, start as the shortest way over near pairs and
    are then only kept from becoming short.

    Args:
        distance_LL: symmetric, Å, NaN where unknown.
        far: distances from here on are long.
    """
    known_L = np.isfinite(distance_LL).sum(axis=1) > 1
    wanted_LL = np.asarray(distance_LL, dtype=np.float64)[np.ix_(known_L, known_L)]
    found_LX = np.full((len(known_L), 3), np.nan)
    if len(wanted_LL) < 3:
        return found_LX
    near_LL = np.where(wanted_LL < far, np.maximum(wanted_LL, 0.1), np.inf)
    ways_LL = shortest_path(near_LL, directed=False)
    ways_LL = np.where(np.isfinite(ways_LL), ways_LL, 3.0 * far)
    rows, columns = np.triu_indices(len(wanted_LL), k=1)
    target_N = wanted_LL[rows, columns]
    is_near_N, is_far_N = target_N < far, target_N >= far
    target_N = np.where(is_far_N, far, target_N)
    weight_N = (is_near_N | is_far_N) / (1.0 + (np.where(is_near_N, target_N, far) / _SCALE) ** 2)

    def stress(flat: Floats) -> tuple[float, Floats]:
        point_LX = flat.reshape(-1, 3)
        apart_NX = point_LX[rows] - point_LX[columns]
        length_N = np.sqrt((apart_NX**2).sum(axis=1)) + 1e-9
        # NaN targets have no weight; far pairs ask for nothing once they are far.
        error_N = np.where(weight_N > 0, length_N - target_N, 0.0)
        error_N[is_far_N] = np.minimum(error_N[is_far_N], 0.0)
        push_NX = (2.0 * weight_N * error_N / length_N)[:, None] * apart_NX
        slope_LX = np.stack(
            [
                np.bincount(rows, push_NX[:, x], len(point_LX)) - np.bincount(columns, push_NX[:, x], len(point_LX))
                for x in range(3)
            ],
            axis=1,
        )
        return float((weight_N * error_N**2).sum()), slope_LX.ravel()

    start = _classical(ways_LL)
    found_LX[known_L] = minimize(
        stress, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300}
    ).x.reshape(-1, 3)
    return found_LX


def compare_traces(chain: Chain, distance_LL: NDArray[np.floating]) -> tuple[dict[str, float], Floats, Floats] | None:
    """Points of predicted distances against those of all known distances of a chain, long ones included.

    Returns:
        ``trace_correlation`` of the known distances with those of the points, ``trace_rmsd`` (Å) of the two traces; the
        predicted points (turned, mirrored if need be, onto the known ones) and the known ones, both (L, 3), NaN for
        unknown residues. None where fewer than four residues are known.
    """
    if chain.distance_LL is None:
        return None
    known_LX, found_LX = embed(chain.distance_LL, far=np.inf), embed(distance_LL)
    there_L = np.isfinite(known_LX).all(axis=1)
    if there_L.sum() < 4:
        return None
    centre_X = known_LX[there_L].mean(axis=0)
    known, found = known_LX[there_L] - centre_X, found_LX[there_L] - found_LX[there_L].mean(axis=0)
    turn, _ = orthogonal_procrustes(found, known)
    placed_LX = np.full_like(known_LX, np.nan)
    placed_LX[there_L] = found @ turn
    rows, columns = np.triu_indices(len(chain), k=1)
    true_N = chain.distance_LL[rows, columns].astype(np.float64)
    seen_N = np.isfinite(true_N)
    apart_N = np.linalg.norm(placed_LX[rows[seen_N]] - placed_LX[columns[seen_N]], axis=1)
    values = {
        "trace_correlation": float(np.corrcoef(true_N[seen_N], apart_N)[0, 1]),
        "trace_rmsd": float(np.sqrt(((found @ turn - known) ** 2).sum(axis=1).mean())),
    }
    return values, placed_LX, known_LX - centre_X


def _classical(distance_LL: Floats) -> Floats:
    """(L, 3) points of classical scaling: the three largest eigenvectors of the centred squares."""
    squares_LL = distance_LL**2
    means_L = squares_LL.mean(axis=0)
    values, vectors = np.linalg.eigh(-0.5 * (squares_LL - means_L[:, None] - means_L + means_L.mean()))
    return vectors[:, -3:] * np.sqrt(np.maximum(values[-3:], 1e-6))
