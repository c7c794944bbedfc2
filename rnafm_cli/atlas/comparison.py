"""The same sequences laid out by several kinds of vectors, with figures of how well each separates the labels.

Shape suffixes: N points, D width, K neighbours or axes, S sampled points.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.metrics import adjusted_rand_score, silhouette_score

from rnafm_cli.atlas.graph import Neighbours, nearest
from rnafm_cli.atlas.layout import AtlasLayout, LayoutOptions, lay_out
from rnafm_cli.atlas.points import AtlasPoints
from rnafm_cli.encoder.vectors import Points, kmer_frequencies, knn_transfer, one_hot
from rnafm_cli.errors import RnafmWarning
from rnafm_cli.rna.kmers import separate_folds

Baseline = Literal["random", "onehot", "kmer"]

_NEIGHBOURS = 10
CALIBRATED = 10_000
"""Points on which the calls of an atlas are calibrated, if no comparison needs the folds of all."""


def folds_of(
    points: AtlasPoints,
    labels: Sequence[str],
    *,
    every: bool,
    seed: int = 0,
    tell: Callable[[str], None] = lambda message: None,
) -> np.ndarray | None:
    """(N,) folds without near copies between them, by which calls are calibrated and vectors compared.

    None with fewer than two labels or without sequences.

    Args:
        every: put all points into folds; else a sample is enough for calibration, and -1 stands for the others.
    """
    if len(set(labels) - {""}) < 2:
        return None
    if points.sequences is None:
        words = "embeddings do not tell which RNAs are near copies: --map-onto will give no confidence on this map; "
        warnings.warn(words + "for that, make it from sequences", RnafmWarning, stacklevel=2)
        return None
    tell("near copies among the sequences")
    count = len(points)
    rows = np.arange(count)
    if not every and count > CALIBRATED:
        rows = np.random.default_rng(seed).permutation(count)[:CALIBRATED]
    folds = np.full(count, -1, dtype=np.int64)
    folds[rows] = separate_folds([points.sequences[k] for k in rows], seed=seed)
    return folds


def neighbour_purity(neighbours: Neighbours, label_N: np.ndarray) -> float:
    """Share of a point's neighbours that bear its label: the mean over the points of each label, then over labels."""
    label_N = np.unique(label_N, return_inverse=True)[1]
    same_N = (label_N[neighbours.index_NK] == label_N[:, None]).mean(axis=1)
    return float((np.bincount(label_N, same_N) / np.bincount(label_N)).mean())


def silhouette(points_ND: np.ndarray, label_N: np.ndarray, *, sample: int = 4000, seed: int = 0) -> float:
    """Mean silhouette (Rousseeuw 1987), -1 to 1, over a seeded sample; NaN where it holds one label, or each once.

    Distances are Euclidean and go to the sampled points alone.
    """
    chosen_S = np.sort(np.random.default_rng(seed).permutation(len(points_ND))[:sample])
    points_SD, label_S = np.asarray(points_ND, dtype=np.float64)[chosen_S], np.asarray(label_N)[chosen_S]
    return float(silhouette_score(points_SD, label_S)) if 1 < len(set(label_S)) < len(label_S) else float("nan")


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

    def __str__(self) -> str:
        known = "" if np.isnan(self.accuracy) else f"kNN {self.accuracy:.3f}, "
        rest = f"purity {self.purity:.3f}, silhouette {self.silhouette:+.3f}, ARI {self.adjusted_rand:.3f}"
        return f"{self.view}: {known}{rest}"


@dataclass(frozen=True, eq=False)
class Panel:
    """One kind of vectors: its map and figures."""

    name: str
    layout: AtlasLayout
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
    ready: Mapping[str, AtlasLayout] | None = None,
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
    layout: AtlasLayout,
    *,
    fold_N: np.ndarray | None = None,
    seed: int = 0,
) -> Separation:
    """Measure one division; points without label are left out of all figures."""
    label_N = np.asarray(labels)
    kept = np.flatnonzero(label_N != "")
    label_N, reduced_NK = label_N[kept], layout.reduced_NK[kept]
    if len(kept) == len(labels) and layout.neighbours.index_NK.shape[1] >= _NEIGHBOURS:
        neighbours = layout.neighbours.first(_NEIGHBOURS)
    else:
        neighbours = nearest(reduced_NK, _NEIGHBOURS)
    accuracy = float("nan")
    if fold_N is not None and len(np.unique(fold_N[kept])) > 1:
        accuracy = knn_transfer(vectors_ND[kept], list(label_N), fold_N[kept], neighbours=_NEIGHBOURS).macro_accuracy
    return Separation(
        view=view,
        labels=len(np.unique(label_N)),
        points=len(kept),
        accuracy=accuracy,
        purity=neighbour_purity(neighbours, label_N),
        silhouette=silhouette(reduced_NK, label_N, seed=seed),
        adjusted_rand=float(adjusted_rand_score(label_N, layout.cluster_N[kept])),
    )
