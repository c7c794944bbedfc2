"""How embeddings lie in an HDF5 file: a data set per record, or one growing matrix.

Shape suffixes: N records, L nucleotides (codons), D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5p, h5s, h5t

from rnafm_cli.errors import UsageError
from rnafm_cli.io.names import hdf5_key
from rnafm_cli.rna.records import SequenceRecord

__all__ = ["LAYOUTS", "Layout", "MatrixLayout", "RecordLayout"]

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
