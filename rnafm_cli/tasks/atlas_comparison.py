"""The same sequences laid out by several kinds of vectors, with figures of how well each separates the labels.

Shape suffixes: N points, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rnafm_cli.geometry.neighbours import nearest
from rnafm_cli.geometry.pca import Points
from rnafm_cli.geometry.separation import adjusted_rand, neighbour_purity, silhouette
from rnafm_cli.geometry.transfer import knn_transfer
from rnafm_cli.rna.composition import kmer_frequencies, one_hot
from rnafm_cli.tasks.atlas_layout import Layout, LayoutOptions, lay_out

__all__ = ["Baseline", "Panel", "Separation", "baseline_vectors", "compare_layouts", "separation"]

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
