"""Predicted contact and distance maps of known chains, from HDF5 files or tables of pairs.

HDF5: as ``rnafm contact --h5`` writes it, or any file with an (L, L) data set per id at its root. Tables: as the
commands write them, with the columns ``id i j`` (from 1) and ``p`` or ``distance``. Shape suffix: L residues.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.io.chain_files import is_hdf5
from rnafm_cli.io.names import hdf5_key
from rnafm_cli.io.streams import STDIO, input_name, open_text
from rnafm_cli.rna.chains import Chain

__all__ = ["MAP_NAMES", "read_maps"]

MAP_NAMES = {"contact": "contact", "distance": "distance"}
_VALUE_COLUMNS = {"contact": "p", "distance": "distance"}
_KNOWN_LETTERS = set("ACGU")


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
    if str(path) != STDIO and Path(path).is_file() and is_hdf5(Path(path)):
        return _from_hdf5(Path(path), chains, task)
    return _from_table(path, chains, task)


def _from_hdf5(path: Path, chains: Sequence[Chain], task: str) -> dict[str, NDArray[np.float32]]:
    found = {}
    try:
        with h5py.File(path, "r") as file:
            for chain in chains:
                key = hdf5_key(chain.id)
                if key in file:
                    found[chain.id] = _stored_map(file[key], chain, task, f"{path}: '{key}'")
    except OSError as error:
        raise InputError(f"{path}: is no readable HDF5 file ({error})") from error
    return found


def _stored_map(stored: Any, chain: Chain, task: str, where: str) -> NDArray[np.float32]:
    if isinstance(stored, h5py.Group):
        if MAP_NAMES[task] not in stored:
            have = ", ".join(stored) or "nothing"
            raise InputError(f"{where}: has no '{MAP_NAMES[task]}', only {have}")
        _check_sequence(str(stored.attrs.get("sequence", "")), chain, where)
        stored = stored[MAP_NAMES[task]]
    if stored.shape != (len(chain), len(chain)):
        raise InputError(f"{where}: is {stored.shape}, the chain has {len(chain)} residues")
    map_LL = np.asarray(stored, dtype=np.float32)
    _check_values(map_LL, task, where)
    return map_LL


def _check_values(map_LL: NDArray[np.float32], task: str, where: str) -> None:
    highest = 1.001 if task == "contact" else np.inf
    if not np.isfinite(map_LL).all() or map_LL.min(initial=0) < -1e-3 or map_LL.max(initial=0) > highest:
        what = "probabilities" if task == "contact" else "distances"
        raise InputError(f"{where}: holds values that are no {what}")


def _check_sequence(sequence: str, chain: Chain, where: str) -> None:
    """Where both know a letter it must be the same."""
    if not sequence:
        return
    pairs = zip(sequence, chain.sequence, strict=False)
    differ = any(a != b for a, b in pairs if a in _KNOWN_LETTERS and b in _KNOWN_LETTERS)
    if len(sequence) != len(chain) or differ:
        raise InputError(f"{where}: is another sequence than that of {chain.where}")


def _from_table(path: str | Path, chains: Sequence[Chain], task: str) -> dict[str, NDArray[np.float32]]:
    name, column = input_name(path), _VALUE_COLUMNS[task]
    known = {chain.id: chain for chain in chains}
    found: dict[str, NDArray[np.float32]] = {}
    with open_text(path) as handle:
        rows = csv.reader(handle, delimiter="\t")
        header = next(rows, [])
        missing = [want for want in ("id", "i", "j", column) if want not in header]
        if missing:
            raise InputError(
                f"{name}: is neither HDF5 nor a table with the column{'s' * (len(missing) > 1)} {', '.join(missing)}",
                hint=f"'rnafm {task}' writes one",
            )
        places = [header.index(want) for want in ("id", "i", "j", column)]
        for number, row in enumerate(rows, start=2):
            try:
                identifier, i, j, value = (row[place] for place in places)
                chain = known.get(identifier)
                if chain is None:
                    continue
                if identifier not in found:
                    empty = 0.0 if task == "contact" else np.nan
                    found[identifier] = np.full((len(chain), len(chain)), empty, dtype=np.float32)
                first, second = int(i) - 1, int(j) - 1
                if not 0 <= min(first, second) or not max(first, second) < len(chain):
                    raise InputError(f"{name}:{number}: '{identifier}' has no pair {i} {j}, only {len(chain)} residues")
                found[identifier][first, second] = found[identifier][second, first] = float(value)
            except (ValueError, IndexError) as error:
                raise InputError(f"{name}:{number}: is no row of pairs ({error})") from error
    for identifier, map_LL in found.items():
        if task == "distance":
            np.fill_diagonal(map_LL, 0.0)
            if np.isnan(map_LL).any():
                raise InputError(
                    f"{name}: lacks pairs of '{identifier}'", hint="write them all: no --max-distance, no --top"
                )
        _check_values(map_LL, task, f"{name}: '{identifier}'")
    return found
