"""HDF5 files of (L, L) maps by RNA: base-pair probabilities, predicted contacts and distances, and known chains.

* Pair probabilities: data sets ``/<id>``.
* Predictions: ``/<id>/contact`` probabilities of a contact, ``/<id>/distance`` and ``/<id>/sd`` in Å.
* Chains: ``/<id>/distance`` in Å, NaN where unknown, or ``/<id>/contact``, int8: 1 contact, 0 none, -1 unknown. The
  attribute ``similar_in_distance_set`` may name chains of another file that are nearly the same.

The attribute ``sequence`` is the RNA. Shape suffix: L bases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.coordinates import COORDINATE_SUFFIXES, is_named_like_a_structure, read_coordinates
from rnafm_cli.io.hdf5 import Hdf5Output, Provenance, new_hdf5, open_hdf5, stamped
from rnafm_cli.io.names import HDF5_SUFFIXES, DistinctNames, hdf5_key, refuse_suffix
from rnafm_cli.io.streams import STDIO, check_target
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.records import SequenceRecord, StructureRecord

_FORMAT = "rnafm-pair-probabilities"
TERTIARY_FORMAT = "rnafm-tertiary-maps"
_FORMAT_VERSION = 1
_PACKED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


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

    option = "--probs"
    attributes: ClassVar[dict[str, str]] = {"format": _FORMAT}

    def __init__(self, path: str | Path, *, provenance: Provenance, half: bool = False, force: bool = False) -> None:
        if str(path) == STDIO:
            raise UsageError("HDF5 cannot be written to stdout", hint=f"name a file, {self.option} FILE.h5")
        refuse_suffix(path, HDF5_SUFFIXES, "HDF5", "name it .h5")
        check_target(path, force=force)
        self._dtype = np.dtype(np.float16 if half else np.float32)
        self._attributes = {"format_version": _FORMAT_VERSION, **stamped(provenance), "dtype": self._dtype.name}
        self._names = DistinctNames(hdf5_key, kind="data set name")
        self._output: AbstractContextManager[Hdf5Output] = new_hdf5(path, force=force, track_order=True)

    def __enter__(self) -> Self:
        self._file = self._output.__enter__()
        self._file.attrs.update(self.attributes | self._attributes)
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
        made = self._file.create_dataset(self._key(record), data=probs_LL.astype(self._dtype), **_PACKED)
        self._describe(made, record)

    def _key(self, record: SequenceRecord) -> str:
        key = self._names.name(record)
        return key if key in self._names else self._names.claim(record)

    def _describe(self, made: h5py.Dataset | h5py.Group, record: SequenceRecord) -> None:
        """Note which record it is, and see that it was written."""
        made.attrs.update({"id": record.id, "description": record.description, "length": len(record.sequence)})
        # Attributes of HDF5 end at 64 kB.
        if len(record.sequence) < 60_000:
            made.attrs["sequence"] = record.sequence
        self._file.check()


class TertiaryMapWriter(PairProbabilityWriter):
    """Writes maps of predicted contacts and distances; used as :class:`PairProbabilityWriter`."""

    option = "--h5"
    attributes: ClassVar[dict[str, str]] = {"format": TERTIARY_FORMAT, "distance_unit": "angstrom"}

    def add_maps(self, record: SequenceRecord, maps: Mapping[str, NDArray[np.floating]]) -> None:
        """Store an RNA's maps by name (``contact``, ``distance``, ``sd``), each (L, L) symmetric.

        Raises:
            InputError: when an earlier record has its name and it was not claimed.
            RnafmError: when the disk is full.
        """
        group = self._file.create_group(self._key(record))
        for name, map_LL in maps.items():
            group.create_dataset(name, data=np.asarray(map_LL).astype(self._dtype), **_PACKED)
        self._describe(group, record)


_HINT = "'rnafm fold --probs' writes one"


def read_pair_probabilities(path: str | Path) -> Iterator[tuple[SequenceRecord, np.ndarray]]:
    """Yield (record, (L, L) float32) of a file of pair probabilities, in the order written.

    Raises:
        InputError: for a file that is none.
    """
    with open_hdf5(path, hint=_HINT) as file:
        if file.attrs.get("format") != _FORMAT:
            raise InputError(f"{path}: holds no pair probabilities of rnafm")
        for key in file:
            told = (data := file[key]).attrs
            record = SequenceRecord(
                str(told["id"]), str(told.get("sequence", "")), description=str(told["description"]), source=str(path)
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
    with open_hdf5(path, hint=_HINT) as file:
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


def read_chains(path: str | Path, **coordinate_options: Any) -> list[Chain]:
    """Chains of an HDF5 file, of a PDB or mmCIF file, or of a folder of such files.

    Args:
        coordinate_options: passed to :func:`rnafm_cli.io.coordinates.read_coordinates`.

    Raises:
        InputError: when the path holds no chains.
    """
    source = Path(path)
    if not source.exists():
        raise InputError(f"{path}: no such file or folder")
    if h5py.is_hdf5(source):
        return read_hdf5_chains(source)
    if source.is_file() and not is_named_like_a_structure(source):
        known = ", ".join(COORDINATE_SUFFIXES)
        raise InputError(
            f"{path}: is neither HDF5 nor named like a structure", hint=f"names end in {known}, compressed or not"
        )
    return read_coordinates(source, **coordinate_options)


def read_hdf5_chains(path: str | Path) -> list[Chain]:
    """All chains of an HDF5 file, in its order.

    Raises:
        InputError: when the file is damaged, or a group is no chain.
    """
    with open_hdf5(path) as file:
        chains = [_chain(key, file[key], str(path)) for key in file]
    if not chains:
        raise InputError(f"{path}: holds no chains")
    return chains


def _chain(key: str, group: Any, source: str) -> Chain:
    where = f"{source}: '{key}'"
    if not isinstance(group, h5py.Group) or "sequence" not in group.attrs:
        raise InputError(f"{where}: is no group with an attribute 'sequence'", hint="docs/3d.md shows the layout")
    distance = group["distance"][()].astype(np.float32) if "distance" in group else None
    contact = group["contact"][()].astype(np.int8) if "contact" in group and distance is None else None
    if distance is None and contact is None:
        raise InputError(f"{where}: holds neither 'distance' nor 'contact'", hint="docs/3d.md shows the layout")
    similar = group.attrs.get("similar_in_distance_set", "")
    names = re.split(r"[\s,;]+", similar) if isinstance(similar, str) else list(similar)
    sequence = str(group.attrs["sequence"])
    return Chain(key, sequence, distance, contact, tuple(str(n).strip() for n in names if str(n).strip()), source)
