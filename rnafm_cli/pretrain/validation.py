"""Masked-token loss on the held-out parts, the same crops and corruption for every model, and what it is without a
network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.pretrain.batches import MicroBatch, build_batch, plan_batches
from rnafm_cli.pretrain.config import BatchLayout
from rnafm_cli.pretrain.masked_model import MaskedTokenModel
from rnafm_cli.pretrain.masking import MaskRule, corrupt
from rnafm_cli.pretrain.sampling import EpochPlan, TypeSampler, mix64, uniform
from rnafm_cli.pretrain.shards import Corpus, Split
from rnafm_cli.rna.alphabet import NUCLEOTIDE

__all__ = ["HeldOutPart", "MarkovChain", "Score", "as_tensors", "held_out_plan", "score_markov"]


@dataclass(frozen=True)
class Score:
    """Masked-token prediction on one part."""

    loss: float
    """Mean cross-entropy in nats."""
    accuracy: float
    masked: int


def held_out_plan(corpus: Corpus, split: Split, *, sequences: int, window: int, seed: int) -> EpochPlan:
    """Windows of a seeded choice of held-out sequences; keys follow from sequence number and seed only."""
    members = corpus.members(split)
    order = np.random.default_rng([seed, 4]).permutation(len(members))
    picked = np.sort(members[order[:sequences]]) if sequences else members
    lengths = corpus.lengths[picked]
    keys = mix64(mix64(np.uint64(seed)) + picked.astype(np.uint64))
    starts = np.floor(uniform(mix64(keys)) * (np.maximum(lengths - window, 0) + 1)).astype(np.int64)
    return EpochPlan(picked, starts, np.minimum(lengths, window), keys)


class HeldOutPart:
    """One held-out part, corrupted once and kept in memory."""

    def __init__(
        self,
        corpus: Corpus,
        split: Split,
        *,
        sequences: int,
        seed: int,
        rule: MaskRule,
        layout: BatchLayout,
        budget: int,
        row_tokens: int,
    ) -> None:
        self.name = split.name.lower()
        plan = held_out_plan(corpus, split, sequences=sequences, window=row_tokens - 2, seed=seed)
        rows = plan_batches(plan.lengths, layout=layout, budget=budget, row_tokens=row_tokens, seed=seed, epoch=0)
        self.batches: list[MicroBatch] = [
            build_batch(corpus, plan, batch, rule, layout=layout, row_tokens=row_tokens) for batch in rows
        ]

    def score(self, model: MaskedTokenModel, device: torch.device, *, bf16: bool) -> Score | None:
        """Loss and accuracy of a model; None when the part is empty."""
        loss, right, masked = 0.0, 0, 0
        with torch.no_grad(), mixed_precision(device.type, bf16=bf16):
            for batch in self.batches:
                loss_sum, correct, *_ = model(*as_tensors(batch, device))
                loss, right, masked = loss + float(loss_sum), right + int(correct), masked + len(batch.truth_N)
        return Score(loss / masked, right / masked, masked) if masked else None


def as_tensors(
    batch: MicroBatch, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]:
    """Tokens, segments, chosen positions and truth of a micro-batch on a device."""

    def move(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    segments = None if batch.segments_BT is None else move(batch.segments_BT)
    return move(batch.tokens_BT), segments, move(batch.chosen_N), move(batch.truth_N)


_FIRST = NUCLEOTIDE.letters.start
_BASES = 4
_LETTERS = NUCLEOTIDE.letters.stop - _FIRST
_CHUNK = 1 << 22


class MarkovChain:
    """Letter probabilities given up to ``order`` true letters to the left, from a training part.

    Types are weighted as in training (share proportional to size ** exponent), which suits the chain better than the
    raw corpus when a few types dominate it. Contexts are A, C, G, U; a position whose context is cut short by the
    window's start or by another letter falls back to a shorter one, down to plain letter frequencies (order 0).

    Args:
        order: longest context.
        exponent: of the types' shares.
    """

    def __init__(self, corpus: Corpus, *, order: int = 5, exponent: float = 0.5, max_repeats: float = 8.0) -> None:
        self.order = order
        members = corpus.members(Split.TRAIN)
        sampler = TypeSampler(corpus, members, window=1 << 30, exponent=exponent, max_repeats=max_repeats, seed=0)
        kinds = corpus.types[members]
        sizes = {kind: int(corpus.lengths[members[kinds == kind]].sum()) for kind in np.unique(kinds)}
        scale = {kind: share * sum(sizes.values()) / sizes[kind] for kind, share in sampler.shares().items()}
        weight_of_type = np.zeros(int(corpus.types.max()) + 1)
        for kind, weight in scale.items():
            weight_of_type[kind] = weight
        counts = [np.full((_BASES**k, _LETTERS), 0.01) for k in range(order + 1)]
        train = corpus.splits == Split.TRAIN
        start = 0
        for shard in corpus.shards:
            weights = np.where(train[start : start + len(shard)], weight_of_type[shard.types], 0.0)
            self._count(counts, shard.tokens, shard.offsets, weights)
            start += len(shard)
        self._log = [np.log(table / table.sum(axis=1, keepdims=True)) for table in counts]

    @property
    def frequencies(self) -> np.ndarray:
        """(letters,) probabilities of order 0, in token order from the first letter."""
        return np.exp(self._log[0][0])

    def log_probabilities(self, tokens: np.ndarray, positions: np.ndarray, *, order: int | None = None) -> np.ndarray:
        """(n, letters) log probabilities at ``positions`` of one window of true tokens."""
        order = self.order if order is None else order
        codes = tokens.astype(np.int64) - _FIRST
        result = np.repeat(self._log[0], len(positions), axis=0)
        context = np.zeros(len(positions), dtype=np.int64)
        usable = np.ones(len(positions), dtype=bool)
        for k in range(1, order + 1):
            place = positions - k
            letter = np.where(place >= 0, codes[np.maximum(place, 0)], _BASES)
            usable &= letter < _BASES
            context += np.where(usable, letter, 0) * _BASES ** (k - 1)
            result[usable] = self._log[k][context[usable]]
        return result

    def _count(self, counts: list[np.ndarray], tokens: np.ndarray, offsets: np.ndarray, weights: np.ndarray) -> None:
        first = 0
        while first < len(weights):
            last = int(np.searchsorted(offsets, offsets[first] + _CHUNK, side="right")) - 1
            last = min(max(last, first + 1), len(weights))
            lengths = np.diff(offsets[first : last + 1])
            codes = tokens[offsets[first] : offsets[last]].astype(np.int64) - _FIRST
            weight = np.repeat(weights[first:last], lengths)
            place = np.arange(len(codes)) - np.repeat(offsets[first:last] - offsets[first], lengths)
            context = np.zeros(len(codes), dtype=np.int64)
            usable = weight > 0
            counts[0] += np.bincount(codes, weight, minlength=_LETTERS)[None]
            for k in range(1, self.order + 1):
                left = np.concatenate([np.full(k, _BASES), codes[:-k]])[: len(codes)]
                usable &= (place >= k) & (left < _BASES)
                context += np.where(usable, left, 0) * _BASES ** (k - 1)
                keys = context[usable] * _LETTERS + codes[usable]
                counts[k] += np.bincount(keys, weight[usable], minlength=counts[k].size).reshape(counts[k].shape)
            first = last


def score_markov(chain: MarkovChain, corpus: Corpus, plan: EpochPlan, rule: MaskRule, *, order: int) -> Score:
    """Loss and accuracy of the chain at the very positions that a model is asked for.

    The chain sees the true letters to the left, which a model sees with 15 % of them corrupted.
    """
    loss, right, masked = 0.0, 0, 0
    for sequence, start, length, key in zip(plan.sequences, plan.starts, plan.lengths, plan.keys, strict=True):
        window = corpus.tokens(int(sequence))[int(start) : int(start + length)]
        _, positions = corrupt(window, key, rule)
        truth = window[positions].astype(np.int64) - _FIRST
        log_p = chain.log_probabilities(window, positions, order=order)
        loss -= float(log_p[np.arange(len(truth)), truth].sum())
        right += int((log_p.argmax(axis=1) == truth).sum())
        masked += len(truth)
    return Score(loss / masked, right / masked, masked)
