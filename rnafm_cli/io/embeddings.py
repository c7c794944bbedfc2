"""Embeddings on disk: HDF5 with a data set per record or one matrix, or upstream's folder of ``.npy`` files.

An HDF5 file that a process leaves between two writes is nonsense. So records first go to the end of ``NAME.tmp``: for
each a line of JSON that describes it, then its numbers. What a kill leaves there is whole but for the last record, and
can be continued; the HDF5 file is made from it in the end. Shape suffixes: N records, L nucleotides (codons), D width.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import h5py
import numpy as np

from rnafm_cli.errors import InputError, RnafmError, UsageError
from rnafm_cli.io.hdf5 import Hdf5Output, Provenance, attributes_of, new_hdf5, open_hdf5, stamped
from rnafm_cli.io.names import DistinctNames, hdf5_key, npy_stem
from rnafm_cli.io.streams import STDIO, atomic_path, check_target, writing
from rnafm_cli.rna.records import SequenceRecord

try:
    import fcntl
except ImportError:  # pragma: no cover - there is no fcntl on Windows
    fcntl = None  # type: ignore[assignment]


_FORMAT = "rnafm-embeddings"
_FORMAT_VERSION = 1
_ROWS_AT_ONCE = 4096
_PASSING = frozenset({"created", "command", "rnafm_version", "device", "threads", "dim"})
"""Attributes that may differ between a run and the one that continues it."""


def sequence_hash(sequence: str) -> str:
    """SHA-256 (hex) of a clean sequence, by which a resumed run knows its records."""
    return hashlib.sha256(sequence.encode()).hexdigest()


class EmbeddingWriter:
    """Writes records and their embeddings to an HDF5 file that appears when it is complete.

    Use as a context manager. Leaving it well puts the file in its place; leaving it by an exception keeps what was
    added in ``PATH.tmp``, and a :class:`RnafmError` on its way out gets a hint on how to go on.

    Args:
        path: the file to make.
        provenance: what made the embeddings (model, weights_sha256, layer, pooling, dim, ...); file attributes.
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
        layout: Literal["per-record", "matrix"] = "per-record",
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
        made_by = {"format": _FORMAT, "format_version": _FORMAT_VERSION, **stamped(provenance)}
        self._made_by: dict[str, Any] = made_by | {"layout": layout, "dtype": self._dtype.name}
        self._force, self._resume, self._advice = force, resume, advice
        self._key = str if layout == "matrix" else hdf5_key
        self._names = DistinctNames(self._key, kind="data set name")
        self._extends = False
        self._hashes: dict[str, str] = {}
        self._safe = 0

    @property
    def count(self) -> int:
        """Records that are stored, those of earlier runs included; a kill at this moment leaves them."""
        return len(self._hashes)

    def __enter__(self) -> Self:
        self._check_target()
        self._part = self._open_part()
        fresh = not self.partial.stat().st_size
        try:
            if fresh:
                self._extends = self._resume and self.path.exists()
                self._append(_line({**self._made_by, "extends": self._extends}))
            else:
                self._take_up_part()
            if self._extends:
                self._take_up_complete()
        except BaseException:
            self._close(keep=not fresh)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        except RnafmError as failure:
            self._advise(failure)
            raise
        finally:
            if isinstance(error, RnafmError):
                self._advise(error)
            self._close(keep=self._safe > 0)

    def holds_another(self, record: SequenceRecord) -> bool:
        """Whether an earlier run stored another sequence under this record's name."""
        stored = self._hashes.get(self._names.name(record))
        return stored is not None and stored != sequence_hash(record.sequence)

    def done(self, record: SequenceRecord) -> bool:
        """Whether an earlier run stored this record, so that it need not be computed again; ask once per record.

        Raises:
            InputError: when two records share a name, or the file holds the name with another sequence.
        """
        name = self._names.claim(record)
        if self.holds_another(record):
            raise InputError(
                f"{record.where}: {self.path} holds this id with another sequence",
                hint="write to another file, or start over with --force",
            )
        return name in self._hashes

    def todo(self, records: Iterable[SequenceRecord], skipped: Callable[[], None]) -> Iterator[SequenceRecord]:
        """The records that are not done; ``skipped`` is called for each of the others."""
        for record in records:
            if self.done(record):
                skipped()
            else:
                yield record

    def add(self, record: SequenceRecord, array: np.ndarray) -> None:
        """Store one record that is not done: (L, D) with row i for nucleotide (codon) i, or (D,) when pooled.

        Raises:
            RnafmError: when the disk is full; earlier records are safe.
        """
        digest = sequence_hash(record.sequence)
        numbers = np.ascontiguousarray(array, self._dtype).tobytes()
        told = {
            "id": record.id,
            "original_id": record.id,
            "description": record.description,
            "sequence_sha256": digest,
            "length": len(record.sequence),
        }
        self._append(_line({**told, "shape": array.shape, "bytes": len(numbers)}) + numbers)
        self._hashes[self._names.name(record)] = digest
        self._safe += 1

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        with writing(self.partial):
            while view:
                view = view[self._part.write(view) :]

    def _check_target(self) -> None:
        if self._force and self._resume:
            raise UsageError("--force and --resume contradict each other")
        check_target(self.path)
        if self.partial.is_symlink():
            raise UsageError(f"{self.partial}: is a link", hint="remove it: the embeddings grow under this name")
        if self.path.exists() and not (self._force or self._resume):
            raise UsageError(f"{self.path}: exists", hint="--force replaces it, --resume adds the records it lacks")

    def _open_part(self) -> BinaryIO:
        """``PATH.tmp`` to append to, for this process alone."""
        with writing(self.partial):
            part = self.partial.open("ab", buffering=0)
        try:
            if fcntl is not None:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            part.close()
            raise UsageError(f"{self.partial}: another process is writing it", hint="wait for it to end") from error
        except OSError:  # pragma: no cover - some network file systems have no locks
            pass
        if self._force:
            part.truncate(0)
        elif not self._resume and self.partial.stat().st_size:
            part.close()
            raise UsageError(
                f"{self.partial}: an interrupted run left this", hint="--resume continues it, --force starts over"
            )
        return part

    def _take_up_part(self) -> None:
        """Learn what an interrupted run stored, and cut off what it did not end."""
        try:
            entries = list(_entries(self.partial))
            head = entries[0][0]
            self._extends = head.pop("extends") and self.path.exists()
            self._check_provenance(self.partial, head)
            self._made_by = head
            self._hashes = {self._key(told["id"]): told["sequence_sha256"] for told, _, _ in entries[1:]}
            self._safe = len(self._hashes)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UsageError(f"{self.partial}: is damaged ({error})", hint="--force starts over") from error
        self._part.truncate(entries[-1][-1])

    def _take_up_complete(self) -> None:
        """Learn what the file holds that is added to."""
        try:
            with h5py.File(self.path, "r") as file:
                self._check_provenance(self.path, attributes_of(file))
                self._made_by = attributes_of(file)
                if self._made_by["layout"] == "matrix":
                    found = dict(zip(file["ids"].asstr()[:], file["sequence_sha256"].asstr()[:], strict=True))
                else:
                    found = {key: str(data.attrs.get("sequence_sha256", "")) for key, data in file.items()}
        except (OSError, KeyError, RuntimeError) as error:
            raise UsageError(f"{self.path}: is no HDF5 file to add to", hint="--force replaces it") from error
        self._hashes = found | self._hashes

    def _check_provenance(self, path: Path, stored: Mapping[str, Any]) -> None:
        if stored.get("format") != _FORMAT:
            raise UsageError(f"{path}: was not made by rnafm embed", hint="--force replaces it")
        for key in sorted((stored.keys() | self._made_by.keys()) - _PASSING):
            if stored.get(key) != self._made_by.get(key):
                raise UsageError(
                    f"{path}: was made with {key} {stored.get(key)}, this run has {self._made_by.get(key)}",
                    hint="resume with the options of the first run, or start over with --force",
                )

    def _finish(self) -> None:
        """Make the HDF5 file, unless it is there and nothing is to be added."""
        if self._extends and not self._safe:
            return
        earlier = read_embeddings(self.path) if self._extends else ()
        with new_hdf5(self.path, track_order=True) as file:
            file.attrs.update(self._made_by)
            records = itertools.chain(earlier, _read_part(self.partial))
            if self._made_by["layout"] == "matrix":
                _store_matrix(file, records, count=self.count, dtype=self._dtype)
            else:
                _store_records(file, records)
        self._safe = 0

    def _advise(self, error: RnafmError) -> None:
        if self._safe:
            number = f"{self._safe} record{'s are' if self._safe > 1 else ' is'}"
            safe = f"{number} safe in {self.partial}: {self._advice}"
            error.hint = f"{error.hint}; {safe}" if error.hint else safe

    def _close(self, *, keep: bool) -> None:
        if not keep:
            self.partial.unlink(missing_ok=True)
        if fcntl is not None:
            # Worker processes may have the file open, too, and would keep the lock.
            with contextlib.suppress(OSError):
                fcntl.flock(self._part, fcntl.LOCK_UN)
        self._part.close()


