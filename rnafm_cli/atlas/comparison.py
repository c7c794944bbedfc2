"""How well a kind of vectors separates the labels of its RNAs.

Shape suffixes: N points, D width, K neighbours or axes, S sampled points.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import adjusted_rand_score, silhouette_score

from rnafm_cli.atlas.graph import Neighbours, nearest
from rnafm_cli.atlas.layout import AtlasLayout
from rnafm_cli.atlas.points import AtlasPoints
from rnafm_cli.encoder.vectors import Points, knn_transfer
from rnafm_cli.errors import RnafmWarning
from rnafm_cli.rna.kmers import separate_folds

_NEIGHBOURS = 10
_CALIBRATED = 10_000
"""Points on which the calls of an atlas are calibrated, if no comparison needs the folds of all."""


def copy_folds(
    points: AtlasPoints, labels: Sequence[str], *, every: bool, seed: int, tell: Callable[[str], None]
) -> np.ndarray | None:
    """(N,) folds without near copies between them; None with fewer than two labels or without sequences.

    Args:
        every: put all points into folds; else a sample, which calibration can do with, and -1 stands for the others.
    """
    if len(set(labels) - {""}) < 2:
        return None
    sequences, rows = points.sequences, np.arange(len(points))
    if sequences is None:
        words = "embeddings do not tell which RNAs are near copies: --map-onto will give no confidence on this map; "
        warnings.warn(words + "for that, make it from sequences", RnafmWarning, stacklevel=2)
        return None
    tell("near copies among the sequences")
    if not every and len(rows) > _CALIBRATED:
        rows = np.random.default_rng(seed).permutation(len(rows))[:_CALIBRATED]
    folds = np.full(len(points), -1, dtype=np.int64)
    folds[rows] = separate_folds([sequences[k] for k in rows], seed=seed)
    return folds


@dataclass(frozen=True)
class Separation:
    """How well one division of the points shows in one kind of vectors: a row of ``comparison.tsv``."""

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


def measured(
    name: str,
    vectors_ND: Points,
    layout: AtlasLayout,
    views: Mapping[str, Sequence[str]],
    *,
    fold_N: np.ndarray | None = None,
    seed: int = 0,
) -> Panel:
    """Measure a layout by the labels of each view that has more than one; points without label are left out.

    Args:
        fold_N: folds that hold near copies together; without them no accuracy.
    """
    found = []
    for view, labels in views.items():
        label_N = np.asarray(labels)
        kept = np.flatnonzero(label_N != "")
        label_N, reduced_NK = label_N[kept], layout.reduced_NK[kept]
        names = np.unique(label_N)
        if len(names) < 2:
            continue
        if len(kept) == len(labels) and layout.neighbours.index_NK.shape[1] >= _NEIGHBOURS:
            neighbours = layout.neighbours.first(_NEIGHBOURS)
        else:
            neighbours = nearest(reduced_NK, _NEIGHBOURS)
        accuracy = float("nan")
        if fold_N is not None and len(np.unique(fold_N[kept])) > 1:
            transfer = knn_transfer(vectors_ND[kept], list(label_N), fold_N[kept], neighbours=_NEIGHBOURS)
            accuracy = transfer.macro_accuracy
        purity, width = neighbour_purity(neighbours, label_N), silhouette(reduced_NK, label_N, seed=seed)
        agreement = float(adjusted_rand_score(label_N, layout.cluster_N[kept]))
        found.append(Separation(view, len(names), len(kept), accuracy, purity, width, agreement))
    return Panel(name, layout, found)


def neighbour_purity(neighbours: Neighbours, label_N: np.ndarray) -> float:
    """Share of a point's neighbours that bear its label: the mean over the points of each label, then over labels."""
    label_N = np.unique(label_N, return_inverse=True)[1]
    same_N = (label_N[neighbours.index_NK] == label_N[:, None]).mean(axis=1)
    return float((np.bincount(label_N, same_N) / np.bincount(label_N)).mean())


def silhouette(points_ND: np.ndarray, label_N: np.ndarray, *, sample: int = 4000, seed: int = 0) -> float:
    """Mean silhouette (Rousseeuw 1987), -1 to 1, over a seeded sample; NaN where it holds one label, or each once."""
    chosen_S = np.sort(np.random.default_rng(seed).permutation(len(points_ND))[:sample])
    points_SD, label_S = points_ND[chosen_S].astype(np.float64), label_N[chosen_S]
    return float(silhouette_score(points_SD, label_S)) if 1 < len(set(label_S)) < len(label_S) else float("nan")
