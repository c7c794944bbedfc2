"""An atlas on disk: what is needed to place new sequences on it.

Shape suffixes: N points, D width of the embeddings, K principal axes, P points of the calibration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rnafm_cli import __version__
from rnafm_cli.errors import InputError
from rnafm_cli.io.provenance import plain
from rnafm_cli.io.streams import atomic_path

__all__ = ["AtlasFile", "read_atlas_file", "write_atlas_file"]

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
    with atomic_path(path) as written, h5py.File(written, "w", libver="v108") as file:
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
                raise InputError(f"{path}: is no atlas", hint="give the atlas.h5 that 'rnafm atlas' wrote")
            texts: dict[str, Any] = {name: [value.decode() for value in file[name][:]] for name in _TEXTS}
            arrays: dict[str, Any] = {field: file[name][:] for name, (field, _) in _ARRAYS.items()}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a readable atlas ({error})") from error
    arrays["reduced_NK"] = arrays["reduced_NK"].astype(np.float32)
    return AtlasFile(**texts, **arrays, settings=settings)
