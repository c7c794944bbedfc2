"""Masked-token loss on the held-out parts, the same crops and corruption for every model, and what it is without a
network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.pretrain.batches import build_batch, plan_batches
from rnafm_cli.pretrain.config import BatchSection
from rnafm_cli.pretrain.model import MaskedTokenModel
from rnafm_cli.pretrain.sampling import EpochPlan, TypeSampler, corrupt, held_out_plan
from rnafm_cli.pretrain.shards import Corpus, Split
from rnafm_cli.rna.alphabet import NUCLEOTIDE


@dataclass(frozen=True)
class Score:
    """Masked-token prediction on one part."""

    loss: float
    """Mean cross-entropy in nats."""
    accuracy: float
    masked: int


class HeldOutPart:
    """One held-out part, corrupted once and kept in memory.

    Args:
        sequences: how many of the part, a seeded choice; 0 takes all.
        section: how batches are laid out.
        crop: longest window in tokens.
        seed: of choice, crops and masks.
    """

    def __init__(
        self, corpus: Corpus, split: Split, *, sequences: int, section: BatchSection, crop: int, seed: int = 1
    ) -> None:
        self.name = split.name.lower()
        self.plan = plan = held_out_plan(corpus, split, sequences=sequences, window=crop - 2, seed=seed)
        rows = plan_batches(plan.lengths, section, crop, seed=seed)
        self._batches = [build_batch(corpus, plan, batch, section, crop) for batch in rows]

    def score(
        self,
        model: MaskedTokenModel,
        device: torch.device,
        *,
        bf16: bool,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Score:
        """Loss and accuracy of a model."""
        loss, right, masked = 0.0, 0, 0
        with torch.no_grad(), mixed_precision(device.type, bf16=bf16):
            for number, batch in enumerate(self._batches, start=1):
                loss_sum, correct, *_ = model(*batch.on(device))
                loss, right, masked = loss + float(loss_sum), right + int(correct), masked + len(batch.truth_N)
                progress(number, len(self._batches))
        return _score(loss, right, masked)


def _score(loss: float, right: int, masked: int) -> Score:
    # Of a few short sequences it may be that no letter is masked.
    return Score(loss / (masked or math.nan), right / (masked or math.nan), masked)


_FIRST = NUCLEOTIDE.letters.start
_BASES = 4
_LETTERS = NUCLEOTIDE.letters.stop - _FIRST
_CHUNK = 1 << 22


class MarkovChain:
    """Letter probabilities given up to ``order`` true letters to the left, from a training part.

    Types are weighted as in training (share proportional to size ** exponent), which suits the chain better than the
    raw corpus when a few types dominate it. Contexts are A, C, G, U; a position whose context is cut short by the
    window's start or by another letter falls back to a shorter one, down to plain letter frequencies (order 0).
    """

    def __init__(self, corpus: Corpus, *, exponent: float = 0.5, order: int = 5) -> None:
        self.order = order
        sampler = TypeSampler(corpus, exponent, window=1 << 30, seed=0)
        is_trained = corpus.splits == Split.TRAIN
        sizes = np.bincount(corpus.types[is_trained], corpus.lengths[is_trained])
        weight_of_type = np.zeros(int(corpus.types.max()) + 1)
        for kind, share in sampler.shares().items():
            weight_of_type[kind] = share * sizes.sum() / sizes[kind]
        weights = np.where(is_trained, weight_of_type[corpus.types], 0.0)
        counts = [np.full((_BASES**k, _LETTERS), 0.01) for k in range(order + 1)]
        for first, last in corpus.blocks(_CHUNK):
            self._count(counts, corpus.tokens(first, last), corpus.lengths[first:last], weights[first:last])
        self._log = [np.log(table / table.sum(axis=1, keepdims=True)) for table in counts]

    def log_probabilities(self, tokens: np.ndarray, positions: np.ndarray, *, order: int) -> np.ndarray:
        """(n, letters) log probabilities at ``positions`` of one window of true tokens."""
        result = np.repeat(self._log[0], len(positions), axis=0)
        codes = tokens.astype(np.int64) - _FIRST
        for k, is_known, context in _contexts(codes, np.arange(len(codes)), order):
            known = is_known[positions]
            result[known] = self._log[k][context[positions[known]]]
        return result

    def score(self, corpus: Corpus, plan: EpochPlan, *, order: int) -> Score:
        """Loss and accuracy of the chain at the very positions of held-out windows that a model is asked for.

        The chain sees the true letters to the left, which a model sees with 15 % of them corrupted.
        """
        loss, right, masked = 0.0, 0, 0
        for sequence, start, length, key in zip(plan.sequences, plan.starts, plan.lengths, plan.keys, strict=True):
            window = corpus.tokens(int(sequence))[int(start) : int(start + length)]
            _, positions = corrupt(window, key)
            truth = window[positions].astype(np.int64) - _FIRST
            log_p = self.log_probabilities(window, positions, order=order)
            loss -= float(log_p[np.arange(len(truth)), truth].sum())
            right += int((log_p.argmax(axis=1) == truth).sum())
            masked += len(truth)
        return _score(loss, right, masked)

    def _count(self, counts: list[np.ndarray], tokens: np.ndarray, lengths: np.ndarray, weights: np.ndarray) -> None:
        codes, weight = tokens.astype(np.int64) - _FIRST, np.repeat(weights, lengths)
        place = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        counts[0] += np.bincount(codes, weight, minlength=_LETTERS)[None]
        for k, is_known, context in _contexts(codes, place, self.order):
            keys = context[is_known] * _LETTERS + codes[is_known]
            counts[k] += np.bincount(keys, weight[is_known], minlength=counts[k].size).reshape(counts[k].shape)


def _contexts(codes: np.ndarray, place: np.ndarray, order: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """For k from 1 to ``order``: k, which letters have k bases to their left, and the number of the word of these.

    Args:
        codes: (n,) letters, those below 4 being bases, of sequences one after another.
        place: (n,) 0-based place of each in its sequence.
    """
    context, is_known = np.zeros(len(codes), dtype=np.int64), np.ones(len(codes), dtype=bool)
    for k in range(1, order + 1):
        left = np.concatenate([np.full(k, _BASES), codes[:-k]])[: len(codes)]
        is_known = is_known & (place >= k) & (left < _BASES)
        context = context + np.where(is_known, left, 0) * _BASES ** (k - 1)
        yield k, is_known, context
