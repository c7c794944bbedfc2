"""An atlas in a file, and new sequences on it: places, nearest labelled neighbours, a type with its confidence.

A new point starts at the mean of its neighbours' places, weighted as UMAP weights edges, and then moves by UMAP's own
gradients. The steps take their expected value instead of drawing edges, and all points meet the same drawn
repelling points, so a point's place depends on nothing else that is placed.

Shape suffixes: M new points, N points of the map, D width, K principal axes or neighbours, L labels, P points of the
calibration, R repelling points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from rnafm_cli import __version__
from rnafm_cli.atlas.graph import Neighbours, nearest
from rnafm_cli.atlas.layout import AtlasLayout, Curve, plane_of
from rnafm_cli.atlas.points import IDENTITY, UNLABELLED, AtlasPoints
from rnafm_cli.encoder.vectors import PCA
from rnafm_cli.errors import InputError, WeightsError
from rnafm_cli.io.hdf5 import attributes_of, new_hdf5, open_hdf5
from rnafm_cli.weights.store import search_dirs

REFERENCE = "reference"
REFERENCE_FILE = "atlas-mini.h5"
STARTS = 40
"""First bases that are kept of each RNA."""
_FORMAT = "rnafm-atlas"
_TEXTS = ("ids", "labels", "starts")
_ARRAYS = {
    "lengths": ("lengths_N", np.int64),
    "coordinates": ("place_N2", np.float32),
    "vectors": ("reduced_NK", np.float16),
    "pca_mean": ("mean_D", np.float32),
    "pca_axes": ("axes_KD", np.float32),
    "vote_share": ("share_P", np.float64),
    "vote_accuracy": ("accuracy_P", np.float64),
}
_NEIGHBOURS = 10
_FAR_QUANTILE = 0.99


@dataclass(frozen=True, eq=False, kw_only=True)
class AtlasFile:
    """A map with labelled points."""

    ids: list[str]
    labels: list[str]
    """``""`` where there is none."""
    starts: list[str]
    """First bases."""
    lengths_N: np.ndarray
    place_N2: np.ndarray
    reduced_NK: np.ndarray
    mean_D: np.ndarray
    axes_KD: np.ndarray
    share_P: np.ndarray
    """Winner's share of votes, ascending; no values on a map without confidences."""
    accuracy_P: np.ndarray
    """How often a call with that share was right."""
    settings: Mapping[str, Any]
    """What made it: ``model``, ``weights_sha256``, ``layer``, ``method``, ``neighbours``, ``a``, ``b``,
    ``far`` (distance to the nearest neighbour that one point in a hundred exceeds), ..."""


def write_atlas_file(path: str | Path, atlas: AtlasFile) -> None:
    """Write an atlas; the same atlas gives the same bytes. The file appears whole or not at all."""
    values = {name: np.char.encode(np.asarray(getattr(atlas, name), dtype=np.str_), "utf-8") for name in _TEXTS}
    values |= {name: np.asarray(getattr(atlas, field), dtype=kind) for name, (field, kind) in _ARRAYS.items()}
    with new_hdf5(path, libver="v108") as file:
        file.attrs.update({"format": _FORMAT, "format_version": 1, "rnafm_version": __version__})
        file.attrs.update({key: value for key, value in atlas.settings.items() if value is not None})
        for name, array in values.items():
            is_small = array.size < 64 or not array.dtype.itemsize
            # HDF5 has no texts of no letters.
            array = array if array.dtype.itemsize else array.astype("S1")
            file.create_dataset(name, data=array, track_times=False, compression=None if is_small else "gzip")


def find_atlas(name_or_file: str, *, weights_dir: Path | None = None) -> AtlasFile:
    """The atlas in a file or folder of results, or the one shipped as ``reference``.

    Raises:
        WeightsError: when the reference atlas is not there.
        InputError: for a file that is missing, damaged or no atlas.
    """
    path = Path(name_or_file)
    if name_or_file == REFERENCE:
        every = (folder / REFERENCE_FILE for folder in search_dirs(weights_dir))
        found = next((file for file in every if file.is_file()), None)
        if found is None:
            hint = "make an atlas with 'rnafm atlas seqs.fa -o DIR' and give DIR/atlas.h5"
            raise WeightsError(f"the reference atlas {REFERENCE_FILE} is not on this machine", hint=hint)
        path = found
    hint = "give the atlas.h5 that 'rnafm atlas' wrote"
    with open_hdf5(path / "atlas.h5" if path.is_dir() else path, hint=hint) as file:
        settings = attributes_of(file)
        if settings.get("format") != _FORMAT:
            raise InputError(f"{path}: is not an atlas", hint=hint)
        texts: dict[str, Any] = {name: [value.decode() for value in file[name][:]] for name in _TEXTS}
        arrays: dict[str, Any] = {field: file[name][:] for name, (field, _) in _ARRAYS.items()}
    arrays["reduced_NK"] = arrays["reduced_NK"].astype(np.float32)
    return AtlasFile(**texts, **arrays, settings=settings)


