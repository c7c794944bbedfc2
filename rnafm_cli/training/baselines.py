"""What masked-token prediction is worth without a network: letter frequencies, and an order-5 Markov chain."""

from __future__ import annotations

import numpy as np

from rnafm_cli.data.masking import MaskRule, corrupt
from rnafm_cli.data.sampling import EpochPlan, TypeSampler
from rnafm_cli.data.shards import Corpus, Split
from rnafm_cli.rna.alphabet import NUCLEOTIDE
from rnafm_cli.training.validation import Score

__all__ = ["MarkovChain", "score_markov"]

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
