"""Which sequences of a corpus are held out, so that what remains is not close to them.

Two sequences are close when the distinct 8-mers they share exceed 20 % of the smaller of the two sets plus
n1 * n2 / 65536, the number that chance gives. In a corpus of half a million sequences that rule alone links every
22-nucleotide miRNA to hundreds of strangers by chance, and everything to everything through them; the clusters of the
random hold-out therefore also need 12 common 8-mers beyond chance (19 identical nucleotides). Whole families are held
out by the plain rule.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from rnafm_cli.pretrain.shards import Sequences, Split
from rnafm_cli.rna.alphabet import NUCLEOTIDE
from rnafm_cli.rna.kmers import close_pairs, kmer_rows

if TYPE_CHECKING:
    from rnafm_cli.training.trainer import Progress

_SEQUENCES = 2500
_LARGEST_CLUSTER = 100
"""A cluster with more sequences than this is never held out at random."""
_FEWEST_SHARED = 12
"""8-mers beyond chance that link two sequences of a cluster."""
_CHUNK_TOKENS = 1 << 20
_QUERIES_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True)
class HoldoutRules:
    """How much is held out and how."""

    sequences: int | None = None
    """Size of the random hold-out; None takes 2,500, or a tenth of a corpus of fewer than 25,000."""
    groups: int = 60
    """Number of whole groups (families) held out."""
    group_size: tuple[int, int] = (10, 300)
    """Smallest and largest group that may be drawn."""
    max_outside: int = 1500
    """A group with more sequences than this close to it outside is not held out."""
    filter_near: bool = True
    """Keep sequences that are 8-mer-close to a held-out one out of training."""
    seed: int = 0


@dataclass
class Holdout:
    """The split of every sequence and what led to it."""

    splits: np.ndarray
    groups: list[int] = field(default_factory=list)
    clusters: int = 0
    """How many clusters make up the random part."""

    def free(self, numbers: np.ndarray) -> np.ndarray:
        """Those of some sequences that are still trained on."""
        return numbers[self.splits[numbers] == Split.TRAIN]


_Close = dict[int, np.ndarray | None]
"""Numbers of the sequences that are close to one, or None where they are too many."""


def choose_holdout(corpus: Sequences, rules: HoldoutRules, clusters: np.ndarray | None, progress: Progress) -> Holdout:
    """Draw both hold-outs.

    Args:
        clusters: (n,) cluster number of each sequence, or None to use closeness in 8-mers.
    """
    rng = np.random.default_rng([rules.seed, 0x5EED])
    wished = min(_SEQUENCES, len(corpus) // 10) if rules.sequences is None else rules.sequences
    holdout = Holdout(np.full(len(corpus), Split.TRAIN, dtype=np.uint8))
    families = _candidate_groups(corpus.groups, rules, rng)
    is_family = np.isin(corpus.groups, families)
    seeds = np.zeros(0, dtype=np.int64)
    if clusters is None and rules.filter_near and wished:
        free = np.flatnonzero(~is_family)
        seeds = rng.choice(free, size=min(len(free), 3 * wished), replace=False)
    close: _Close = {}
    if rules.filter_near:
        wanted = np.flatnonzero(is_family)
        counts = [len(wanted), len(seeds)]
        caps = np.repeat([rules.max_outside + rules.group_size[1], _LARGEST_CLUSTER], counts)
        floors = np.repeat([0, _FEWEST_SHARED], counts)
        close = _close_to(corpus, np.concatenate([wanted, seeds]), caps, floors, progress)
    _hold_groups(holdout, corpus.groups, families, rules, close)
    if clusters is not None:
        _hold_clusters(holdout, clusters, wished, rng)
    elif rules.filter_near:
        _hold_neighbourhoods(holdout, seeds, wished, close)
    else:
        free = np.flatnonzero(holdout.splits == Split.TRAIN)
        picked = rng.choice(free, size=min(wished, len(free) // 2), replace=False)
        holdout.splits[picked], holdout.clusters = Split.RANDOM, len(picked)
    if rules.filter_near:
        # What is close to the held-out neighbours is not trained on either. One with very many of them (a full-length
        # rRNA next to a fragment, say) leaves the hold-out instead.
        held = np.flatnonzero(holdout.splits == Split.RANDOM)
        ring = held[[close.get(int(member)) is None for member in held]] if len(held) else held
        caps, floors = np.full(len(ring), 4 * _LARGEST_CLUSTER), np.full(len(ring), _FEWEST_SHARED)
        for member, near in _close_to(corpus, ring, caps, floors, progress).items():
            holdout.splits[member if near is None else holdout.free(near)] = Split.NEAR
    return holdout


def _candidate_groups(groups: np.ndarray, rules: HoldoutRules, rng: np.random.Generator) -> list[int]:
    numbers, sizes = np.unique(groups[groups >= 0], return_counts=True)
    low, high = rules.group_size
    eligible = numbers[(sizes >= low) & (sizes <= high)]
    # A few more than wanted: groups close to half of the corpus drop out later.
    return [int(group) for group in rng.permutation(eligible)[: rules.groups + rules.groups // 3]]


def _hold_groups(holdout: Holdout, groups: np.ndarray, families: list[int], rules: HoldoutRules, close: _Close) -> None:
    for family in families:
        if len(holdout.groups) == rules.groups:
            return
        members = np.flatnonzero(groups == family)
        found = [close.get(int(member), members) for member in members]
        lists = [near for near in found if near is not None]
        outside = np.setdiff1d(np.concatenate(lists), members) if len(lists) == len(found) else None
        if outside is not None and len(outside) <= rules.max_outside:
            holdout.groups.append(family)
            holdout.splits[members] = Split.GROUP
            holdout.splits[holdout.free(outside)] = Split.NEAR


def _hold_clusters(holdout: Holdout, clusters: np.ndarray, wished: int, rng: np.random.Generator) -> None:
    if not wished:
        return
    numbers, inverse, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    blocked = np.zeros(len(numbers), dtype=bool)
    blocked[inverse[holdout.splits != Split.TRAIN]] = True
    order = rng.permutation(np.flatnonzero((sizes <= _LARGEST_CLUSTER) & ~blocked))
    taken = order[: int(np.searchsorted(np.cumsum(sizes[order]), wished)) + 1]
    holdout.splits[np.isin(inverse, taken)] = Split.RANDOM
    holdout.clusters = len(taken)


def _hold_neighbourhoods(holdout: Holdout, seeds: np.ndarray, wished: int, close: _Close) -> None:
    held = 0
    for seed in seeds:
        near = close[int(seed)]
        if held < wished and near is not None and holdout.splits[seed] == Split.TRAIN:
            cluster = holdout.free(np.union1d(near, [seed]))
            holdout.splits[cluster] = Split.RANDOM
            holdout.clusters += 1
            held += len(cluster)
    # A seed that was drawn but not used stays in training unless it is close to one that was.
    for seed in seeds[holdout.splits[seeds] == Split.RANDOM]:
        near = close[int(seed)]
        if near is not None:
            holdout.splits[holdout.free(near)] = Split.NEAR


def _close_to(
    corpus: Sequences, queries: np.ndarray, caps: np.ndarray, floors: np.ndarray, progress: Progress
) -> _Close:
    """What is close to each query (itself left out), found in one pass over the corpus.

    ``floors`` is the fewest shared 8-mers beyond chance that each query asks for. A query with more than its ``caps``
    entry of neighbours is searched no further.
    """
    if not len(queries):
        return {}
    parts = np.split(queries, range(_QUERIES_AT_ONCE, len(queries), _QUERIES_AT_ONCE))
    matrix = sparse.vstack([_kmers([corpus.tokens(int(i)) for i in part]) for part in parts], format="csr")
    alive = np.arange(len(queries))
    counts = np.zeros(len(queries), dtype=np.int64)
    found = [np.zeros((2, 0), dtype=np.int32)]
    for first, last in corpus.blocks(_CHUNK_TOKENS):
        rows = kmer_rows(_codes(corpus.tokens(first, last)), corpus.lengths[first:last])
        for row, column in close_pairs(rows, matrix[alive], floors[alive]):
            pairs = np.stack([row + first, alive[column]])
            pairs = pairs[:, pairs[0] != queries[pairs[1]]]
            counts += np.bincount(pairs[1], minlength=len(queries))
            found.append(pairs[:, counts[pairs[1]] <= caps[pairs[1]]].astype(np.int32))
        alive = alive[counts[alive] <= caps[alive]]
        progress("sequences compared", last, len(corpus))
    number, query = np.concatenate(found, axis=1)
    order = np.argsort(query, kind="stable")
    lists = np.split(number[order].astype(np.int64), np.searchsorted(query[order], np.arange(1, len(queries))))
    return {int(query): lists[k] if counts[k] <= caps[k] else None for k, query in enumerate(queries)}


def _kmers(sequences: list[np.ndarray]) -> sparse.csr_matrix:
    return kmer_rows(_codes(np.concatenate(sequences)), [len(sequence) for sequence in sequences])


def _codes(tokens: np.ndarray) -> np.ndarray:
    return tokens - np.uint8(NUCLEOTIDE.letters.start)
