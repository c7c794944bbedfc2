"""The HDF5 file of embeddings while it is written: a data set per record, or one growing matrix.

Shape suffixes: N records, L nucleotides (codons), D width.

A file grows as ``NAME.tmp`` in commits (see :mod:`rnafm_cli.io.journal`) and takes its name when it is
complete, so what has the final name is whole and what a killed run leaves can be continued.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal, Self

import h5py
import numpy as np
from h5py import h5a, h5d, h5p, h5s, h5t

from rnafm_cli.errors import InputError, RnafmError, UsageError
from rnafm_cli.io.journal import JournaledFile, journal_of
from rnafm_cli.io.names import DistinctNames, hdf5_key
from rnafm_cli.io.provenance import Provenance, plain, refuse_other, sequence_hash, stamped
from rnafm_cli.io.streams import STDIO, atomic_path, write_error
from rnafm_cli.rna.records import SequenceRecord

__all__ = ["EmbeddingWriter", "LAYOUTS", "Layout", "LayoutName", "MatrixLayout", "RecordLayout", "Uninterrupted"]


class Uninterrupted:
    """A ``with`` block that SIGINT and SIGTERM handlers written in Python do not cut; they run right after it.

    HDF5 calls back into Python to reach the file. An exception raised there by a signal is lost, or
    leaves the library in the middle of a change.
    """

    def __enter__(self) -> Self:
        self._met: list[int] = []
        self._handlers: dict[int, Any] = {}
        # Python runs its handlers in the main thread only; elsewhere there is nothing to hold back.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for number in self._met:
            signal.raise_signal(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._met.append(number)


Stored = tuple[str, np.ndarray, Mapping[str, Any]]

CHUNK_BYTES = 1 << 18
READ_ROWS = 4096
ROWS_PER_CHUNK = 1024


class Layout(ABC):
    """One way to keep records in an open file."""

    def __init__(self, file: h5py.File, dtype: np.dtype) -> None:
        self.file = file
        self.dtype = dtype
        self._width: int | None = file.attrs.get("dim")

    @staticmethod
    @abstractmethod
    def key(identifier: str) -> str:
        """The name of a record in this layout, from its id."""

    @staticmethod
    @abstractmethod
    def create(file: h5py.File) -> None:
        """Make what an empty file has."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Records in the file."""

    @abstractmethod
    def stored_hash(self, key: str) -> str | None:
        """The sequence hash of the record with that name, None if there is no such record."""

    @abstractmethod
    def stored_id(self, key: str) -> str:
        """The id of the record with that name."""

    @abstractmethod
    def add(self, record: SequenceRecord, key: str, digest: str, array: np.ndarray) -> None:
        """Store a record that is not there yet."""

    @abstractmethod
    def flush(self) -> None:
        """Hand everything to HDF5."""

    @staticmethod
    @abstractmethod
    def read(file: h5py.File) -> Iterator[Stored]:
        """Records in stored order."""

    def check(self, record: SequenceRecord, array: np.ndarray) -> None:
        """Refuse an array that does not fit, before anything is stored of it.

        Raises:
            UsageError: for another width than the file's, or rows where vectors are stored.
        """
        if self._width not in (None, array.shape[-1]):
            raise UsageError(f"{record.where}: {array.shape[-1]} values per vector, the file has {self._width}")

    def _note_width(self, array: np.ndarray) -> None:
        if self._width is None:
            self._width = self.file.attrs["dim"] = array.shape[-1]


