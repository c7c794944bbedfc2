"""HDF5 files of (L, L) maps by RNA: base-pair probabilities, predicted contacts and distances, and known chains.

* Pair probabilities: data sets ``/<id>``.
* Predictions: ``/<id>/contact`` probabilities of a contact, ``/<id>/distance`` and ``/<id>/sd`` in Å.
* Chains: ``/<id>/distance`` in Å, NaN where unknown, or ``/<id>/contact``, int8: 1 contact, 0 none, -1 unknown. The
  attribute ``similar_in_distance_set`` may name chains of another file that are nearly the same.

The attribute ``sequence`` is the RNA. Shape suffix: L bases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.coordinates import COORDINATE_SUFFIXES, is_named_like_a_structure, read_coordinates
from rnafm_cli.io.hdf5 import Hdf5Output, Provenance, new_hdf5, open_hdf5, stamped
from rnafm_cli.io.names import HDF5_SUFFIXES, DistinctNames, hdf5_key, refuse_suffix
from rnafm_cli.io.streams import STDIO
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.records import SequenceRecord

PAIRS, TERTIARY = "rnafm-pair-probabilities", "rnafm-tertiary-maps"
"""What a file says of its format."""
_FORMAT_VERSION = 1
_PACKED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


class MapWriter:
    """Writes the maps of RNAs to a file of :func:`map_writer`."""

    def __init__(self, file: Hdf5Output, dtype: np.dtype[Any]) -> None:
        self._file, self._dtype = file, dtype
        self._names = DistinctNames(hdf5_key, kind="data set name")

    def claim(self, record: SequenceRecord) -> None:
        """Reserve a record's name, before anything is computed for it.

        Raises:
            InputError: when an earlier record has that name.
        """
        self._names.claim(record)

    def add(self, record: SequenceRecord, maps: np.ndarray | Mapping[str, np.ndarray]) -> None:
        """Store a record's map, or its maps by name; each is (L, L) and symmetric.

        Raises:
            InputError: when an earlier record has its name and it was not claimed.
            RnafmError: when the disk is full.
        """
        key = self._names.name(record)
        if key not in self._names:
            self.claim(record)
        made: h5py.Dataset | h5py.Group
        if isinstance(maps, np.ndarray):
            made = self._file.create_dataset(key, data=maps.astype(self._dtype), **_PACKED)
        else:
            made = self._file.create_group(key)
            for name, map_LL in maps.items():
                made.create_dataset(name, data=map_LL.astype(self._dtype), **_PACKED)
        made.attrs.update({"id": record.id, "description": record.description, "length": len(record)})
        # Attributes of HDF5 end at 64 kB.
        if len(record) < 60_000:
            made.attrs["sequence"] = record.sequence
        self._file.check()


@contextmanager
def map_writer(
    path: str | Path, format: str, *, provenance: Provenance, half: bool = False, force: bool = False
) -> Iterator[MapWriter]:
    """An HDF5 file for the time of a ``with`` block; it takes its name when it is complete.

    Row i of a map is of nucleotide i + 1; attributes hold id, description and sequence.

    Args:
        format: ``PAIRS``, one map for each RNA, or ``TERTIARY``, several by name.
        provenance: what made the maps; file attributes.
        half: store float16 instead of float32.
        force: replace an existing file.

    Raises:
        UsageError: for stdout, a folder, or a file that exists.
    """
    if str(path) == STDIO:
        raise UsageError("HDF5 cannot be written to stdout", hint="name a file, FILE.h5")
    refuse_suffix(path, HDF5_SUFFIXES, "HDF5", "name it .h5")
    dtype = np.dtype(np.float16 if half else np.float32)
    with new_hdf5(path, force=force, track_order=True) as file:
        file.attrs.update({"format": format, "format_version": _FORMAT_VERSION, **stamped(provenance)})
        file.attrs["dtype"] = dtype.name
        if format == TERTIARY:
            file.attrs["distance_unit"] = "angstrom"
        yield MapWriter(file, dtype)


def read_pair_probabilities(path: str | Path) -> Iterator[tuple[SequenceRecord, np.ndarray]]:
    """Yield (record, (L, L) float32) of a file of pair probabilities, in the order written.

    Raises:
        InputError: for a file that is none.
    """
    with open_hdf5(path, hint="'rnafm fold --probs' writes one") as file:
        if file.attrs.get("format") != PAIRS:
            raise InputError(f"{path}: holds no pair probabilities of rnafm")
        for key in file:
            told = (data := file[key]).attrs
            record = SequenceRecord(
                str(told["id"]), str(told.get("sequence", "")), description=str(told["description"]), source=str(path)
            )
            yield record, data[()].astype(np.float32)


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
        with open_hdf5(path) as file:
            chains = [_chain(key, file[key], str(path)) for key in file]
        if not chains:
            raise InputError(f"{path}: holds no chains")
        return chains
    if source.is_file() and not is_named_like_a_structure(source):
        known = ", ".join(COORDINATE_SUFFIXES)
        raise InputError(
            f"{path}: is neither HDF5 nor named like a structure", hint=f"names end in {known}, compressed or not"
        )
    return read_coordinates(source, **coordinate_options)


def _chain(key: str, group: Any, source: str) -> Chain:
    if not isinstance(group, h5py.Group) or "sequence" not in group.attrs or not {"distance", "contact"} & set(group):
        raise InputError(
            f"{source}: '{key}' is no group with an attribute 'sequence' and a data set 'distance' or 'contact'",
            hint="docs/3d.md shows the layout",
        )
    distance_LL: NDArray[np.float32] | None = None
    contact_LL: NDArray[np.int8] | None = None
    if "distance" in group:
        distance_LL = group["distance"][()].astype(np.float32)
    else:
        contact_LL = group["contact"][()].astype(np.int8)
    similar = group.attrs.get("similar_in_distance_set", "")
    names = re.split(r"[\s,;]+", similar) if isinstance(similar, str) else map(str, similar)
    listed = tuple(name.strip() for name in names if name.strip())
    return Chain(key, str(group.attrs["sequence"]), distance_LL, contact_LL, listed, source)
