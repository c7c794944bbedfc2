"""Embeddings on disk: HDF5 with a data set per record or one matrix, or a folder of ``.npy`` files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rnafm_cli.errors import InputError
from rnafm_cli.io.embedding_layouts import LAYOUTS
from rnafm_cli.io.hdf5_embeddings import EmbeddingWriter, LayoutName
from rnafm_cli.io.journal import JournaledFile, journal_of
from rnafm_cli.io.npy_folder import NpyDirWriter, read_folder_provenance, read_npy_folder
from rnafm_cli.io.provenance import Provenance, plain, sequence_hash

__all__ = [
    "EmbeddingWriter",
    "LayoutName",
    "NpyDirWriter",
    "Provenance",
    "read_embeddings",
    "read_provenance",
    "sequence_hash",
]


def read_provenance(path: str | Path) -> dict[str, Any]:
    """What made an embeddings file or folder, as plain Python values; empty where nothing is said.

    Raises:
        InputError: when it is neither an HDF5 file nor a folder, or its provenance is damaged.
    """
    if Path(path).is_dir():
        return read_folder_provenance(path)
    with _open_for_reading(path) as file:
        return {key: plain(value) for key, value in file.attrs.items()}


def read_embeddings(path: str | Path) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    """Yield (id, array, attributes) of each record in stored order: (L, D) or (D,), as stored.

    Reads both layouts, a folder of ``.npy`` files, and HDF5 files of other tools that keep one data
    set per record at the root (then without attributes beyond their own). What a killed run left in
    ``NAME.tmp`` is read up to its last commit; one that was under way is finished first.

    Raises:
        InputError: when the path is missing or holds something else.
        UsageError: when a killed run's file is being written again.
    """
    if Path(path).is_dir():
        yield from read_npy_folder(path)
        return
    with _open_for_reading(path) as file:
        try:
            layout = LAYOUTS["matrix" if file.attrs.get("layout") == "matrix" else "per-record"]
            for identifier, array, attributes in layout.read(file):
                yield identifier, array, {key: plain(value) for key, value in attributes.items()}
        except (OSError, KeyError, RuntimeError) as error:
            raise InputError(f"{path}: is damaged ({error})") from error


def _open_for_reading(path: str | Path) -> h5py.File:
    try:
        if journal_of(Path(path)).exists():
            JournaledFile(Path(path)).close()
        return h5py.File(path, "r")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: is not a readable HDF5 file") from error