class RecordLayout(Layout):
    """Root data sets named by the id, with the attributes that bio_embeddings' readers look for."""

    def __init__(self, file: h5py.File, dtype: np.dtype) -> None:
        super().__init__(file, dtype)
        self._count = len(file)
        # h5py's own create_dataset and attrs take twice as long per record as these calls.
        self._type = h5t.py_create(dtype, logical=True)
        self._text = h5t.py_create(h5py.string_dtype(), logical=True)
        self._object = h5t.py_create(h5py.string_dtype())
        self._number = h5t.py_create(np.dtype(np.int64), logical=True)
        self._scalar = h5s.create(h5s.SCALAR)
        self._untimed = h5p.create(h5p.DATASET_CREATE)
        self._untimed.set_obj_track_times(False)
        self._utf8 = h5p.create(h5p.LINK_CREATE)
        self._utf8.set_char_encoding(h5t.CSET_UTF8)

    @staticmethod
    def key(identifier: str) -> str:
        return hdf5_key(identifier)

    @staticmethod
    def create(file: h5py.File) -> None:
        """An empty file has no data set."""

    @property
    def count(self) -> int:
        return self._count

    def stored_hash(self, key: str) -> str | None:
        if key.encode() not in self.file.id:
            return None
        return str(self.file[key].attrs.get("sequence_sha256", ""))

    def stored_id(self, key: str) -> str:
        return str(self.file[key].attrs.get("id", key))

    def add(self, record: SequenceRecord, key: str, digest: str, array: np.ndarray) -> None:
        self._note_width(array)
        space = h5s.create_simple(array.shape)
        data = h5d.create(self.file.id, key.encode(), self._type, space, self._untimed, self._utf8)
        data.write(h5s.ALL, h5s.ALL, array)
        self._describe(data, b"id", record.id)
        self._describe(data, b"original_id", record.id)
        self._describe(data, b"description", record.description)
        self._describe(data, b"sequence_sha256", digest)
        length = h5a.create(data, b"length", self._number, self._scalar)
        length.write(np.array(len(record.sequence), np.int64))
        self._count += 1

    def _describe(self, data: h5d.DatasetID, name: bytes, value: str) -> None:
        attribute = h5a.create(data, name, self._text, self._scalar)
        attribute.write(np.array(value, dtype=h5py.string_dtype()), mtype=self._object)

    def flush(self) -> None:
        """Data sets go to HDF5 as they come."""

    @staticmethod
    def read(file: h5py.File) -> Iterator[Stored]:
        for key, data in file.items():
            if isinstance(data, h5py.Dataset):
                attributes = dict(data.attrs)
                yield str(attributes.get("id", attributes.get("original_id", key))), data[()], attributes


