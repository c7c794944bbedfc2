"""Which windows of which sequences an epoch trains on: by type with a temperature, the same for every machine.

A type's share of tokens is proportional to (its tokens) ** exponent: 1 trains in proportion to the corpus, 0 gives
every type the same share. Within a type, windows follow seeded permutations that go on from epoch to epoch, so every
sequence is seen about equally often.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnafm_cli.errors import InputError
from rnafm_cli.pretrain.shards import Corpus

__all__ = ["EpochPlan", "TypeSampler", "mix64", "uniform"]


@dataclass(frozen=True)
class EpochPlan:
    """The samples of one epoch in random order."""

    sequences: np.ndarray
    """(n,) sequence numbers."""
    starts: np.ndarray
    """(n,) first nucleotide of each window, 0-based."""
    lengths: np.ndarray
    """(n,) nucleotides in each window."""
    keys: np.ndarray
    """(n,) uint64 that seed the corruption: functions of (seed, epoch, sample number) only."""

    def __len__(self) -> int:
        return len(self.sequences)


class TypeSampler:
    """Draws epochs of windows from the training part of a corpus.

    Args:
        corpus: the prepared corpus.
        members: (n,) numbers of the sequences to train on.
        window: longest window in nucleotides.
        exponent: of the types' shares, 0 to 1.
        max_repeats: a type is shown at most this many times over in one epoch.
        seed: of order, windows and corruption.

    Raises:
        InputError: without members.
    """

    def __init__(
        self, corpus: Corpus, members: np.ndarray, *, window: int, exponent: float, max_repeats: float, seed: int
    ) -> None:
        if not len(members):
            raise InputError(
                f"{corpus.folder}: has no sequence to train on", hint="prepare it with a smaller --holdout"
            )
        self._lengths = corpus.lengths
        self._window = window
        self._seed = seed
        kinds = corpus.types[members]
        self._pools: list[tuple[int, np.ndarray]] = []
        for kind in np.unique(kinds):
            own = members[kinds == kind]
            repeats = -(-corpus.lengths[own] // window)
            self._pools.append((int(kind), np.repeat(own.astype(np.int32), repeats)))
        tokens = np.asarray([corpus.lengths[members[kinds == kind]].sum() for kind, _ in self._pools], dtype=np.float64)
        windows = np.asarray([len(pool) for _, pool in self._pools])
        # A sequence a little longer than a window is drawn as two full ones.
        self._means = np.asarray([np.minimum(corpus.lengths[pool], window).mean() for _, pool in self._pools])
        weights = tokens**exponent
        wanted = weights / weights.sum() * tokens.sum() / self._means
        self._draws = np.maximum(1, np.minimum(np.rint(wanted), np.floor(max_repeats * windows))).astype(np.int64)

    def shares(self) -> dict[int, float]:
        """Type number -> share of an epoch's tokens."""
        tokens = self._draws * self._means
        return {kind: float(share) for (kind, _), share in zip(self._pools, tokens / tokens.sum(), strict=True)}

    def epoch(self, number: int) -> EpochPlan:
        """The plan of epoch ``number`` (from 0)."""
        parts = [
            self._draw(kind, pool, number * int(draws), int(draws))
            for (kind, pool), draws in zip(self._pools, self._draws, strict=True)
        ]
        sequences = np.concatenate(parts)
        base = mix64(np.uint64(self._seed) * np.uint64(0x1000003) + np.uint64(number))
        keys = mix64(base + np.arange(len(sequences), dtype=np.uint64))
        lengths = self._lengths[sequences]
        room = np.maximum(lengths - self._window, 0)
        fraction = uniform(mix64(keys))
        starts = np.floor(fraction * (room + 1)).astype(np.int64)
        order = np.random.default_rng([self._seed, 2, number]).permutation(len(sequences))
        return EpochPlan(sequences[order], starts[order], np.minimum(lengths, self._window)[order], keys[order])

    def _draw(self, kind: int, pool: np.ndarray, first: int, count: int) -> np.ndarray:
        taken: list[np.ndarray] = []
        while count:
            turn, offset = divmod(first, len(pool))
            order = np.random.default_rng([self._seed, 1, kind, turn]).permutation(len(pool))
            piece = order[offset : offset + count]
            taken.append(pool[piece])
            first, count = first + len(piece), count - len(piece)
        return np.concatenate(taken)


def uniform(bits: np.ndarray) -> np.ndarray:
    """Numbers from 0 to below 1 of hashed bits."""
    return (bits >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def mix64(x: np.ndarray | np.uint64) -> np.ndarray:
    """The finaliser of SplitMix64: a hash of uint64 that serves as a counter-based random generator."""
    with np.errstate(over="ignore"):
        z = np.asarray(x, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
