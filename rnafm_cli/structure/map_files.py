"""Predicted maps of known RNAs from files.

HDF5, as ``rnafm contact --h5`` and ``rnafm fold --probs`` write it or any file with an (L, L) data set per id at its
root; a table with the columns ``id i j`` (from 1) and ``p`` or ``distance``; contacts also in CASP's RR format. Shape
suffix: L residues.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.io.hdf5 import open_hdf5
from rnafm_cli.io.map_output import read_casprr
from rnafm_cli.io.names import hdf5_key
from rnafm_cli.io.streams import STDIO, input_name, open_text
from rnafm_cli.io.tables import table_rows
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.evaluation import sequence_difference

_VALUE_COLUMNS = {"contact": "p", "distance": "distance"}
_Known = TypeVar("_Known", Chain, StructureRecord)


def read_maps(path: str | Path, chains: Sequence[Chain], task: str) -> dict[str, NDArray[np.float32]]:
    """Predicted maps of chains by id, each (L, L); chains that the file lacks are absent, others are not read.

    In a table of contacts, pairs that are not listed have probability 0; a table of distances has to list all.

    Args:
        task: ``contact`` or ``distance``.

    Raises:
        InputError: when the file is neither, or does not fit the chains.
    """
    if str(path) != STDIO and not Path(path).exists():
        raise InputError(f"{path}: no such file")
    if str(path) != STDIO and h5py.is_hdf5(path):
        return {chain.id: map_LL for chain, map_LL in stored_maps(path, chains, task) if map_LL is not None}
    return _from_table(path, chains, task)


def stored_maps(
    path: str | Path, known: Iterable[_Known], task: str
) -> Iterator[tuple[_Known, NDArray[np.float32] | None]]:
    """Yield known RNAs with their maps of an HDF5 file; None where it holds nothing of that id.

    Args:
        task: ``contact`` or ``distance`` where the file has groups.

    Raises:
        InputError: when the file is no HDF5 file, or a map is not (L, L) with values that can be.
    """
    with open_hdf5(path, hint="'rnafm fold --probs' and 'rnafm contact --h5' write one") as file:
        for rna in known:
            key = hdf5_key(rna.id)
            yield rna, _stored_map(file[key], rna, task, f"{path}: '{key}'") if key in file else None


def _stored_map(stored: Any, rna: Chain | StructureRecord, task: str, where: str) -> NDArray[np.float32]:
    if isinstance(stored, h5py.Group):
        if task not in stored:
            raise InputError(f"{where}: has no '{task}', only {', '.join(stored) or 'nothing'}")
        if sequence_difference(str(stored.attrs.get("sequence", "")) or rna.sequence, rna.sequence):
            raise InputError(f"{where}: is another sequence than that of {rna.where}")
        stored = stored[task]
    if stored.shape != (len(rna), len(rna)):
        raise InputError(f"{where}: is {stored.shape}, the RNA has {len(rna)} bases")
    map_LL = np.asarray(stored, dtype=np.float32)
    _check_values(map_LL, task, where)
    return map_LL


def _check_values(map_LL: NDArray[np.float32], task: str, where: str) -> None:
    # Half precision and sums in float32 leave the interval by a hair.
    highest = np.inf if task == "distance" else 1.001
    if not np.isfinite(map_LL).all() or map_LL.min(initial=0) < -1e-3 or map_LL.max(initial=0) > highest:
        raise InputError(f"{where}: holds values that are no {'distances' if task == 'distance' else 'probabilities'}")


def _from_table(path: str | Path, chains: Sequence[Chain], task: str) -> dict[str, NDArray[np.float32]]:
    name, column = input_name(path), _VALUE_COLUMNS[task]
    known = {chain.id: chain for chain in chains}
    found: dict[str, NDArray[np.float32]] = {}
    with open_text(path) as handle:
        first = next((line for line in handle if line.strip()), "")
        is_casp = task == "contact" and first.startswith("PFRMAT")
        text = itertools.chain([first], handle)
        rows = read_casprr(text, name) if is_casp else table_rows(text, name, ("id", "i", "j", column))
        for number, row in rows:
            identifier = row["id"]
            if (chain := known.get(identifier)) is None:
                continue
            if identifier not in found:
                empty = 0.0 if task == "contact" else np.nan
                found[identifier] = np.full((len(chain), len(chain)), empty, dtype=np.float32)
            try:
                i, j, value = int(row["i"]), int(row["j"]), float(row[column])
            except ValueError as error:
                raise InputError(f"{name}:{number}: is no row of pairs ({error})") from error
            if not 1 <= min(i, j) or not max(i, j) <= len(chain):
                raise InputError(f"{name}:{number}: '{identifier}' has no pair {i} {j}, only {len(chain)} residues")
            found[identifier][i - 1, j - 1] = found[identifier][j - 1, i - 1] = value
    for identifier, map_LL in found.items():
        if task == "distance":
            np.fill_diagonal(map_LL, 0.0)
            if np.isnan(map_LL).any():
                raise InputError(
                    f"{name}: lacks pairs of '{identifier}'", hint="write them all: no --max-distance, no --top"
                )
        _check_values(map_LL, task, f"{name}: '{identifier}'")
    return found