class MatrixLayout(Layout):
    """Pooled vectors as rows of ``/embeddings``; ``/ids``, ``/lengths`` and ``/sequence_sha256`` beside it."""

    def __init__(self, file: h5py.File, dtype: np.dtype) -> None:
        super().__init__(file, dtype)
        hashes = file["sequence_sha256"].asstr()[:]
        self._hashes: dict[str, str] = dict(zip(file["ids"].asstr()[:], hashes, strict=True))
        self._waiting: list[tuple[SequenceRecord, str, np.ndarray]] = []

    @staticmethod
    def key(identifier: str) -> str:
        return identifier

    @staticmethod
    def create(file: h5py.File) -> None:
        """``/embeddings`` comes with the first record, whose width it takes."""
        for name, kind in (("ids", h5py.string_dtype()), ("lengths", np.int64), ("sequence_sha256", "S64")):
            file.create_dataset(name, shape=(0,), maxshape=(None,), chunks=(ROWS_PER_CHUNK,), dtype=kind)

    @property
    def count(self) -> int:
        return len(self._hashes)

    def stored_hash(self, key: str) -> str | None:
        return self._hashes.get(key)

    def stored_id(self, key: str) -> str:
        return key

    def check(self, record: SequenceRecord, array: np.ndarray) -> None:
        if array.ndim != 1:
            raise UsageError("a matrix takes one vector per record", hint="add --pool mean, max or cls")
        super().check(record, array)

    def add(self, record: SequenceRecord, key: str, digest: str, array: np.ndarray) -> None:
        self._note_width(array)
        self._waiting.append((record, digest, array))
        self._hashes[key] = digest

    def flush(self) -> None:
        if not self._waiting:
            return
        records, digests, arrays = zip(*self._waiting, strict=True)
        self._waiting = []
        rows_ND = np.stack(arrays)
        if "embeddings" not in self.file:
            width = rows_ND.shape[1]
            rows = max(1, CHUNK_BYTES // (width * self.dtype.itemsize))
            self.file.create_dataset(
                "embeddings", shape=(0, width), maxshape=(None, width), chunks=(rows, width), dtype=self.dtype
            )
        self._extend("embeddings", rows_ND)
        self._extend("ids", np.array([record.id for record in records], dtype=h5py.string_dtype()))
        self._extend("lengths", np.array([len(record.sequence) for record in records], np.int64))
        self._extend("sequence_sha256", np.array(digests, "S64"))

    def _extend(self, name: str, values: np.ndarray) -> None:
        data = self.file[name]
        start = data.shape[0]
        data.resize(start + len(values), axis=0)
        data[start:] = values

    @staticmethod
    def read(file: h5py.File) -> Iterator[Stored]:
        for start in range(0, len(file["ids"]), READ_ROWS):
            rows = slice(start, start + READ_ROWS)
            block = zip(
                file["ids"].asstr()[rows],
                file["embeddings"][rows],
                file["lengths"][rows],
                file["sequence_sha256"].asstr()[rows] if "sequence_sha256" in file else [""] * READ_ROWS,
                strict=False,
            )
            for identifier, row_D, length, digest in block:
                yield identifier, row_D, {"id": identifier, "length": length, "sequence_sha256": digest}


LAYOUTS: dict[str, type[Layout]] = {"per-record": RecordLayout, "matrix": MatrixLayout}


FORMAT = "rnafm-embeddings"
FORMAT_VERSION = 1
FLUSH_BYTES = 32 << 20
FLUSH_SECONDS = 1.0

LayoutName = Literal["per-record", "matrix"]


class EmbeddingWriter:
    """Writes records and their embeddings to an HDF5 file that appears when it is complete.

    Use as a context manager. Leaving it well puts the file in its place; leaving it by an exception
    keeps what was added in ``PATH.tmp``, and a :class:`RnafmError` on its way out gets a hint on how to
    go on.

    Args:
        path: the file to make.
        provenance: what made the embeddings (model, weights_sha256, layer, pooling, ...); file attributes.
        layout: ``per-record``: data sets ``/<id>`` of shape (L, D) or (D,); ``matrix``: pooled vectors as
            ``/embeddings`` (N, D) with ``/ids``, ``/lengths`` and ``/sequence_sha256``.
        half: store float16 instead of float32.
        force: replace the file or the rest of an interrupted run.
        resume: continue the rest of an interrupted run, or add to a complete file.
        advice: what an error tells the user to do about the records that are safe.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        provenance: Provenance,
        layout: LayoutName = "per-record",
        half: bool = False,
        force: bool = False,
        resume: bool = False,
        advice: str = "add --resume to go on from there",
    ) -> None:
        if str(path) == STDIO:
            raise UsageError("HDF5 cannot be written to stdout", hint="name a file with -o FILE.h5")
        self.path = Path(os.path.realpath(path))
        self.partial = self.path.with_name(self.path.name + ".tmp")
        self._dtype = np.dtype(np.float16 if half else np.float32)
        self._layout_name = layout
        self._provenance = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **stamped(provenance),
            "layout": layout,
            "dtype": self._dtype.name,
        }
        self._force, self._resume, self._advice = force, resume, advice
        self._names = DistinctNames(LAYOUTS[layout].key, kind="data set name")
        self._raw: JournaledFile | None = None
        self._file: h5py.File | None = None
        self._layout: Layout | None = None
        self._kept = 0
        self._waiting_bytes, self._saved_at = 0, 0.0

    @property
    def count(self) -> int:
        """Records in the file, earlier runs' included."""
        return self._opened.count

    @property
    def kept(self) -> int:
        """Records that a kill at this moment would leave in ``PATH.tmp``."""
        return self._kept

    def __enter__(self) -> Self:
        self._check_target()
        with Uninterrupted():
            if self._resume and not self.partial.exists() and self.path.exists():
                self._open_complete()
            else:
                if not (self._resume and self.partial.exists()):
                    self._create()
                self._open_partial()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with Uninterrupted():
            if error is None:
                self._finish()
            else:
                self._abandon(error)

    def holds_another(self, record: SequenceRecord) -> bool:
        """Whether an earlier run stored another sequence under this record's name."""
        with Uninterrupted():
            stored = self._opened.stored_hash(self._names.name(record))
        return stored is not None and stored != sequence_hash(record.sequence)

    def done(self, record: SequenceRecord) -> bool:
        """Whether an earlier run stored this record, so that it need not be computed again.

        Ask once per record, as it is read: a second record of the same name is refused here, before
        anything is computed for it.

        Raises:
            InputError: when two records share a name, or the file holds the name with another sequence.
        """
        key = self._names.claim(record)
        with Uninterrupted():
            stored = self._opened.stored_hash(key)
        if stored is None:
            return False
        if stored != sequence_hash(record.sequence):
            raise InputError(
                f"{record.where}: {self.path} holds this id with another sequence",
                hint="write to another file, or start over with --force",
            )
        return True

    def add(self, record: SequenceRecord, array: np.ndarray) -> None:
        """Store one record: (L, D) with row i for nucleotide (codon) i, or (D,) when pooled.

        Raises:
            InputError: when two records share a name.
            UsageError: for rows of nucleotides in a matrix.
            RnafmError: when the disk is full; earlier records are safe.
        """
        key = self._names.name(record)
        if key not in self._names:
            self._names.claim(record)
        with Uninterrupted():
            if self._raw is None:
                self._reopen_complete()
            if self._opened.stored_hash(key) is not None:
                raise self._names.collision(record, self._opened.stored_id(key))
            self._opened.check(record, array)
            self._opened.add(record, key, sequence_hash(record.sequence), np.ascontiguousarray(array, self._dtype))
        self._waiting_bytes += array.size * self._dtype.itemsize
        failed = self._raw is not None and self._raw.error is not None
        if failed or self._waiting_bytes >= FLUSH_BYTES or time.monotonic() - self._saved_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Make every record added so far survive the end of the process, however it comes.

        Happens by itself about every second; call it after a batch to be sure.
        """
        if self._raw is None or self._file is None:
            return
        try:
            with Uninterrupted():
                self._opened.flush()
                self._file.flush()
                self._raw.commit()
                self._kept = self._opened.count
        except OSError as error:
            raise write_error(self.partial, error) from error
        self._waiting_bytes, self._saved_at = 0, time.monotonic()

    @property
    def _opened(self) -> Layout:
        if self._layout is None:
            raise ValueError("an EmbeddingWriter is used inside its with block")
        return self._layout

    def _check_target(self) -> None:
        if self._force and self._resume:
            raise UsageError("--force and --resume contradict each other")
        if self.path.is_dir():
            raise UsageError(f"{self.path}: is a folder", hint="name a file")
        if self.path.exists() and not self.path.is_file():
            raise UsageError(f"{self.path}: is no regular file", hint="HDF5 cannot be written to a device or a pipe")
        if not self.path.parent.is_dir():
            raise UsageError(f"{self.path}: there is no folder {self.path.parent}", hint="make it first")
        if self.partial.is_symlink():
            raise UsageError(f"{self.partial}: is a link", hint="remove it: the embeddings grow under this name")
        if self._force or self._resume:
            return
        if self.path.exists():
            raise UsageError(f"{self.path}: exists", hint="--force replaces it, --resume adds the records it lacks")
        if self.partial.exists():
            raise UsageError(
                f"{self.partial}: an interrupted run left this", hint="--resume continues it, --force starts over"
            )

    def _create(self) -> None:
        """Put an empty file of this provenance in the place of ``PATH.tmp``, whole from the start."""
        content = io.BytesIO()
        with h5py.File(content, "w", track_order=True) as file:
            file.attrs.update(self._provenance)
            LAYOUTS[self._layout_name].create(file)
        try:
            if self.partial.exists():
                JournaledFile(self.partial).close()  # refuses while another process is writing it
            with atomic_path(self.partial) as fresh:
                fresh.write_bytes(content.getbuffer())
                journal_of(self.partial).unlink(missing_ok=True)
        except OSError as error:
            raise write_error(self.partial, error) from error

    def _open_partial(self) -> None:
        try:
            self._raw = JournaledFile(self.partial)
        except OSError as error:
            raise write_error(self.partial, error) from error
        try:
            self._use(h5py.File(self._raw, "r+", driver="fileobj"), self.partial)
        except OSError as error:
            self._raw.close()
            raise UsageError(f"{self.partial}: is damaged ({error})", hint="--force starts over") from error
        except RnafmError:
            self._raw.close()
            raise
        self._kept, self._saved_at = self._opened.count, time.monotonic()

    def _open_complete(self) -> None:
        """Look into the complete file; it is touched only when there is a record to add."""
        try:
            self._use(h5py.File(self.path, "r"), self.path)
        except OSError as error:
            raise UsageError(f"{self.path}: is no HDF5 file to add to", hint="--force replaces it") from error

    def _reopen_complete(self) -> None:
        self._close_file()
        try:
            os.replace(self.path, self.partial)
        except OSError as error:
            raise write_error(self.partial, error) from error
        self._open_partial()

    def _use(self, file: h5py.File, path: Path) -> None:
        try:
            self._check_provenance(file, path)
            self._layout = LAYOUTS[self._layout_name](file, self._dtype)
        except BaseException:
            file.close()
            raise
        self._file = file

    def _check_provenance(self, file: h5py.File, path: Path) -> None:
        stored = {key: plain(value) for key, value in file.attrs.items() if key != "dim"}
        if stored.get("format") != FORMAT:
            raise UsageError(f"{path}: was not made by rnafm embed", hint="--force replaces it")
        refuse_other(path, stored, {key: value for key, value in self._provenance.items() if key != "dim"})

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _finish(self) -> None:
        if self._raw is None:
            self._close_file()
            return
        try:
            self.flush()
            self._close_file()
            self._raw.commit()
            self._raw.sync()
            self._raw.close()
            os.replace(self.partial, self.path)
        except (OSError, RnafmError) as error:
            failure = error if isinstance(error, RnafmError) else write_error(self.partial, error)
            self._abandon(failure)
            if failure is error:
                raise
            raise failure from error

    def _abandon(self, error: BaseException) -> None:
        """Close with what was added, or at least what was committed; the first error is the one told."""
        with contextlib.suppress(OSError, RnafmError):
            self.flush()
        with contextlib.suppress(OSError, RuntimeError):
            self._close_file()
        if self._raw is None:
            return
        with contextlib.suppress(OSError):
            self._raw.commit()
        self._raw.close()
        if not self._kept and not self._resume:
            self.partial.unlink(missing_ok=True)
        elif self._kept and isinstance(error, RnafmError):
            number = f"{self._kept} record{'s are' if self._kept > 1 else ' is'}"
            safe = f"{number} safe in {self.partial}: {self._advice}"
            error.hint = f"{error.hint}; {safe}" if error.hint else safe