def check_vectors(atlas: AtlasFile, provenance: Mapping[str, Any], width: int) -> None:
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
    points: AtlasPoints, layout: AtlasLayout, labels: Sequence[str], *, fold_N: np.ndarray | None = None
) -> AtlasFile:
    """What a run keeps for later mapping, with calls calibrated on its own points: each fold's by the others'.

    Args:
        fold_N: folds that hold near copies together, -1 for points to leave out; without them calls have no confidence.
    """
    share_P, accuracy_P, far = _calibrated(layout.reduced_NK, labels, fold_N)
    made = {key: points.provenance.get(key) for key in IDENTITY}
    made |= {"method": layout.method, "neighbours": layout.neighbours.index_NK.shape[1], "far": far}
    if layout.curve:
        made |= dict(zip("ab", layout.curve, strict=True))
    if layout.pca.whitened:
        # Points of unit length do not show how far out they lie.
        away_N = layout.pca.from_middle(points.vectors_ND)
        made |= {"whitened": True, "far_from_middle": float(np.quantile(away_N, _FAR_QUANTILE))}
    return AtlasFile(
        ids=points.ids,
        labels=list(labels),
        starts=[record.sequence[:STARTS] for record in points.records],
        lengths_N=points.lengths_N,
        place_N2=layout.place_N2,
        reduced_NK=layout.reduced_NK,
        mean_D=layout.pca.mean_D,
        axes_KD=layout.pca.axes_KD,
        share_P=share_P,
        accuracy_P=accuracy_P,
        settings=made,
    )


