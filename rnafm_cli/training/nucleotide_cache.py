"""Values of every nucleotide of many sequences, computed once and kept as bytes in a file.

A frozen encoder and a thermodynamic folding cost far more than a small convolutional head, so a run that shows each
row several times computes their results once. Shape suffixes: L nucleotides, K channels, N nucleotides of a sample.
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

from rnafm_cli.data.buckets import buckets
from rnafm_cli.data.thermo import pair_probabilities
from rnafm_cli.errors import ConfigError
from rnafm_cli.models.encoder import Encoder
from rnafm_cli.models.pair import letter_codes
from rnafm_cli.models.reduction import Reduction
from rnafm_cli.training.batch_embeddings import embed_batch

__all__ = ["NucleotideCache", "embed_reduced", "fit_reduction", "unpaired_probabilities"]

_SAMPLE = 100_000
"""Nucleotides that the axes of a reduction are found on."""
_BATCH_LETTERS = 8192
_SAVE_EVERY = 2000

Compute = Callable[[list[str]], list[np.ndarray]]
"""From sequences of similar length to an (L, K) array each."""


class NucleotideCache:
    """Values between -``limit`` and ``limit``, in 255 steps; ``cache[k]`` is (L, K) float32 of sequence k.

    Two files, ``NAME.i8`` and ``NAME.json``; the second says what the first is of and how many sequences are done,
    so that a run that was stopped goes on.

    Args:
        path: of the two files, without suffix.
        identity: whatever else must be the same for the files to be used again, such as the encoder's SHA-256.

    Raises:
        ConfigError: when the files belong to other sequences or were made in another way.
    """

    def __init__(self, path: Path, sequences: Sequence[str], *, channels: int, limit: float, identity: str) -> None:
        self._sequences = list(sequences)
        self._path, self._state_path = path.with_name(path.name + ".i8"), path.with_name(path.name + ".json")
        self._ends = np.cumsum([0, *map(len, self._sequences)])
        self._steps = np.float32(127 / limit)
        digest = hashlib.sha256("\n".join(self._sequences).encode()).hexdigest()
        self._about = {"sequences": digest, "identity": identity, "channels": channels, "limit": limit}
        self._done = self._resumed()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        mode: Any = "r+" if self._done else "w+"
        shape = (max(1, int(self._ends[-1])), channels)
        self._values = np.memmap(self._path, dtype=np.int8, mode=mode, shape=shape)

    def __getitem__(self, number: int) -> np.ndarray:
        """(L, K) float32."""
        return self._values[self._ends[number] : self._ends[number + 1]].astype(np.float32) / self._steps

    def fill(
        self,
        compute: Compute,
        *,
        report: Callable[[int, int], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Compute what is missing.

        Args:
            report: called with (done, total) each time some are saved.
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
            self._note()
            if report is not None:
                report(self._done, len(self._sequences))
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

    def _note(self) -> None:
        scratch = self._state_path.with_name(self._state_path.name + ".tmp")
        scratch.write_text(json.dumps({**self._about, "done": self._done}), encoding="utf-8")
        os.replace(scratch, self._state_path)


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
