"""HDF5 files of base-pair probabilities: one (L, L) data set per record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.journal import NewHdf5
from rnafm_cli.io.names import HDF5_SUFFIXES, DistinctNames, hdf5_key, refuse_suffix
from rnafm_cli.io.provenance import Provenance, stamped
from rnafm_cli.io.streams import STDIO
from rnafm_cli.rna.records import SequenceRecord, StructureRecord

__all__ = ["PairProbabilityWriter", "read_matched_probabilities", "read_pair_probabilities"]


FORMAT = "rnafm-pair-probabilities"
FORMAT_VERSION = 1


class PairProbabilityWriter:
    """Writes pair probabilities to an HDF5 file that takes its name when it is complete.

    Use as a context manager; left by an exception it leaves nothing behind. Data sets ``/<id>`` are (L, L),
    symmetric, compressed, row i for nucleotide i + 1; their attributes hold id, description and sequence.

    Args:
        provenance: what made the probabilities; file attributes.
        half: store float16 instead of float32.
        force: replace an existing file.

    Raises:
        UsageError: for stdout, a folder, or a file that exists.
    """

    def __init__(self, path: str | Path, *, provenance: Provenance, half: bool = False, force: bool = False) -> None:
        if str(path) == STDIO:
            raise UsageError("HDF5 cannot be written to stdout", hint="name a file, --probs FILE.h5")
        refuse_suffix(path, HDF5_SUFFIXES, "HDF5", "name it .h5")
        self._output = NewHdf5(Path(path), force=force, track_order=True)
        self._dtype = np.dtype(np.float16 if half else np.float32)
        self._attributes = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **stamped(provenance),
            "dtype": self._dtype.name,
        }
        self._names = DistinctNames(hdf5_key, kind="data set name")
        self._file: h5py.File | None = None

    def __enter__(self) -> Self:
        self._file = self._output.__enter__()
        self._file.attrs.update(self._attributes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._output.__exit__(kind, error, trace)

    def claim(self, record: SequenceRecord) -> None:
        """Reserve a record's name, before anything is computed for it.

        Raises:
            InputError: when an earlier record has that name.
        """
        self._names.claim(record)

    def add(self, record: SequenceRecord, probs_LL: np.ndarray) -> None:
        """Store one record's probabilities, (L, L) symmetric.

        Raises:
            InputError: when an earlier record has its name and it was not claimed.
            RnafmError: when the disk is full.
        """
        if self._file is None:
            raise ValueError("a PairProbabilityWriter is used inside its with block")
        key = self._names.name(record)
        if key not in self._names:
            self._names.claim(record)
        made = self._file.create_dataset(
            key, data=probs_LL.astype(self._dtype), compression="gzip", compression_opts=1, shuffle=True
        )
        self._describe(made, record)

    def _describe(self, made: h5py.Dataset | h5py.Group, record: SequenceRecord) -> None:
        """Note which record it is, and see that it was written."""
        made.attrs.update({"id": record.id, "description": record.description, "length": len(record.sequence)})
        # Attributes of HDF5 end at 64 kB.
        if len(record.sequence) < 60_000:
            made.attrs["sequence"] = record.sequence
        self._output.check()


def read_pair_probabilities(path: str | Path) -> Iterator[tuple[SequenceRecord, np.ndarray]]:
    """Yield (record, (L, L) float32) of a file of pair probabilities, in the order written.

    Raises:
        InputError: for a file that is none.
    """
    with _opened(path) as file:
        if file.attrs.get("format") != FORMAT:
            raise InputError(f"{path}: holds no pair probabilities of rnafm")
        for data in file.values():
            attributes = data.attrs
            record = SequenceRecord(
                str(attributes["id"]),
                str(attributes.get("sequence", "")),
                description=str(attributes["description"]),
                source=str(path),
            )
            yield record, data[()].astype(np.float32)


def read_matched_probabilities(
    path: str | Path, records: Iterable[StructureRecord]
) -> Iterator[tuple[StructureRecord, NDArray[np.float32] | None]]:
    """Yield given records with their probabilities, from any HDF5 file with an (L, L) data set per id at its root.

    The probabilities are None where the file holds no data set of that id.

    Raises:
        InputError: when the file is no HDF5 file, or a data set is not (L, L) with values between 0 and 1.
    """
    with _opened(path) as file:
        for record in records:
            key = hdf5_key(record.id)
            if key not in file:
                yield record, None
                continue
            stored = file[key]
            if not isinstance(stored, h5py.Dataset) or stored.shape != (len(record), len(record)):
                shape = getattr(stored, "shape", "a group")
                raise InputError(f"{path}: '{key}' is {shape}, the RNA has {len(record)} bases")
            probs_LL = np.asarray(stored, dtype=np.float32)
            # Half precision and sums in float32 leave the interval by a hair.
            if not (np.isfinite(probs_LL).all() and probs_LL.min() >= -1e-3 and probs_LL.max() <= 1.001):
                raise InputError(f"{path}: '{key}' holds values that are no probabilities")
            yield record, probs_LL


def _opened(path: str | Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        reason = "no such file" if not Path(path).exists() else "is no readable HDF5 file"
        raise InputError(f"{path}: {reason}", hint="'rnafm fold --probs' writes one") from error
