"""How well labels are separated among points: neighbour purity, silhouette, agreement of two partitions.

Shape suffixes: N points, D dimensions, K neighbours, S sampled points.
"""

from __future__ import annotations

import numpy as np

from rnafm_cli.geometry.neighbours import Neighbours

__all__ = ["adjusted_rand", "neighbour_purity", "silhouette"]


def neighbour_purity(neighbours: Neighbours, label_N: np.ndarray) -> float:
    """Share of a point's neighbours that bear its label: the mean over the points of each label, then over labels."""
    label_N = np.unique(label_N, return_inverse=True)[1]
    same_N = (label_N[neighbours.index_NK] == label_N[:, None]).mean(axis=1)
    return float((np.bincount(label_N, same_N) / np.bincount(label_N)).mean())


def silhouette(points_ND: np.ndarray, label_N: np.ndarray, *, sample: int = 4000, seed: int = 0) -> float:
    """Mean silhouette (Rousseeuw 1987), -1 to 1, over a seeded sample; a label's only point counts 0.

    Distances are Euclidean and go to the sampled points alone.
    """
    chosen_S = np.arange(len(points_ND))
    if len(chosen_S) > sample:
        chosen_S = np.sort(np.random.default_rng(seed).permutation(len(points_ND))[:sample])
    points_SD = np.asarray(points_ND[chosen_S], dtype=np.float64)
    names, label_S = np.unique(np.asarray(label_N)[chosen_S], return_inverse=True)
    if len(names) < 2:
        return float("nan")
    square_S = (points_SD**2).sum(axis=1)
    far_SS = np.sqrt(np.maximum(square_S[:, None] + square_S - 2 * points_SD @ points_SD.T, 0.0))
    member_SL = np.eye(len(names))[label_S]
    sizes_L = member_SL.sum(axis=0)
    sum_SL = far_SS @ member_SL
    rows = np.arange(len(label_S))
    own_S = sum_SL[rows, label_S] / np.maximum(sizes_L[label_S] - 1, 1)
    mean_SL = sum_SL / sizes_L
    mean_SL[rows, label_S] = np.inf
    other_S = mean_SL.min(axis=1)
    value_S = (other_S - own_S) / np.maximum(np.maximum(own_S, other_S), 1e-12)
    value_S[sizes_L[label_S] < 2] = 0.0
    return float(value_S.mean())


def adjusted_rand(first_N: np.ndarray, second_N: np.ndarray) -> float:
    """Adjusted Rand index (Hubert & Arabie 1985) of two partitions: 1 for equal ones, 0 expected by chance."""
    _, first_N = np.unique(first_N, return_inverse=True)
    _, second_N = np.unique(second_N, return_inverse=True)
    width = int(second_N.max()) + 1
    table = np.bincount(first_N * width + second_N, minlength=(int(first_N.max()) + 1) * width).reshape(-1, width)

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, one, two = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = one * two / max(pairs(np.asarray([len(first_N)])), 1.0)
    most = (one + two) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)
