"""What function heads read: aligned letters, reduced embeddings, and values of every nucleotide kept in a file.

A frozen encoder and a thermodynamic folding cost far more than a small convolutional head, so a run that shows each
row several times computes their results once.

Shape suffixes: B batch, L positions of a row, K channels, N nucleotides, D embedding width.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rnafm_cli.encoder.embed import embed_batch
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.workers import buckets
from rnafm_cli.errors import ConfigError
from rnafm_cli.io.streams import write_error, write_json
from rnafm_cli.rna.alphabet import letter_codes
from rnafm_cli.rna.thermo import pair_probabilities

Alignment = Literal["middle", "end"]
UNKNOWN = 5
"""Code of a letter other than A, C, G, U; 0 is for positions outside the sequence."""


def offset_of(length: int, width: int, alignment: Alignment) -> int:
    """Column of a row of ``width`` at which a sequence begins."""
    return width - length if alignment == "end" else (width - length) // 2


def aligned_letters(sequences: Sequence[str], width: int, alignment: Alignment) -> Tensor:
    """(B, L) integer codes: 1 to 4 for A, C, G, U, ``UNKNOWN`` for another letter, 0 outside."""
    letters_BL = np.zeros((len(sequences), width), dtype=np.int64)
    for row, sequence in zip(letters_BL, sequences, strict=True):
        codes = letter_codes(sequence)
        start = offset_of(len(codes), width, alignment)
        row[start : start + len(codes)] = np.where(codes == 0, UNKNOWN, codes)
    return torch.from_numpy(letters_BL)


def aligned_rows(
    rows: Sequence[np.ndarray | Tensor | None], width: int, alignment: Alignment, *, channels: int, fill: float = 0.0
) -> Tensor:
    """(B, L, K) float32 of per-nucleotide values, ``fill`` outside and where there are none."""
    values_BLK = torch.full((len(rows), width, channels), fill)
    for number, values in enumerate(rows):
        if values is not None:
            start = offset_of(len(values), width, alignment)
            values_BLK[number, start : start + len(values)] = torch.as_tensor(values).reshape(len(values), channels)
    return values_BLK


CLIP = 4.0
"""Channels end at this many standard deviations, so that they can be kept as bytes."""
_FLOOR = 1e-6


class Reduction(nn.Module):
    """A linear map of embeddings to K channels of about unit variance.

    Its directions are the principal axes of the embeddings' scatter within groups of nucleotides that have the same
    letter and the same two neighbours. What the letters say is told to a head directly; these axes hold the rest.
    """

    mean: Tensor

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.weight = nn.Parameter(torch.zeros(channels, width))

    def forward(self, rows_ND: Tensor) -> Tensor:
        """(..., K) of (..., D), clipped at ``CLIP``."""
        weight = self.weight.to(rows_ND.dtype)
        return ((rows_ND - self.mean.to(rows_ND.dtype)) @ weight.T).clamp(-CLIP, CLIP)

    @torch.no_grad()
    def fit(self, rows_ND: NDArray[np.float32], codes_N: NDArray[np.integer]) -> None:
        """Find the axes from a sample.

        Args:
            rows_ND: embeddings.
            codes_N: number of the group of each row: its letter and its neighbours'.
        """
        rows = rows_ND.astype(np.float64)
        counts = np.bincount(codes_N)
        sums = np.zeros((len(counts), rows.shape[1]))
        np.add.at(sums, codes_N, rows)
        inner = rows - (sums / np.maximum(counts, 1)[:, None])[codes_N]
        values, axes = np.linalg.eigh(inner.T @ inner / len(rows))
        channels = len(self.weight)
        chosen = axes[:, ::-1][:, :channels].T
        # The sign of an axis is free: make its largest entry positive, so that runs agree.
        largest = np.abs(chosen).argmax(axis=1)
        chosen = chosen * np.sign(chosen[np.arange(len(chosen)), largest])[:, None]
        mean = rows.mean(axis=0)
        spread = ((rows - mean) @ chosen.T).std(axis=0)
        self.mean.copy_(torch.from_numpy(mean.astype(np.float32)))
        weight = torch.zeros_like(self.weight)
        weight[: len(chosen)] = torch.from_numpy((chosen / np.maximum(spread, _FLOOR)[:, None]).astype(np.float32))
        self.weight.copy_(weight)


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
        shape = (max(1, int(self._ends[-1])), channels)
        if not self._done:
            self._reserve(shape[0] * channels)
        self._values = np.memmap(self._path, dtype=np.int8, mode="r+", shape=shape)

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

    def _note(self) -> None:
        write_json(self._state_path, {**self._about, "done": self._done})


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
