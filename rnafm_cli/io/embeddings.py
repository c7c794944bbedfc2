"""Embeddings on disk: HDF5 with a data set per record or one matrix, or a folder of ``.npy`` files.

``index.tsv`` (file, id, length, sequence_sha256, description) and ``provenance.json`` lie beside them.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import h5py
import numpy as np

from rnafm_cli.errors import InputError, RnafmError, UsageError
from rnafm_cli.io.hdf5_embeddings import LAYOUTS, EmbeddingWriter, LayoutName
from rnafm_cli.io.journal import JournaledFile, journal_of
from rnafm_cli.io.names import DistinctNames, npy_stem
from rnafm_cli.io.provenance import Provenance, plain, refuse_other, sequence_hash, stamped
from rnafm_cli.io.streams import atomic_path, write_error
from rnafm_cli.rna.records import SequenceRecord

__all__ = [
    "EmbeddingWriter",
    "LayoutName",
    "NpyDirWriter",
    "Provenance",
    "read_embeddings",
    "read_folder_provenance",
    "read_npy_folder",
    "read_provenance",
    "sequence_hash",
]


INDEX = "index.tsv"
PROVENANCE = "provenance.json"
COLUMNS = ("file", "id", "length", "sequence_sha256", "description")


class NpyDirWriter:
    """Writes one ``<id>.npy`` per record, spaces and ``/`` in the id as ``_``; each file appears whole.

    The same interface as :class:`~rnafm_cli.io.hdf5_embeddings.EmbeddingWriter`.

    Args:
        path: the folder; made if missing.
        provenance: what made the embeddings; kept in ``provenance.json``.
        half: store float16 instead of float32.
        force: replace the files of an earlier run (those in its index).
        resume: add the records that the folder lacks.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        provenance: Provenance,
        half: bool = False,
        force: bool = False,
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self._dtype = np.dtype(np.float16 if half else np.float32)
        self._provenance = {**stamped(provenance), "dtype": self._dtype.name}
        self._force, self._resume = force, resume
        self._names = DistinctNames(npy_stem, kind="file name")
        self._hashes: dict[str, str] = {}
        self._index: TextIO | None = None

    @property
    def count(self) -> int:
        """Records in the folder, earlier runs' included."""
        return len(self._hashes)

    @property
    def kept(self) -> int:
        """Records that a kill at this moment would leave: all of them."""
        return self.count

    def __enter__(self) -> Self:
        if self._force and self._resume:
            raise UsageError("--force and --resume contradict each other")
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path}: is a file", hint="name a folder")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            raise write_error(self.path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._index is not None:
            with contextlib.suppress(OSError):
                self._index.close()
        if self._hashes and isinstance(error, RnafmError):
            safe = f"{self.count} of the records are safe in {self.path}: add --resume to go on from there"
            error.hint = f"{error.hint}; {safe}" if error.hint else safe

    def done(self, record: SequenceRecord) -> bool:
        """Whether the folder holds this record, so that it need not be computed again.

        Raises:
            InputError: when two records share a file name, or the folder holds the name with another sequence.
        """
        stored = self._hashes.get(self._names.claim(record))
        if stored is not None and stored != sequence_hash(record.sequence):
            raise InputError(
                f"{record.where}: {self.path} holds this id with another sequence",
                hint="write to another folder, or start over with --force",
            )
        return stored is not None

    def add(self, record: SequenceRecord, array: np.ndarray) -> None:
        """Store one record: (L, D) with row i for nucleotide (codon) i, or (D,) when pooled.

        Raises:
            InputError: when two records share a file name.
            RnafmError: when the disk is full; earlier records are safe.
        """
        name = self._names.name(record)
        if name not in self._names:
            self._names.claim(record)
        if name in self._hashes:
            raise self._names.collision(record, record.id)
        if self._index is None:
            raise ValueError("an NpyDirWriter is used inside its with block")
        digest = sequence_hash(record.sequence)
        row = (f"{name}.npy", record.id, str(len(record)), digest, record.description.replace("\t", " "))
        try:
            with atomic_path(self.path / row[0]) as path, path.open("wb") as handle:
                np.save(handle, np.ascontiguousarray(array, self._dtype))
            self._index.write("\t".join(row) + "\n")
            self._index.flush()
        except OSError as error:
            raise write_error(self.path / row[0], error) from error
        self._hashes[name] = digest

    def flush(self) -> None:
        """Nothing: every record is a whole file as soon as it is added."""

    def _open(self) -> None:
        index, provenance = self.path / INDEX, self.path / PROVENANCE
        if self._resume and index.exists():
            self._check_provenance(provenance)
            rows = _index_rows(index)
            self._hashes = {Path(row["file"]).stem: row["sequence_sha256"] for row in rows}
            with atomic_path(index) as path:
                text = "".join("\t".join(row[name] for name in COLUMNS) + "\n" for row in [_HEAD, *rows])
                path.write_text(text, encoding="utf-8")
            self._index = index.open("a", encoding="utf-8")
            return
        if any(self.path.iterdir()) and not self._force:
            raise UsageError(
                f"{self.path}: is not empty", hint="--force replaces its files, --resume adds the records it lacks"
            )
        if index.exists():
            for row in _index_rows(index):
                (self.path / row["file"]).unlink(missing_ok=True)
        with atomic_path(provenance) as path:
            path.write_text(json.dumps(self._provenance, indent=2) + "\n", encoding="utf-8")
        self._index = index.open("w", encoding="utf-8")
        self._index.write("\t".join(COLUMNS) + "\n")
        self._index.flush()

    def _check_provenance(self, path: Path) -> None:
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be read ({error})", hint="--force starts over") from error
        refuse_other(self.path, stored, self._provenance)


def read_npy_folder(path: str | Path) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    """Yield (id, array, attributes) of each ``.npy`` file, in the order of the index or else by name.

    Raises:
        InputError: when there is no ``.npy`` file, or one cannot be read.
    """
    folder = Path(path)
    index = folder / INDEX
    rows = _index_rows(index) if index.exists() else []
    described = {row["file"] for row in rows}
    others = sorted(file for file in folder.glob("*.npy") if file.name not in described)
    rows += [{"file": file.name, "id": file.stem} for file in others]
    if not rows:
        raise InputError(f"{path}: holds no .npy file")
    for row in rows:
        try:
            array = np.load(folder / row["file"], allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{folder / row['file']}: is no readable .npy array ({error})") from error
        yield row["id"], array, {key: int(value) if key == "length" else value for key, value in row.items()}


def read_folder_provenance(path: str | Path) -> dict[str, Any]:
    """What made a folder's embeddings; empty for a folder of another tool.

    Raises:
        InputError: when it is said in a damaged file.
    """
    source = Path(path) / PROVENANCE
    try:
        return dict(json.loads(source.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: cannot be read ({error})") from error


_HEAD = dict(zip(COLUMNS, COLUMNS, strict=True))


def _index_rows(path: Path) -> list[dict[str, str]]:
    """The rows of an index whose files exist; a last line that a kill cut short is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")[1:-1]
    rows = [dict(zip(COLUMNS, line.split("\t"), strict=True)) for line in lines if line.count("\t") == len(COLUMNS) - 1]
    return [row for row in rows if os.path.exists(path.parent / row["file"])]


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
