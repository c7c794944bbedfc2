"""Which windows of which sequences an epoch shows, and which of their letters are masked: the same on every machine.

A type's share of tokens is proportional to (its tokens) ** exponent: 1 trains in proportion to the corpus, 0 gives
every type the same share. Within a type, windows follow seeded permutations that go on from epoch to epoch, so every
sequence is seen about equally often.

Masks are those of Chen et al. 2022, section 2.1: 15 % of the letters (or another share) are predicted, 80 % of them are
shown as <mask>, 10 % as another letter, 10 % as they are. Random letters are drawn from A, C, G, U: the other IUPAC
codes are so rare in the data that they would only mark the places.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from rnafm_cli.pretrain.shards import Corpus, Split
from rnafm_cli.rna.alphabet import NUCLEOTIDE

_BASES = np.asarray([NUCLEOTIDE.tokens.index(base) for base in "ACGU"], dtype=np.uint8)
_GAP = NUCLEOTIDE.tokens.index("-")
_MOST_REPEATS = 8
"""A type is shown at most this many times over in one epoch."""
PAPERS_SHARE = 0.15
"""Of the letters, those that are predicted."""
_MASKED, _SWAPPED = 0.8, 0.9
"""Of the chosen letters, the share shown as <mask>, and that together with those shown as another letter."""


EpochPlan: TypeAlias = np.recarray
"""(n,) the windows of one epoch in random order: ``sequences``, their numbers; ``starts``, 0-based, and ``lengths`` in
nucleotides; ``keys``, uint64 that seed the corruption and are functions of (seed, epoch, sample number) only."""


def plan_of(sequences: np.ndarray, lengths: np.ndarray, window: int, keys: np.ndarray) -> EpochPlan:
    """Windows of at most ``window`` that lie at random in sequences of some lengths."""
    starts = np.floor(uniform(mix64(keys)) * (np.maximum(lengths - window, 0) + 1))
    columns = [("sequences", np.int64), ("starts", np.int64), ("lengths", np.int64), ("keys", np.uint64)]
    return np.rec.fromarrays([sequences, starts, np.minimum(lengths, window), keys], dtype=columns)


class TypeSampler:
    """Draws epochs of windows of at most ``window`` nucleotides from the training part of a corpus."""

    def __init__(self, corpus: Corpus, exponent: float, *, window: int, seed: int) -> None:
        members = corpus.members(Split.TRAIN)
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
        self._draws = np.clip(np.rint(wanted), 1, _MOST_REPEATS * windows).astype(np.int64)

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
        order = np.random.default_rng([self._seed, 2, number]).permutation(len(sequences))
        return plan_of(sequences, self._lengths[sequences], self._window, keys)[order].view(np.recarray)

    def _draw(self, kind: int, pool: np.ndarray, first: int, count: int) -> np.ndarray:
        taken: list[np.ndarray] = []
        while count:
            turn, offset = divmod(first, len(pool))
            order = np.random.default_rng([self._seed, 1, kind, turn]).permutation(len(pool))
            piece = order[offset : offset + count]
            taken.append(pool[piece])
            first, count = first + len(piece), count - len(piece)
        return np.concatenate(taken)


def held_out_plan(corpus: Corpus, split: Split, *, sequences: int, window: int, seed: int) -> EpochPlan:
    """Windows of a seeded choice of held-out sequences (0: all); keys follow from sequence number and seed only."""
    members = corpus.members(split)
    order = np.random.default_rng([seed, 4]).permutation(len(members))
    picked = np.sort(members[order[:sequences]]) if sequences else members
    keys = mix64(mix64(np.uint64(seed)) + picked.astype(np.uint64))
    return plan_of(picked, corpus.lengths[picked], window, keys)


def corrupt(tokens: np.ndarray, key: int | np.uint64, share: float = PAPERS_SHARE) -> tuple[np.ndarray, np.ndarray]:
    """Corrupt one sequence of tokens.

    Args:
        tokens: (T,) uint8, with or without specials, which are never chosen.
        key: seeds the choice; equal keys and tokens give equal results whatever the batch.
        share: of the letters that are chosen.

    Returns:
        (T,) uint8 tokens and (n,) the chosen positions, ascending.
    """
    with np.errstate(over="ignore"):
        counter = np.uint64(key) + np.arange(len(tokens), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = mix64(counter)
    # Three independent uniforms from disjoint bits: 24 to choose, 24 for the treatment, 2 for the base.
    choose = (bits >> np.uint64(40)).astype(np.float64) / (1 << 24)
    treat = ((bits >> np.uint64(16)) & np.uint64(0xFFFFFF)).astype(np.float64) / (1 << 24)
    letters = (tokens >= NUCLEOTIDE.letters.start) & (tokens < _GAP)
    chosen = np.flatnonzero((choose < share) & letters)
    out = tokens.copy()
    treat = treat[chosen]
    out[chosen[treat < _MASKED]] = NUCLEOTIDE.mask
    swapped = chosen[(treat >= _MASKED) & (treat < _SWAPPED)]
    out[swapped] = _BASES[(bits[swapped] & np.uint64(3)).astype(np.int64)]
    return out, chosen


def uniform(bits: np.ndarray) -> np.ndarray:
    """Numbers from 0 to below 1 of hashed bits."""
    return (bits >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def mix64(x: np.ndarray | np.uint64 | int) -> np.ndarray:
    """The finaliser of SplitMix64: a hash of uint64 that serves as a counter-based random generator."""
    with np.errstate(over="ignore"):
        z = np.asarray(x, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
