"""Sparse pair probabilities of many sequences on disk, so that training never folds one twice.

One HDF5 file of flat arrays: ``digest`` (n, 16) of the sequence, ``end`` (n,) where its pairs stop, and for every pair
``row`` < ``column`` (0-based) and ``probability`` in units of 1/65535; the attribute ``parameters`` names the energy
parameters. Shape suffix: L nucleotides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from rnafm_cli.errors import InputError
from rnafm_cli.io.hdf5 import new_hdf5
from rnafm_cli.rna.thermo import TURNER, Parameters, check_parameters, pair_probabilities, version

_CUTOFF = 5e-4
_UNIT = 1.0 / 65535
_FLUSH_EVERY = 200


class SparsePairs(NamedTuple):
    """Pair probabilities above the cutoff: ``row`` < ``column`` (0-based) and ``probability`` float32, all (n,)."""

    row: np.ndarray
    column: np.ndarray
    probability: np.ndarray

    def dense(self, length: int) -> np.ndarray:
        """(L, L) float32, symmetric."""
        p_LL = np.zeros((length, length), dtype=np.float32)
        p_LL[self.row, self.column] = self.probability
        p_LL[self.column, self.row] = self.probability
        return p_LL


class PriorCache:
    """The file at ``path`` read into memory; it need not exist yet.

    Args:
        parameters: energy parameters, see :func:`rnafm_cli.rna.thermo.pair_probabilities`.

    Raises:
        ConfigError: for unknown parameters.
        InputError: when the file is something else, or holds what other parameters gave.
    """

    def __init__(self, path: Path, parameters: Parameters = TURNER) -> None:
        check_parameters(parameters)
        self._path, self.parameters = path, parameters
        self._fresh: dict[str, SparsePairs] = {}
        self._unsaved: list[str] = []
        self._digests: dict[bytes, int] = {}
        self._ends = np.zeros(0, dtype=np.int64)
        self._row = self._column = self._probability = np.zeros(0, dtype=np.uint16)
        if path.exists() and path.stat().st_size:
            self._read()

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, sequence: str) -> bool:
        return _digest(sequence) in self._digests

    def __getitem__(self, sequence: str) -> SparsePairs:
        """Pairs of a sequence.

        Raises:
            KeyError: when the sequence was never added.
        """
        number = self._digests[_digest(sequence)]
        part = slice(int(self._ends[number - 1]) if number else 0, int(self._ends[number]))
        return SparsePairs(self._row[part], self._column[part], self._probability[part] * np.float32(_UNIT))

    def of(self, sequence: str) -> SparsePairs:
        """Pairs of a sequence, computed and kept if they are not here yet; :meth:`save` writes them down."""
        if sequence in self:
            return self[sequence]
        if sequence not in self._fresh:
            self._fresh[sequence] = self._fold(sequence)
            self._unsaved.append(sequence)
            if len(self._unsaved) >= _FLUSH_EVERY:
                self.save()
        return self._fresh[sequence]

    def save(self) -> None:
        """Append to the file what :meth:`of` has computed."""
        if self._unsaved:
            self._append(self._unsaved, [self._fresh[sequence] for sequence in self._unsaved])
            self._unsaved = []

    def add_missing(self, sequences: Iterable[str], *, report: Callable[[int, int], None] | None = None) -> int:
        """Fold the sequences that the file lacks (one process) and append them, flushing now and then.

        Args:
            report: called with (done, total) at every flush.

        Returns:
            How many were added.
        """
        missing = sorted({s for s in sequences if s not in self}, key=len)
        for start in range(0, len(missing), _FLUSH_EVERY):
            part = missing[start : start + _FLUSH_EVERY]
            self._append(part, [self._fold(sequence) for sequence in part])
            if report is not None:
                report(start + len(part), len(missing))
        if missing:
            self._read()
        return len(missing)

    def _fold(self, sequence: str) -> SparsePairs:
        return _sparse(pair_probabilities(sequence, parameters=self.parameters))

    def _append(self, sequences: list[str], pairs: list[SparsePairs]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A run that is killed leaves what there was.
        extend = self._path.exists() and self._path.stat().st_size > 0
        with new_hdf5(self._path, extend=extend) as file:
            self._store(file, sequences, pairs)

    def _store(self, file: h5py.File, sequences: list[str], pairs: list[SparsePairs]) -> None:
        if "digest" not in file:
            file.attrs["viennarna"] = version() or ""
            file.attrs["parameters"] = " ".join(self.parameters)
            file.create_dataset("digest", (0, 16), "u1", maxshape=(None, 16), chunks=(1024, 16))
            file.create_dataset("end", (0,), "i8", maxshape=(None,), chunks=(1024,))
            for name in ("row", "column", "probability"):
                file.create_dataset(name, (0,), "u2", maxshape=(None,), chunks=(1 << 16,))
        first = int(file["end"][-1]) if len(file["end"]) else 0
        ends = first + np.cumsum([len(p.row) for p in pairs])
        for name in ("row", "column", "probability"):
            data = np.concatenate([getattr(p, name) for p in pairs])
            if name == "probability":
                data = np.round(data / np.float32(_UNIT))
            file[name].resize(ends[-1], axis=0)
            file[name][first:] = data.astype(np.uint16)
        known = len(file["end"])
        file["digest"].resize(known + len(sequences), axis=0)
        file["digest"][known:] = np.frombuffer(b"".join(map(_digest, sequences)), dtype=np.uint8).reshape(-1, 16)
        file["end"].resize(known + len(sequences), axis=0)
        file["end"][known:] = ends

    def _read(self) -> None:
        try:
            with h5py.File(self._path, "r") as file:
                made_with = str(file.attrs.get("parameters", TURNER[0]))
                self._ends = file["end"][:]
                digests = file["digest"][: len(self._ends)]
                total = int(self._ends[-1]) if len(self._ends) else 0
                self._row, self._column = file["row"][:total], file["column"][:total]
                self._probability = file["probability"][:total]
        except (OSError, KeyError) as error:
            raise InputError(
                f"{self._path}: not a file of cached pair probabilities ({error})", hint="remove it: it is made again"
            ) from error
        wanted = " ".join(self.parameters)
        if made_with != wanted:
            problem = f"{self._path}: holds pair probabilities of the parameters {made_with}, not {wanted}"
            raise InputError(problem, hint="keep them in another file")
        self._digests = {digest.tobytes(): number for number, digest in enumerate(digests)}


def _digest(sequence: str) -> bytes:
    return hashlib.blake2b(sequence.encode(), digest_size=16).digest()


def _sparse(p_LL: np.ndarray) -> SparsePairs:
    row, column = np.nonzero(np.triu(p_LL, 1) >= _CUTOFF)
    # As the file will hold them, so that it makes no difference when they were computed.
    probability = np.round(p_LL[row, column] / np.float32(_UNIT)).astype(np.uint16) * np.float32(_UNIT)
    return SparsePairs(row, column, probability)
