"""The same sequences laid out by several kinds of vectors, with figures of how well each separates the labels.

Shape suffixes: N points, D width, K neighbours, S sampled points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rnafm_cli.atlas.graph import Neighbours, nearest
from rnafm_cli.atlas.layout import Layout, LayoutOptions, lay_out
from rnafm_cli.encoder.vectors import Points, kmer_frequencies, knn_transfer, one_hot

__all__ = [
    "Baseline",
    "Panel",
    "Separation",
    "adjusted_rand",
    "baseline_vectors",
    "compare_layouts",
    "neighbour_purity",
    "separation",
    "silhouette",
]


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


Baseline = Literal["random", "onehot", "kmer"]

NEIGHBOURS = 10


@dataclass(frozen=True)
class Separation:
    """How well one division of the points shows in one kind of vectors."""

    view: str
    labels: int
    points: int
    accuracy: float
    """Mean over labels of the share that the 10 nearest neighbours (cosine, all dimensions) call right, with near
    copies kept out of each other's reach; NaN without sequences."""
    purity: float
    """Share of a point's 10 nearest neighbours (principal axes) with its label, mean over labels."""
    silhouette: float
    """Mean over (a sample of) points, principal axes; -1 to 1."""
    adjusted_rand: float
    """Agreement of the clusters with the labels; 1 at best, 0 by chance."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One kind of vectors: its map and figures."""

    name: str
    layout: Layout
    separations: list[Separation]


def baseline_vectors(name: Baseline, sequences: Sequence[str]) -> Points:
    """(N, D) vectors that need no model: one-hot letters (padded, sparse) or shares of 4-mers."""
    return one_hot(sequences) if name == "onehot" else kmer_frequencies(sequences)


def compare_layouts(
    kinds: Mapping[str, Callable[[], Points]],
    views: Mapping[str, Sequence[str]],
    options: LayoutOptions,
    *,
    fold_N: np.ndarray | None = None,
    ready: Mapping[str, Layout] | None = None,
    tell: Callable[[str], None] = lambda message: None,
) -> list[Panel]:
    """Lay the points out once for each kind of vectors, and measure.

    Args:
        kinds: what to call the vectors, and how to get them.
        views: labels of the points under each name; those with a single label are left out.
        fold_N: folds that hold near copies together; without them no accuracy.
        ready: layouts that exist already.
    """
    panels = []
    for name, vectors_of in kinds.items():
        vectors_ND = vectors_of()

        def say(message: str, name: str = name) -> None:
            tell(f"{name}: {message}")

        layout = (ready or {}).get(name) or lay_out(vectors_ND, options, tell=say)
        say("figures")
        found = [
            separation(view, labels, vectors_ND, layout, fold_N=fold_N, seed=options.seed)
            for view, labels in views.items()
            if len(set(labels) - {""}) > 1
        ]
        panels.append(Panel(name, layout, found))
    return panels


def separation(
    view: str,
    labels: Sequence[str],
    vectors_ND: Points,
    layout: Layout,
    *,
    fold_N: np.ndarray | None = None,
    seed: int = 0,
) -> Separation:
    """Measure one division; points without label are left out of all figures."""
    label_N = np.asarray(labels)
    kept = np.flatnonzero(label_N != "")
    label_N, reduced_NK = label_N[kept], layout.reduced_NK[kept]
    if len(kept) == len(labels) and layout.neighbours.index_NK.shape[1] >= NEIGHBOURS:
        neighbours = layout.neighbours.first(NEIGHBOURS)
    else:
        neighbours = nearest(reduced_NK, NEIGHBOURS)
    accuracy = float("nan")
    if fold_N is not None and len(np.unique(fold_N[kept])) > 1:
        accuracy = knn_transfer(vectors_ND[kept], list(label_N), fold_N[kept], neighbours=NEIGHBOURS).macro_accuracy
    return Separation(
        view=view,
        labels=len(np.unique(label_N)),
        points=len(kept),
        accuracy=accuracy,
        purity=neighbour_purity(neighbours, label_N),
        silhouette=silhouette(reduced_NK, label_N, seed=seed),
        adjusted_rand=adjusted_rand(layout.cluster_N[kept], label_N),
    )
