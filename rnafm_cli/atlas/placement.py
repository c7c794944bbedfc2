"""New sequences on an existing map: places, nearest labelled neighbours, and a type with its confidence.

Shape suffixes: M new points, N points of the map, D width, K principal axes, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from rnafm_cli.atlas.files import AtlasFile, read_atlas_file
from rnafm_cli.atlas.graph import Neighbours, nearest
from rnafm_cli.atlas.layout import AtlasLayout, Curve, place
from rnafm_cli.atlas.points import UNLABELLED, AtlasPoints
from rnafm_cli.encoder.vectors import PCA
from rnafm_cli.errors import InputError, WeightsError
from rnafm_cli.weights.store import search_dirs


@dataclass(frozen=True, eq=False)
class Votes:
    """Weighted shares of the labels among a point's neighbours."""

    share_NL: np.ndarray

    @property
    def winner_N(self) -> np.ndarray:
        """The label with the largest share."""
        return self.share_NL.argmax(axis=1)

    @property
    def top_N(self) -> np.ndarray:
        """The winner's share."""
        return self.share_NL.max(axis=1)


def vote_by_distance(neighbours: Neighbours, label_N: np.ndarray, labels: int) -> Votes:
    """Shares of each label among the neighbours; a near one weighs up to eleven times as much as the farthest."""
    far = neighbours.distance_NK / np.maximum(neighbours.distance_NK[:, -1:], 1e-12)
    weight = 1 / (0.1 + far)
    share = np.zeros((len(far), labels))
    for rank in range(far.shape[1]):
        share[np.arange(len(far)), label_N[neighbours.index_NK[:, rank]]] += weight[:, rank]
    return Votes(share / share.sum(axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Calibration:
    """A rising curve from the winner's share to the chance that the call is right."""

    share_P: np.ndarray
    accuracy_P: np.ndarray

    def confidence(self, share_N: np.ndarray) -> np.ndarray:
        """Chance of a right call, 0 to 1, between the curve's points by straight lines; NaN without a curve."""
        if not len(self.share_P):
            return np.full(len(share_N), np.nan)
        return np.interp(share_N, self.share_P, self.accuracy_P)


def calibrate(share_N: np.ndarray, right_N: np.ndarray, *, weight_N: np.ndarray | None = None) -> Calibration:
    """Isotonic regression of right calls on shares, as one point for each step of the curve.

    Args:
        right_N: whether each call was right, known from points whose label was hidden.
        weight_N: what each call counts; equal if None.
    """
    if not len(share_N):
        return Calibration(np.zeros(0), np.zeros(0))
    order = np.argsort(share_N, kind="stable")
    weight_N = np.ones(len(share_N)) if weight_N is None else weight_N
    share_S, accuracy_S, weight_S, calls_S = _rising(share_N[order], right_N[order], weight_N[order])
    # One call beyond doubt proves no certainty: each step is drawn towards the mean by two calls, the mean towards a
    # half. Steps of few calls move most, and those that moved past a neighbour are joined with it.
    mean = (accuracy_S @ weight_S + weight_N.mean()) / (weight_S.sum() + 2 * weight_N.mean())
    drawn_S = (calls_S * accuracy_S + 2 * mean) / (calls_S + 2)
    return Calibration(*_rising(share_S, drawn_S, weight_S)[:2])


def _rising(share_N: np.ndarray, right_N: np.ndarray, weight_N: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mean share, mean of what is right, weight and number of calls of each step of the isotonic regression."""
    found = isotonic_regression(right_N, weights=weight_N)
    starts = found.blocks[:-1]
    weight_S = found.weights
    share_S = np.add.reduceat(share_N * weight_N, starts) / weight_S
    return share_S, found.x[starts], weight_S, weight_S**2 / np.add.reduceat(weight_N**2, starts)


REFERENCE = "reference"
REFERENCE_FILE = "atlas-mini.h5"
STARTS = 40
NEIGHBOURS = 10
_FAR_QUANTILE = 0.99


@dataclass(frozen=True)
class TypeCall:
    """What one sequence is, by its neighbours on the map."""

    x: float
    y: float
    label: str
    confidence: float
    """Chance that the label is right, as measured on the map's own points with near copies hidden; NaN on a map made
    without sequences."""
    runner_up: str
    """The label with the second most votes; ``""`` if there is none."""
    far: bool
    """Farther from its nearest neighbour than 99 % of the map's own points from theirs (never on a map made without
    sequences), or on a whitened map from the middle: likely of no type there."""
    neighbours: list[tuple[str, str, float]]
    """Id, label and distance of the nearest labelled points, nearest first."""


def find_atlas(name_or_file: str, *, weights_dir: Path | None = None) -> AtlasFile:
    """The atlas in a file or folder of results, or the one shipped as ``reference``.

    Raises:
        WeightsError: when the reference atlas is not there.
        InputError: for a file that is not an atlas.
    """
    if name_or_file == REFERENCE:
        for folder in search_dirs(weights_dir):
            if (folder / REFERENCE_FILE).is_file():
                return read_atlas_file(folder / REFERENCE_FILE)
        raise WeightsError(
            f"the reference atlas {REFERENCE_FILE} is not on this machine",
            hint="make an atlas with 'rnafm atlas seqs.fa -o DIR' and give DIR/atlas.h5",
        )
    path = Path(name_or_file)
    return read_atlas_file(path / "atlas.h5" if path.is_dir() else path)


def check_vectors(atlas: AtlasFile, provenance: Any, width: int) -> None:
    """Refuse vectors that another model made than the map's.

    Raises:
        WeightsError: naming both models.
    """
    pairs = [(atlas.settings.get(key), provenance.get(key)) for key in ("weights_sha256", "layer", "pooling")]
    if all(wanted == found or None in (wanted, found) for wanted, found in pairs) and width == len(atlas.mean_D):
        return
    raise WeightsError(
        f"the atlas was made with {_told(atlas.settings)}, the sequences are embedded with {_told(provenance)}",
        hint="give that model with --model (and embeddings that are pooled alike), or make the atlas anew",
    )


def _told(made: Mapping[str, Any]) -> str:
    """What made vectors, in words."""
    known = [f"{key} {made[key]}" for key in ("layer", "pooling") if made.get(key) is not None]
    known += [f"sha256 {str(made['weights_sha256'])[:12]}..."] if made.get("weights_sha256") else []
    name = made.get("model", "an unknown model")
    return f"{name} ({', '.join(known)})" if known else str(name)


def atlas_file_of(
    points: AtlasPoints,
    layout: AtlasLayout,
    labels: Sequence[str],
    roles: Sequence[str],
    *,
    fold_N: np.ndarray | None = None,
) -> AtlasFile:
    """What a run keeps for later mapping, with calls calibrated on its own points.

    Args:
        fold_N: folds that hold near copies together, -1 for points to leave out; each fold's points are called by
            the others'. Without them calls have no confidence: that of a near copy's call says nothing of others.
    """
    calibration, far = _calibrated(layout.reduced_NK, labels, fold_N)
    curve = layout.curve
    made = {key: points.provenance.get(key) for key in ("model", "weights_sha256", "layer", "pooling")}
    made |= {"a": curve.a, "b": curve.b} if curve else {}
    return AtlasFile(
        ids=points.ids,
        labels=list(labels),
        roles=list(roles),
        starts=[s[:STARTS] for s in points.sequences] if points.sequences else [""] * len(points),
        lengths_N=points.lengths_N,
        cluster_N=layout.cluster_N,
        place_N2=layout.place_N2,
        reduced_NK=layout.reduced_NK,
        mean_D=layout.pca.mean_D,
        axes_KD=layout.pca.axes_KD,
        share_P=calibration.share_P,
        accuracy_P=calibration.accuracy_P,
        settings={key: value for key, value in made.items() if value is not None}
        | {"method": layout.method, "neighbours": layout.neighbours.index_NK.shape[1], "far": far}
        | (_whitened_settings(layout, points) if layout.pca.whitened else {}),
    )


def _whitened_settings(layout: AtlasLayout, points: AtlasPoints) -> dict[str, Any]:
    # Points of unit length do not show how far out they lie.
    away_N = layout.pca.from_middle(points.vectors_ND)
    return {"whitened": True, "far_from_middle": float(np.quantile(away_N, _FAR_QUANTILE))}


def _calibrated(reduced_NK: np.ndarray, labels: Sequence[str], fold_N: np.ndarray | None) -> tuple[Calibration, float]:
    if fold_N is None:
        return Calibration(np.zeros(0), np.zeros(0)), float("inf")
    label_N = np.asarray(labels)
    kept = np.flatnonzero((label_N != UNLABELLED) & (fold_N >= 0))
    names, number_N = np.unique(label_N[kept], return_inverse=True)
    points_NK = reduced_NK[kept].astype(np.float16).astype(np.float32)
    fold = fold_N[kept]
    share, right = np.zeros(len(kept)), np.zeros(len(kept))
    away: list[np.ndarray] = []
    for hidden in np.unique(fold):
        test, known = np.flatnonzero(fold == hidden), np.flatnonzero(fold != hidden)
        if not len(known):
            continue
        found = nearest(points_NK[test], NEIGHBOURS, among_MD=points_NK[known])
        votes = vote_by_distance(found, number_N[known], len(names))
        share[test], right[test] = votes.top_N, votes.winner_N == number_N[test]
        away.append(found.distance_NK[:, 0])
    if not away:
        return Calibration(np.zeros(0), np.zeros(0)), float("inf")
    # Each label counts the same, so that the confidence does not lean on how many of each the atlas holds.
    weight = 1 / np.bincount(number_N)[number_N]
    return calibrate(share, right, weight_N=weight), float(np.quantile(np.concatenate(away), _FAR_QUANTILE))


def map_onto(atlas: AtlasFile, vectors_MD: np.ndarray, *, seed: int = 0) -> list[TypeCall]:
    """Place new vectors on the map and call their type.

    Raises:
        InputError: when the map has no labelled point.
    """
    label_N = np.asarray(atlas.labels)
    known = np.flatnonzero(label_N != UNLABELLED)
    if not len(known):
        raise InputError("the atlas has no labels, so it can call no type", hint="make it with --labels or type=")
    names, number_N = np.unique(label_N[known], return_inverse=True)
    whitened = bool(atlas.settings.get("whitened", False))
    pca = PCA(atlas.mean_D, atlas.axes_KD, np.zeros(0), whitened)
    reduced_MK = pca.project(vectors_MD)
    outside_M = pca.from_middle(vectors_MD) > float(atlas.settings.get("far_from_middle", np.inf))
    curve = Curve(float(atlas.settings["a"]), float(atlas.settings["b"])) if "a" in atlas.settings else None
    every = nearest(reduced_MK, int(atlas.settings["neighbours"]) + 1, among_MD=atlas.reduced_NK)
    if atlas.settings.get("method") == "pca":
        place_M2 = np.zeros((len(reduced_MK), 2), dtype=np.float32)
        place_M2[:, : min(2, reduced_MK.shape[1])] = reduced_MK[:, :2]
    else:
        place_M2 = place(every, atlas.place_N2, curve, seed=seed)
    found = nearest(reduced_MK, NEIGHBOURS, among_MD=atlas.reduced_NK[known])
    votes = vote_by_distance(found, number_N, len(names))
    confidence = Calibration(atlas.share_P, atlas.accuracy_P).confidence(votes.top_N)
    far_M = outside_M | (found.distance_NK[:, 0] > float(atlas.settings.get("far", np.inf)))
    return [
        _call(atlas, found, k, known, names, votes.share_NL[k], place_M2[k], float(confidence[k]), bool(far_M[k]))
        for k in range(len(reduced_MK))
    ]


def _call(
    atlas: AtlasFile,
    found: Neighbours,
    row: int,
    known: np.ndarray,
    names: np.ndarray,
    share_L: np.ndarray,
    place_2: np.ndarray,
    confidence: float,
    far: bool,
) -> TypeCall:
    order = np.argsort(-share_L, kind="stable")
    second = str(names[order[1]]) if len(order) > 1 and share_L[order[1]] > 0 else ""
    near = [
        (atlas.ids[known[k]], atlas.labels[known[k]], float(distance))
        for k, distance in zip(found.index_NK[row], found.distance_NK[row], strict=True)
    ]
    return TypeCall(float(place_2[0]), float(place_2[1]), str(names[order[0]]), confidence, second, far, near)