def _calibrated(
    reduced_NK: np.ndarray, labels: Sequence[str], fold_N: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """The curve of the map's own calls, and the distance to the nearest neighbour that few of its points exceed."""
    none = np.zeros(0), np.zeros(0), float("inf")
    if fold_N is None:
        return none
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
        found = nearest(points_NK[test], _NEIGHBOURS, among_MD=points_NK[known])
        votes = vote_by_distance(found, number_N[known], len(names))
        share[test], right[test] = votes.max(axis=1), votes.argmax(axis=1) == number_N[test]
        away.append(found.distance_NK[:, 0])
    if not away:
        return none
    # Each label counts the same, so that the confidence does not lean on how many of each the atlas holds.
    weight = 1 / np.bincount(number_N)[number_N]
    return *rising_curve(share, right, weight), float(np.quantile(np.concatenate(away), _FAR_QUANTILE))


def vote_by_distance(neighbours: Neighbours, label_N: np.ndarray, labels: int) -> np.ndarray:
    """(N, L) shares of the labels among the neighbours; a near one weighs up to eleven times as much as the last."""
    weight = 1 / (0.1 + neighbours.distance_NK / np.maximum(neighbours.distance_NK[:, -1:], 1e-12))
    share = np.zeros((len(weight), labels))
    np.add.at(share, (np.arange(len(weight))[:, None], label_N[neighbours.index_NK]), weight)
    return share / share.sum(axis=1, keepdims=True)


def rising_curve(share_N: np.ndarray, right_N: np.ndarray, weight_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A rising curve from the winner's share of votes to the chance that it is right, one point for each step.

    Returns:
        (P,) shares, ascending, and (P,) how often calls with such a share were right (isotonic regression).
    """
    order = np.argsort(share_N, kind="stable")
    share_S, accuracy_S, weight_S, calls_S = _rising(share_N[order], right_N[order], weight_N[order])
    # One call beyond doubt proves no certainty: each step is drawn towards the mean by two calls, the mean towards a
    # half. Steps of few calls move most, and those that moved past a neighbour are joined with it.
    mean = (accuracy_S @ weight_S + weight_N.mean()) / (weight_S.sum() + 2 * weight_N.mean())
    drawn_S = (calls_S * accuracy_S + 2 * mean) / (calls_S + 2)
    return _rising(share_S, drawn_S, weight_S)[:2]


def _rising(share_N: np.ndarray, right_N: np.ndarray, weight_N: np.ndarray) -> Any:
    """Mean share, mean of what is right, weight and number of calls of each step of the isotonic regression."""
    found = isotonic_regression(right_N, weights=weight_N)
    starts = found.blocks[:-1]
    weight_S = found.weights
    share_S = np.add.reduceat(share_N * weight_N, starts) / weight_S
    return share_S, found.x[starts], weight_S, weight_S**2 / np.add.reduceat(weight_N**2, starts)


def confidence(share_N: np.ndarray, share_P: np.ndarray, accuracy_P: np.ndarray) -> np.ndarray:
    """(N,) chance of a right call, 0 to 1, by straight lines between the curve's points; NaN without a curve."""
    return np.interp(share_N, share_P, accuracy_P) if len(share_P) else np.full(len(share_N), np.nan)


_EPOCHS = 100
_RATE = 0.25
_REPELLERS = 5
_CLIP = 4.0
_BLOCK = 1024


def place(neighbours: Neighbours, map_N2: np.ndarray, curve: Curve | None = None, *, seed: int = 0) -> np.ndarray:
    """(M, 2) float32 places of new points by their neighbours on the map; on maps that are no UMAP, the mean of these.

    Args:
        seed: of the repelling points.
    """
    map_N2 = np.asarray(map_N2, dtype=np.float64)
    weight_MK = _edge_weights(neighbours.distance_NK.astype(np.float64))
    share_MK = weight_MK / weight_MK.sum(axis=1, keepdims=True)
    result_M2 = np.einsum("mk,mkc->mc", share_MK, map_N2[neighbours.index_NK])
    if curve is not None:
        for start in range(0, len(result_M2), _BLOCK):
            rows = slice(start, start + _BLOCK)
            result_M2[rows] = _settled(result_M2[rows], neighbours.index_NK[rows], weight_MK[rows], map_N2, curve, seed)
    same_M = neighbours.distance_NK[:, 0] == 0
    result_M2[same_M] = map_N2[neighbours.index_NK[same_M, 0]]
    return result_M2.astype(np.float32)


def _edge_weights(far_MK: np.ndarray) -> np.ndarray:
    """exp(-d / s) with s such that a row's weights sum to log2(K)."""
    count = far_MK.shape[1]
    target = np.log2(max(count, 2))
    low, high = np.zeros(len(far_MK)), np.full(len(far_MK), np.inf)
    width = np.ones(len(far_MK))
    for _ in range(64):
        above = np.exp(-far_MK / width[:, None]).sum(axis=1) > target
        high, low = np.where(above, width, high), np.where(above, low, width)
        width = np.where(np.isinf(high), 2 * width, (low + np.minimum(high, 1e300)) / 2)
    width = np.maximum(width, 1e-3 * np.maximum(far_MK.mean(axis=1), 1e-12))
    # In the exponent the nearest is taken off: a point far from everything keeps weights.
    return np.exp(-(far_MK - far_MK[:, :1]) / width[:, None])


def _settled(
    place_M2: np.ndarray, index_MK: np.ndarray, weight_MK: np.ndarray, map_N2: np.ndarray, curve: Curve, seed: int
) -> np.ndarray:
    rng, (a, b) = np.random.default_rng(seed), curve
    place_M2 = place_M2.copy()
    for epoch in range(_EPOCHS):
        away = place_M2[:, None] - map_N2[index_MK]
        square = (away**2).sum(axis=2)
        power = np.where(square > 0, np.maximum(square, 1e-12) ** (b - 1), 0.0)
        strength = -2 * a * b * power / (a * power * square + 1)
        pull_M2 = (weight_MK[:, :, None] * np.clip(strength[:, :, None] * away, -_CLIP, _CLIP)).sum(axis=1)
        repeller_R2 = map_N2[rng.integers(0, len(map_N2), size=_REPELLERS * index_MK.shape[1])]
        away = place_M2[:, None] - repeller_R2
        square = (away**2).sum(axis=2)
        strength = 2 * b / ((0.001 + square) * (a * square**b + 1))
        push_M2 = np.clip(strength[:, :, None] * away, -_CLIP, _CLIP).mean(axis=1)
        push_M2 *= _REPELLERS * weight_MK.sum(axis=1, keepdims=True)
        place_M2 += _RATE * (1 - epoch / _EPOCHS) * (pull_M2 + push_M2)
    return place_M2


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
    made = atlas.settings
    pca = PCA(atlas.mean_D, atlas.axes_KD, np.zeros(0), bool(made.get("whitened", False)))
    reduced_MK = pca.project(vectors_MD)
    outside_M = pca.from_middle(vectors_MD) > made.get("far_from_middle", np.inf)
    if made["method"] == "pca":
        place_M2 = plane_of(reduced_MK)
    else:
        every = nearest(reduced_MK, int(made["neighbours"]) + 1, among_MD=atlas.reduced_NK)
        place_M2 = place(every, atlas.place_N2, (made["a"], made["b"]) if "a" in made else None, seed=seed)
    found = nearest(reduced_MK, _NEIGHBOURS, among_MD=atlas.reduced_NK[known])
    votes_ML = vote_by_distance(found, number_N, len(names))
    sure_M = confidence(votes_ML.max(axis=1), atlas.share_P, atlas.accuracy_P)
    far_M = outside_M | (found.distance_NK[:, 0] > made.get("far", np.inf))
    calls = []
    for k, (x, y) in enumerate(place_M2.tolist()):
        order = np.argsort(-votes_ML[k], kind="stable")
        second = str(names[order[1]]) if len(order) > 1 and votes_ML[k, order[1]] > 0 else ""
        near = [
            (atlas.ids[known[n]], atlas.labels[known[n]], float(distance))
            for n, distance in zip(found.index_NK[k], found.distance_NK[k], strict=True)
        ]
        calls.append(TypeCall(x, y, str(names[order[0]]), float(sure_M[k]), second, bool(far_M[k]), near))
    return calls


def call_row(name: str, length: int, call: TypeCall, format: str) -> list[Any]:
    """The row of a new sequence in the table of calls; unknown values are None."""
    near: Any = call.neighbours
    if format == "tsv":
        near = ";".join(f"{neighbour}={label}:{far:.3g}" for neighbour, label, far in call.neighbours)
    sure = None if np.isnan(call.confidence) else round(call.confidence, 4)
    return [name, call.label, sure, call.runner_up, call.far, call.x, call.y, length or None, near]
