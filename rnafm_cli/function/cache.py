"""Values of every nucleotide that are computed once for a run and kept in a file.

A frozen encoder and a thermodynamic folding cost far more than a small convolutional head, which sees each row several
times. Shape suffixes: L positions of a row, K channels, D embedding width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rnafm_cli.encoder.embed import embed_batch
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.workers import buckets
from rnafm_cli.errors import ConfigError
from rnafm_cli.function.heads import Reduction
from rnafm_cli.io.streams import write_error
from rnafm_cli.rna.alphabet import letter_codes
from rnafm_cli.rna.thermo import pair_probabilities
from rnafm_cli.training.trainer import Progress

_SAMPLE = 100_000
"""Nucleotides that the axes of a reduction are found on."""
_BATCH_LETTERS = 8192
_SAVE_EVERY = 2000
_HEADER = hashlib.sha256().digest_size

Compute = Callable[[list[str]], list[np.ndarray]]
"""From sequences of similar length to an (L, K) array each."""


class NucleotideCache:
    """Values between -``limit`` and ``limit``, in 255 steps, of some sequences; ``cache[k]`` is (L, K) of sequence k.

    The file begins with a hash of what it is of and grows by parts: a run that was stopped goes on at its end.

    Args:
        chosen: numbers of the sequences that have values.
        identity: whatever else must be the same for the file to be used again, such as the encoder's SHA-256.

    Raises:
        ConfigError: when the file belongs to other sequences or was made in another way.
    """

    def __init__(
        self,
        path: Path,
        sequences: Sequence[str],
        chosen: NDArray[np.integer],
        *,
        channels: int,
        limit: float,
        identity: str,
    ) -> None:
        self._sequences = [sequences[k] for k in chosen]
        self._places = np.full(len(sequences), -1)
        self._places[chosen] = np.arange(len(chosen))
        self._ends = np.cumsum([0, *map(len, self._sequences)])
        self._path, self._channels, self._steps = path, channels, np.float32(127 / limit)
        about = "\n".join([identity, f"{channels} {limit}", *self._sequences])
        header = hashlib.sha256(about.encode()).digest()
        if not path.exists():
            path.write_bytes(header)
        with path.open("rb") as file:
            if file.read(_HEADER) != header:
                raise ConfigError(
                    f"{path}: belongs to other rows, or another encoder or recipe",
                    hint="start a new run in another folder",
                )

    def __getitem__(self, number: int) -> np.ndarray | None:
        """(L, K) float32; None for a sequence that has no values."""
        place = self._places[number]
        if place < 0:
            return None
        return self._values[self._ends[place] : self._ends[place + 1]].astype(np.float32) / self._steps

    @cached_property
    def _values(self) -> NDArray[np.int8]:
        return np.memmap(self._path, np.int8, "r", offset=_HEADER).reshape(-1, self._channels)

    def fill(self, compute: Compute, progress: Progress, *, stop: Callable[[], bool]) -> bool:
        """Compute what is missing, until ``stop`` says so before a part; whether all is done."""
        total = len(self._sequences)
        kept = (self._path.stat().st_size - _HEADER) // self._channels
        done = int(np.searchsorted(self._ends, kept, side="right")) - 1
        if done < total:
            # Whole parts alone: the batches are the same as in a run that was never stopped.
            done -= done % _SAVE_EVERY
        with self._path.open("r+b") as file:
            file.truncate(_HEADER + int(self._ends[done]) * self._channels)
            file.seek(0, 2)
            while done < total:
                if stop():
                    return False
                part = self._sequences[done : done + _SAVE_EVERY]
                found: dict[int, bytes] = {}
                for group in buckets([len(sequence) + 2 for sequence in part], _BATCH_LETTERS):
                    for k, values_LK in zip(group, compute([part[k] for k in group]), strict=True):
                        found[k] = np.clip(np.round(values_LK * self._steps), -127, 127).astype(np.int8).tobytes()
                try:
                    file.write(b"".join(found[k] for k in range(len(part))))
                    file.flush()
                except OSError as error:
                    raise write_error(self._path, error) from error
                done += len(part)
                progress(self._path.stem, done, total)
        return True


@torch.inference_mode()
def embed_reduced(sequences: list[str], encoder: Encoder, reduction: Reduction, *, bf16: bool) -> list[np.ndarray]:
    """Reduced embeddings of some sequences."""
    return [reduction(rows_LD).cpu().numpy() for rows_LD in embed_batch(encoder, sequences, bf16=bf16)]


def unpaired_probabilities(sequences: list[str]) -> list[np.ndarray]:
    """(L, 1) probability of each nucleotide to be unpaired, by ViennaRNA."""
    return [1.0 - pair_probabilities(sequence).sum(axis=1, keepdims=True) for sequence in sequences]


@torch.inference_mode()
def fit_reduction(reduction: Reduction, encoder: Encoder, sequences: Sequence[str], *, seed: int, bf16: bool) -> None:
    """Find the axes of a reduction on some of the sequences, drawn by a seed."""
    rows: list[np.ndarray] = []
    codes: list[np.ndarray] = []
    order = np.random.default_rng(seed).permutation(len(sequences))
    for first in range(0, len(order), 32):
        part = [sequences[k] for k in order[first : first + 32]]
        rows += [one.cpu().numpy() for one in embed_batch(encoder, part, bf16=bf16)]
        codes += [_trimers(sequence) for sequence in part]
        if sum(map(len, rows)) >= _SAMPLE:
            break
    reduction.fit(np.concatenate(rows), np.concatenate(codes))


def _trimers(sequence: str) -> np.ndarray:
    """(L,) number of each letter with its two neighbours."""
    codes = np.pad(letter_codes(sequence), 1).astype(np.int64)
    return codes[:-2] * 25 + codes[1:-1] * 5 + codes[2:]
