"""Values of every nucleotide that are computed once for a run and kept in a file.

A frozen encoder and a thermodynamic folding cost far more than a small convolutional head, which sees each row several
times. Shape suffixes: L positions of a row, K channels, D embedding width.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnafm_cli.encoder.embed import embed_batch
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.workers import buckets
from rnafm_cli.errors import ConfigError
from rnafm_cli.function.networks import Reduction
from rnafm_cli.io.streams import write_error, write_json
from rnafm_cli.rna.alphabet import letter_codes
from rnafm_cli.rna.thermo import pair_probabilities
from rnafm_cli.training.trainer import Progress

_SAMPLE = 100_000
"""Nucleotides that the axes of a reduction are found on."""
_BATCH_LETTERS = 8192
_SAVE_EVERY = 2000

Compute = Callable[[list[str]], list[np.ndarray]]
"""From sequences of similar length to an (L, K) array each."""


class NucleotideCache:
    """Values between -``limit`` and ``limit``, in 255 steps, of some sequences; ``cache[k]`` is (L, K) of sequence k.

    Two files, ``NAME.i8`` and ``NAME.json``; the second says what the first is of and how many sequences are done,
    so that a run that was stopped goes on.

    Args:
        path: of the two files, without suffix.
        chosen: numbers of the sequences that have values.
        identity: whatever else must be the same for the files to be used again, such as the encoder's SHA-256.

    Raises:
        ConfigError: when the files belong to other sequences or were made in another way.
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
        self._path, self._state_path = path.with_name(path.name + ".i8"), path.with_name(path.name + ".json")
        self._ends = np.cumsum([0, *map(len, self._sequences)])
        self._steps = np.float32(127 / limit)
        digest = hashlib.sha256("\n".join(self._sequences).encode()).hexdigest()
        self._about = {"sequences": digest, "identity": identity, "channels": channels, "limit": limit}
        self._done = self._resumed()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        shape = (max(1, int(self._ends[-1])), channels)
        if not self._done:
            self._reserve(shape[0] * channels)
        self._values = np.memmap(self._path, dtype=np.int8, mode="r+", shape=shape)

    def __getitem__(self, number: int) -> np.ndarray | None:
        """(L, K) float32; None for a sequence that has no values."""
        place = self._places[number]
        if place < 0:
            return None
        return self._values[self._ends[place] : self._ends[place + 1]].astype(np.float32) / self._steps

    def fill(self, compute: Compute, progress: Progress, *, stop: Callable[[], bool]) -> bool:
        """Compute what is missing.

        Args:
            progress: told how much is done each time some are saved.
            stop: asked before each part; when true, what is done stays for another run.

        Returns:
            Whether all is done.
        """
        while self._done < len(self._sequences):
            if stop():
                return False
            part = range(self._done, min(self._done + _SAVE_EVERY, len(self._sequences)))
            for group in buckets([len(self._sequences[k]) + 2 for k in part], _BATCH_LETTERS):
                found = compute([self._sequences[part[k]] for k in group])
                for k, values_LK in zip(group, found, strict=True):
                    whole = np.clip(np.round(values_LK * self._steps), -127, 127).astype(np.int8)
                    self._values[self._ends[part[k]] : self._ends[part[k] + 1]] = whole
            self._values.flush()
            self._done = part.stop
            write_json(self._state_path, {**self._about, "done": self._done})
            progress(self._path.stem, self._done, len(self._sequences))
        return True

    def _resumed(self) -> int:
        try:
            state: dict[str, Any] = json.loads(self._state_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return 0
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self._state_path}: cannot be read ({error})") from error
        done = state.pop("done", 0)
        if state != self._about or not self._path.exists():
            raise ConfigError(
                f"{self._path}: belongs to other rows, or another encoder or recipe",
                hint="start a new run in another folder",
            )
        return int(done)

    def _reserve(self, size: int) -> None:
        """Make a file of zeros that holds its place: a full disk would end the process when pages are written."""
        try:
            with self._path.open("wb") as handle:
                handle.truncate(size)
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(handle.fileno(), 0, size)
        except OSError as error:
            self._path.unlink(missing_ok=True)
            raise write_error(self._path, error) from error


def embed_reduced(encoder: Encoder, reduction: Reduction, *, bf16: bool) -> Compute:
    """What fills a cache with reduced embeddings."""

    @torch.inference_mode()
    def compute(sequences: list[str]) -> list[np.ndarray]:
        return [reduction(rows_LD).cpu().numpy() for rows_LD in embed_batch(encoder, sequences, bf16=bf16)]

    return compute


def unpaired_probabilities(sequences: list[str]) -> list[np.ndarray]:
    """(L, 1) probability of each nucleotide to be unpaired, by ViennaRNA: what fills a cache of structure."""
    return [1.0 - pair_probabilities(sequence).sum(axis=1, keepdims=True) for sequence in sequences]


def fit_reduction(
    reduction: Reduction, encoder: Encoder, sequences: Sequence[str], *, seed: int = 0, bf16: bool = True
) -> None:
    """Find the axes of a reduction on some of the sequences, drawn by a seed."""
    rows: list[np.ndarray] = []
    codes: list[np.ndarray] = []
    count = 0
    order = np.random.default_rng(seed).permutation(len(sequences))
    for first in range(0, len(order), 32):
        part = [sequences[k] for k in order[first : first + 32]]
        with torch.inference_mode():
            rows += [one.cpu().numpy() for one in embed_batch(encoder, part, bf16=bf16)]
        codes += [_trimers(sequence) for sequence in part]
        count += sum(map(len, part))
        if count >= _SAMPLE:
            break
    reduction.fit(np.concatenate(rows), np.concatenate(codes))


def _trimers(sequence: str) -> np.ndarray:
    """(L,) number of each letter with its two neighbours."""
    codes = np.concatenate([[0], letter_codes(sequence), [0]]).astype(np.int64)
    return codes[:-2] * 25 + codes[1:-1] * 5 + codes[2:]
