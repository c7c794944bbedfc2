"""Sparse pair probabilities of many sequences on disk, so that training never folds one twice.

One HDF5 file of flat arrays: ``digest`` (n, 16) of the sequence, ``end`` (n,) where its pairs stop, and for every pair
``row`` < ``column`` (0-based) and ``probability`` in units of 1/65535; the attribute ``parameters`` names the energy
parameters. Shape suffix: L nucleotides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.io.hdf5 import new_hdf5
from rnafm_cli.rna.thermo import TURNER, Parameters, check_parameters, pair_probabilities, version

_CUTOFF = 5e-4
_UNIT = np.float32(1.0 / 65535)
_SAVE_EVERY = 200
_COLUMNS = ("row", "column", "probability")
_Columns = tuple[NDArray[np.uint16], ...]


class PriorCache:
    """The file at ``path`` read into memory; it need not exist yet.

    ``cache[sequence]`` is (L, L) float32 and symmetric, computed where it is not there yet, and written down now and
    then and by :meth:`save`.

    Args:
        parameters: energy parameters, see :func:`rnafm_cli.rna.thermo.pair_probabilities`.

    Raises:
        ConfigError: for unknown parameters.
        InputError: when the file is something else, or holds what other parameters gave.
    """

    def __init__(self, path: Path, parameters: Parameters = TURNER) -> None:
        check_parameters(parameters)
        self._path, self.parameters, self._unsaved = path, parameters, 0
        self._known: dict[bytes, _Columns] = self._read() if path.exists() and path.stat().st_size else {}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, sequence: str) -> bool:
        return _digest(sequence) in self._known

    def __getitem__(self, sequence: str) -> NDArray[np.float32]:
        digest = _digest(sequence)
        if digest not in self._known:
            p_LL = pair_probabilities(sequence, parameters=self.parameters)
            row, column = np.nonzero(np.triu(p_LL, 1) >= _CUTOFF)
            units = np.round(p_LL[row, column] / _UNIT)
            self._known[digest] = row.astype(np.uint16), column.astype(np.uint16), units.astype(np.uint16)
            self._unsaved += 1
            if self._unsaved >= _SAVE_EVERY:
                self.save()
        rows, columns, probabilities = self._known[digest]
        found_LL = np.zeros((len(sequence), len(sequence)), dtype=np.float32)
        found_LL[rows, columns] = found_LL[columns, rows] = probabilities * _UNIT
        return found_LL

    def add_missing(self, sequences: Iterable[str], *, report: Callable[[int, int], None] | None = None) -> int:
        """Compute and write down what is not there yet: of how many sequences.

        Args:
            report: called with (done, total) now and then.
        """
        missing = sorted({sequence for sequence in sequences if sequence not in self}, key=len)
        for done, sequence in enumerate(missing, start=1):
            _ = self[sequence]
            if report is not None and (done % _SAVE_EVERY == 0 or done == len(missing)):
                report(done, len(missing))
        self.save()
        return len(missing)

    def save(self) -> None:
        """Write down what was computed; a run that is killed leaves the file as it was."""
        if not self._unsaved:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with new_hdf5(self._path) as file:
            file.attrs["viennarna"] = version() or ""
            file.attrs["parameters"] = " ".join(self.parameters)
            file["digest"] = np.frombuffer(b"".join(self._known), dtype=np.uint8).reshape(-1, 16)
            for name, parts in zip(_COLUMNS, zip(*self._known.values(), strict=True), strict=True):
                file[name] = np.concatenate(parts)
            file["end"] = np.cumsum([len(row) for row, *_ in self._known.values()])
        self._unsaved = 0

    def _read(self) -> dict[bytes, _Columns]:
        try:
            with h5py.File(self._path, "r") as file:
                made_with, wanted = str(file.attrs.get("parameters", TURNER[0])), " ".join(self.parameters)
                ends, digests = file["end"][:].tolist(), file["digest"][:]
                columns = [np.split(file[name][: ends[-1] if ends else 0], ends[:-1]) for name in _COLUMNS]
        except (OSError, KeyError) as error:
            raise InputError(
                f"{self._path}: not a file of cached pair probabilities ({error})", hint="remove it: it is made again"
            ) from error
        if made_with != wanted:
            problem = f"{self._path}: holds pair probabilities of the parameters {made_with}, not {wanted}"
            raise InputError(problem, hint="keep them in another file")
        return {digest.tobytes(): tuple(parts) for digest, *parts in zip(digests[: len(ends)], *columns, strict=False)}


def _digest(sequence: str) -> bytes:
    return hashlib.blake2b(sequence.encode(), digest_size=16).digest()
