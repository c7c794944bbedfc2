"""HDF5 files of chains: a group for each with the attribute ``sequence`` and ``distance``, ``contact``, or both.

``distance`` is (L, L) in Å, NaN where unknown; ``contact`` (L, L) int8, 1 contact, 0 none, -1 unknown. The attribute
``similar_in_distance_set`` may name chains of another file that are nearly the same. Shape suffix: L residues.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rnafm_cli.errors import InputError
from rnafm_cli.io.coordinates import COORDINATE_SUFFIXES, is_named_like_a_structure, read_coordinates
from rnafm_cli.io.journal import NewHdf5
from rnafm_cli.io.names import hdf5_key
from rnafm_cli.io.provenance import Provenance, stamped
from rnafm_cli.rna.chains import Chain

__all__ = ["is_hdf5", "read_chains", "read_hdf5_chains", "write_chains"]


_SIGNATURE = b"\x89HDF\r\n\x1a\n"


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
    if source.is_file() and is_hdf5(source):
        return read_hdf5_chains(source)
    if source.is_file() and not is_named_like_a_structure(source):
        known = ", ".join(COORDINATE_SUFFIXES)
        raise InputError(
            f"{path}: is neither HDF5 nor named like a structure", hint=f"names end in {known}, compressed or not"
        )
    return read_coordinates(source, **coordinate_options)


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 files do."""
    try:
        with path.open("rb") as handle:
            return handle.read(len(_SIGNATURE)) == _SIGNATURE
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_hdf5_chains(path: str | Path) -> list[Chain]:
    """All chains of an HDF5 file, in its order.

    Raises:
        InputError: when the file is damaged, or a group is no chain.
    """
    try:
        with h5py.File(path, "r") as file:
            chains = [_chain(key, file[key], str(path)) for key in file]
    except OSError as error:
        raise InputError(f"{path}: is no readable HDF5 file ({error})") from error
    if not chains:
        raise InputError(f"{path}: holds no chains")
    return chains


def write_chains(chains: Iterable[Chain], path: Path, *, provenance: Provenance) -> None:
    """Write chains as an HDF5 file that appears whole or not at all."""
    output = NewHdf5(path, track_order=True)
    with output as file:
        file.attrs.update(stamped(provenance))
        for chain in chains:
            group = file.create_group(hdf5_key(chain.id))
            group.attrs["sequence"] = chain.sequence
            packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
            if chain.distance_LL is not None:
                group.create_dataset("distance", data=chain.distance_LL.astype(np.float16), **packed)
            else:
                group.create_dataset("contact", data=chain.contacts(), **packed)
            output.check()


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
