"""An atlas on disk: what is needed to place new sequences on it, and its tables.

Shape suffixes: N points, D width of the embeddings, K principal axes, P points of the calibration.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rnafm_cli import __version__
from rnafm_cli.errors import InputError
from rnafm_cli.io.journal import NewHdf5
from rnafm_cli.io.provenance import plain
from rnafm_cli.io.streams import open_output
from rnafm_cli.io.tables import TableWriter

FORMAT = "rnafm-atlas"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class AtlasFile:
    """A map with labelled points."""

    ids: list[str]
    labels: list[str]
    """``""`` where there is none."""
    roles: list[str]
    starts: list[str]
    """First bases."""
    lengths_N: np.ndarray
    cluster_N: np.ndarray
    place_N2: np.ndarray
    reduced_NK: np.ndarray
    mean_D: np.ndarray
    axes_KD: np.ndarray
    share_P: np.ndarray
    """Winner's share of votes, ascending."""
    accuracy_P: np.ndarray
    """How often a call with that share was right."""
    settings: Mapping[str, Any]
    """What made it: ``model``, ``weights_sha256``, ``layer``, ``method``, ``neighbours``, ``a``, ``b``, ``seed``,
    ``far`` (distance to the nearest neighbour that one point in a hundred exceeds), ..."""


_TEXTS = ("ids", "labels", "roles", "starts")
_ARRAYS = {
    "lengths": ("lengths_N", np.int64),
    "clusters": ("cluster_N", np.int32),
    "coordinates": ("place_N2", np.float32),
    "vectors": ("reduced_NK", np.float16),
    "pca_mean": ("mean_D", np.float32),
    "pca_axes": ("axes_KD", np.float32),
    "vote_share": ("share_P", np.float64),
    "vote_accuracy": ("accuracy_P", np.float64),
}


def write_atlas_file(path: str | Path, atlas: AtlasFile) -> None:
    """Write an atlas; the same atlas gives the same bytes. The file appears whole or not at all."""
    with NewHdf5(Path(path), libver="v108") as file:
        file.attrs.update({"format": FORMAT, "format_version": FORMAT_VERSION, "rnafm_version": __version__})
        file.attrs.update({key: value for key, value in atlas.settings.items() if value is not None})
        for name in _TEXTS:
            _store(file, name, np.char.encode(np.asarray(getattr(atlas, name), dtype=np.str_), "utf-8"))
        for name, (field, kind) in _ARRAYS.items():
            _store(file, name, np.asarray(getattr(atlas, field), dtype=kind))


def _store(file: h5py.File, name: str, values: np.ndarray) -> None:
    small = values.size < 64 or values.dtype.itemsize == 0
    values = values.astype("S1") if values.dtype.itemsize == 0 else values
    file.create_dataset(name, data=values, track_times=False, **({} if small else {"compression": "gzip"}))


def read_atlas_file(path: str | Path) -> AtlasFile:
    """Read an atlas.

    Raises:
        InputError: when the file is missing, damaged or something else.
    """
    try:
        with h5py.File(path, "r") as file:
            settings = {key: plain(value) for key, value in file.attrs.items()}
            if settings.get("format") != FORMAT:
                raise InputError(f"{path}: is not an atlas", hint="give the atlas.h5 that 'rnafm atlas' wrote")
            texts: dict[str, Any] = {name: [value.decode() for value in file[name][:]] for name in _TEXTS}
            arrays: dict[str, Any] = {field: file[name][:] for name, (field, _) in _ARRAYS.items()}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a readable atlas ({error})") from error
    arrays["reduced_NK"] = arrays["reduced_NK"].astype(np.float32)
    return AtlasFile(**texts, **arrays, settings=settings)


CALL_COLUMNS = ("id", "label", "confidence", "runner_up", "far", "x", "y", "length", "neighbours")


def write_points(
    path: Path,
    ids: Sequence[str],
    place_N2: np.ndarray,
    labels: Sequence[str],
    cluster_N: np.ndarray,
    lengths_N: np.ndarray,
    time_N: np.ndarray | None = None,
) -> None:
    """One row a sequence in input order: ``id x y label cluster pseudotime length``.

    Clusters count from 1; what is not known is empty.
    """
    with open_output(path) as sink:
        table = TableWriter(sink, ("id", "x", "y", "label", "cluster", "pseudotime", "length"))
        for k, identifier in enumerate(ids):
            time = None if time_N is None or not np.isfinite(time_N[k]) else float(time_N[k])
            x, y = map(float, place_N2[k])
            table.write([identifier, x, y, labels[k], int(cluster_N[k]) + 1, time, int(lengths_N[k]) or None])
        table.flush()


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Any table; a number that is none (NaN) is an empty cell."""
    with open_output(path) as sink:
        table = TableWriter(sink, columns)
        for row in rows:
            table.write({name: _known(value) for name, value in row.items()})
        table.flush()


def call_row(identifier: str, length: int, call: Any, *, format: str = "tsv") -> list[Any]:
    """The row of a new sequence in :data:`CALL_COLUMNS`.

    Args:
        call: with ``label``, ``confidence``, ``runner_up``, ``far``, ``x``, ``y`` and ``neighbours``, each an id, a
            label and a distance.
    """
    near: Any = [list(neighbour) for neighbour in call.neighbours]
    if format == "tsv":
        near = ";".join(f"{name}={label}:{far:.3g}" for name, label, far in call.neighbours)
    return [
        identifier,
        call.label,
        _known(round(call.confidence, 4)),
        call.runner_up,
        call.far,
        call.x,
        call.y,
        length or None,
        near,
    ]


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