class NpyFolder:
    """Writes ``<id>.npy`` for each record, as upstream does; spaces and ``/`` in the id become ``_``.

    Used as :class:`EmbeddingWriter`; every record is a whole file as soon as it is added.

    Raises:
        UsageError: for a file, or a folder that holds something when ``force`` is off.
        InputError: when two records share a file name.
    """

    def __init__(self, path: Path, *, half: bool = False, force: bool = False) -> None:
        self._path, self._dtype = path, np.dtype(np.float16 if half else np.float32)
        self._names = DistinctNames(npy_stem, kind="file name")
        self.count = 0
        if path.is_file():
            raise UsageError(f"{path}: is a file", hint="name a folder")
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        if not force and any(path.iterdir()):
            raise UsageError(f"{path}: is not empty", hint="--force replaces files in it")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *of_error: object) -> None: ...

    def todo(self, records: Iterable[SequenceRecord], skipped: Callable[[], None]) -> Iterator[SequenceRecord]:
        """All records, each once its file name is known to be free."""
        for record in records:
            self._names.claim(record)
            yield record

    def add(self, record: SequenceRecord, array: np.ndarray) -> None:
        """Store one record: (L, D) with row i for nucleotide (codon) i, or (D,) when pooled."""
        target = self._path / f"{self._names.name(record)}.npy"
        with writing(target), atomic_path(target) as path, path.open("wb") as handle:
            np.save(handle, np.ascontiguousarray(array, self._dtype))
        self.count += 1


def _line(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told).encode() + b"\n"


def _entries(part: Path) -> Iterator[tuple[dict[str, Any], int, int]]:
    """The head of a ``NAME.tmp``, then the line of each whole record, with start and end of its numbers.

    Raises:
        ValueError: for a line that is no JSON.
    """
    with part.open("rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        while (line := handle.readline()).endswith(b"\n"):
            told = json.loads(line)
            start = handle.tell()
            end = start + told.get("bytes", 0)
            if end > size:
                return
            yield told, start, end
            handle.seek(end)


Stored = tuple[str, np.ndarray, dict[str, Any]]


def _read_part(part: Path) -> Iterator[Stored]:
    """The records of a ``NAME.tmp``."""
    entries = _entries(part)
    dtype = next(entries)[0]["dtype"]
    with part.open("rb") as handle:
        for told, start, _ in entries:
            handle.seek(start)
            values = np.frombuffer(handle.read(told.pop("bytes")), dtype).reshape(told.pop("shape"))
            yield told["id"], values, told


def _store_records(file: Hdf5Output, records: Iterable[Stored]) -> None:
    """Root data sets named by the id, with the attributes that bio_embeddings' readers look for."""
    for identifier, array, attributes in records:
        file.create_dataset(hdf5_key(identifier), data=array).attrs.update(attributes)
        file.check()


def _store_matrix(file: Hdf5Output, records: Iterator[Stored], *, count: int, dtype: np.dtype) -> None:
    """Pooled vectors as rows of ``/embeddings``; ``/ids``, ``/lengths`` and ``/sequence_sha256`` beside it."""
    vectors = file.create_dataset("embeddings", (count, file.attrs["dim"]), dtype)
    ids = file.create_dataset("ids", (count,), h5py.string_dtype())
    lengths = file.create_dataset("lengths", (count,), np.int64)
    digests = file.create_dataset("sequence_sha256", (count,), "S64")
    for start in range(0, count, _ROWS_AT_ONCE):
        block = list(itertools.islice(records, _ROWS_AT_ONCE))
        rows = slice(start, start + len(block))
        ids[rows] = [identifier for identifier, _, _ in block]
        vectors[rows] = np.stack([vector_D for _, vector_D, _ in block])
        lengths[rows] = [told["length"] for _, _, told in block]
        digests[rows] = [told["sequence_sha256"].encode() for _, _, told in block]
        file.check()


def read_embeddings(path: str | Path) -> Iterator[Stored]:
    """Yield (id, array, attributes) of each record in stored order: (L, D) or (D,), as stored.

    Reads both layouts, a folder of ``.npy`` files, HDF5 files of other tools that keep one data set per record at the
    root (then without attributes beyond their own), and what a killed run left in ``NAME.tmp``.

    Raises:
        InputError: when the path is missing, damaged or holds something else.
    """
    source = Path(path)
    if source.is_dir():
        yield from _read_npy_folder(source)
    elif source.is_file() and _begins_as_part(source):
        try:
            yield from _read_part(source)
        except (ValueError, KeyError) as error:
            raise InputError(f"{path}: is damaged ({error})") from error
    else:
        with open_hdf5(path) as file:
            yield from (_read_matrix if file.attrs.get("layout") == "matrix" else _read_records)(file)


def _begins_as_part(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(1) == b"{"


def _read_records(file: h5py.File) -> Iterator[Stored]:
    for key in file:
        # items() would pass over what is damaged.
        if isinstance(data := file[key], h5py.Dataset):
            attributes = attributes_of(data)
            yield str(attributes.get("id", attributes.get("original_id", key))), data[()], attributes


def _read_matrix(file: h5py.File) -> Iterator[Stored]:
    for start in range(0, len(file["ids"]), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        columns = [file["ids"].asstr()[rows], file["embeddings"][rows], file["lengths"][rows].tolist()]
        columns.append(file["sequence_sha256"].asstr()[rows] if "sequence_sha256" in file else [""] * _ROWS_AT_ONCE)
        for identifier, row_D, length, digest in zip(*columns, strict=False):
            yield identifier, row_D, {"id": identifier, "length": length, "sequence_sha256": digest}


def read_provenance(path: str | Path) -> dict[str, Any]:
    """What made an embeddings file, as plain Python values; empty where nothing is said, as for a folder.

    Raises:
        InputError: when it is neither an HDF5 file nor a folder.
    """
    if Path(path).is_dir():
        return {}
    with open_hdf5(path) as file:
        return attributes_of(file)


def _read_npy_folder(folder: Path) -> Iterator[Stored]:
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise InputError(f"{folder}: holds no .npy file")
    for file in files:
        try:
            yield file.stem, np.load(file, allow_pickle=False), {}
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{file}: is no readable .npy array ({error})") from error
