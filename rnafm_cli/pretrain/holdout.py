"""Which sequences of a corpus are held out, so that what remains is not close to them.

Two sequences are close when the distinct 8-mers they share exceed 20 % of the smaller of the two sets plus
n1 * n2 / 65536, the number that chance gives. In a corpus of half a million sequences that rule alone links every
22-nucleotide miRNA to hundreds of strangers by chance, and everything to everything through them; the clusters of the
random hold-out therefore also need ``min_shared`` common 8-mers (12: 19 identical nucleotides). Whole families are
held out by the plain rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import sparse

from rnafm_cli.pretrain.shards import Shard, Split, load_shard
from rnafm_cli.rna.alphabet import NUCLEOTIDE
from rnafm_cli.rna.kmers import KMERS, SHARE, K

Progress = Callable[[str, int, int], None]
"""Told what is counted, how much of it is done, and of how much."""

_SEQUENCES = 2500
_CHUNK_TOKENS = 1 << 20
_CHUNK_ROWS = 1 << 13


@dataclass(frozen=True, kw_only=True)
class HoldoutRules:
    """How much is held out and how."""

    sequences: int | None = None
    """Size of the random hold-out; None takes 2,500, or a tenth of a corpus of fewer than 25,000."""
    groups: int = 60
    """Number of whole groups (families) held out."""
    group_size: tuple[int, int] = (10, 300)
    """Smallest and largest group that may be drawn."""
    max_cluster: int = 100
    """A cluster with more sequences than this is never held out at random."""
    min_shared: int = 12
    """Fewest 8-mers beyond chance that link two sequences of a cluster."""
    max_outside: int = 1500
    """A group with more sequences than this close to it outside is not held out."""
    filter_near: bool = True
    """Keep sequences that are 8-mer-close to a held-out one out of training."""
    seed: int = 0


@dataclass
class Holdout:
    """The split of every sequence and what led to it."""

    splits: np.ndarray
    group_numbers: list[int] = field(default_factory=list)
    clusters: int = 0
    """How many clusters make up the random part."""


def choose_holdout(
    folder: Path, stems: list[str], rules: HoldoutRules, clusters: np.ndarray | None, progress: Progress
) -> Holdout:
    """Draw both hold-outs of the shards ``stems`` in ``folder``.

    Args:
        clusters: (n,) cluster number of each sequence, or None to use closeness in 8-mers.
        progress: called now and then.
    """
    shards = [load_shard(folder, stem) for stem in stems]
    groups = np.concatenate([shard.groups for shard in shards])
    rng = np.random.default_rng([rules.seed, 0x5EED])
    wished = min(_SEQUENCES, len(groups) // 10) if rules.sequences is None else rules.sequences
    holdout = Holdout(np.full(len(groups), Split.TRAIN, dtype=np.uint8))
    families = _candidate_groups(groups, rules, rng)
    wanted = np.flatnonzero(np.isin(groups, families)) if families else np.zeros(0, dtype=np.int64)
    search = _Search(shards, progress)

    if clusters is None and rules.filter_near and wished:
        free = np.flatnonzero(~np.isin(groups, families))
        seeds = rng.choice(free, size=min(len(free), 3 * wished), replace=False)
    else:
        seeds = np.zeros(0, dtype=np.int64)
    queries = np.concatenate([wanted, seeds])
    is_seed = np.arange(len(queries)) >= len(wanted)
    caps = np.where(is_seed, rules.max_cluster, rules.max_outside + rules.group_size[1])
    floors = np.where(is_seed, rules.min_shared, 0)
    close = search.close(queries, caps, floors) if rules.filter_near else {}

    _hold_groups(holdout, groups, families, rules, close)
    if clusters is not None:
        _hold_clusters(holdout, clusters, wished, rules, rng)
    elif rules.filter_near:
        _hold_neighbourhoods(holdout, seeds, wished, close)
    else:
        free = np.flatnonzero(holdout.splits == Split.TRAIN)
        picked = rng.choice(free, size=min(wished, len(free) // 2), replace=False)
        holdout.splits[picked] = Split.RANDOM
        holdout.clusters = len(picked)
    if rules.filter_near:
        _exclude_second_ring(holdout, search, rules, close)
    return holdout


def _candidate_groups(groups: np.ndarray, rules: HoldoutRules, rng: np.random.Generator) -> list[int]:
    numbers, sizes = np.unique(groups[groups >= 0], return_counts=True)
    low, high = rules.group_size
    eligible = numbers[(sizes >= low) & (sizes <= high)]
    # A few more than wanted: groups close to half of the corpus drop out later.
    return [int(group) for group in rng.permutation(eligible)[: rules.groups + rules.groups // 3]]


def _hold_groups(
    holdout: Holdout, groups: np.ndarray, families: list[int], rules: HoldoutRules, close: dict[int, np.ndarray | None]
) -> None:
    for family in families:
        if len(holdout.group_numbers) == rules.groups:
            return
        members = np.flatnonzero(groups == family)
        lists = [close[int(m)] for m in members if int(m) in close]
        if any(neighbours is None for neighbours in lists):
            continue
        outside = np.setdiff1d(np.concatenate([np.zeros(0, dtype=np.int64), *lists]), members)
        if len(outside) > rules.max_outside:
            continue
        holdout.splits[members] = Split.GROUP
        holdout.group_numbers.append(family)
        _mark_near(holdout, outside)


def _hold_clusters(
    holdout: Holdout, clusters: np.ndarray, wished: int, rules: HoldoutRules, rng: np.random.Generator
) -> None:
    if not wished:
        return
    free = holdout.splits == Split.TRAIN
    numbers, inverse, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    blocked = np.zeros(len(numbers), dtype=bool)
    blocked[inverse[~free]] = True
    order = rng.permutation(np.flatnonzero((sizes <= rules.max_cluster) & ~blocked))
    taken = order[: int(np.searchsorted(np.cumsum(sizes[order]), wished)) + 1]
    holdout.splits[np.isin(inverse, taken)] = Split.RANDOM
    holdout.clusters = len(taken)


def _hold_neighbourhoods(holdout: Holdout, seeds: np.ndarray, wished: int, close: dict[int, np.ndarray | None]) -> None:
    held = 0
    for seed in seeds:
        neighbours = close[int(seed)]
        if held >= wished or neighbours is None or holdout.splits[seed] != Split.TRAIN:
            continue
        cluster = np.union1d(neighbours, [seed])
        cluster = cluster[holdout.splits[cluster] == Split.TRAIN]
        holdout.splits[cluster] = Split.RANDOM
        holdout.clusters += 1
        held += len(cluster)
    # A seed that was drawn but not used stays in training unless it is close to one that was.
    for seed in seeds:
        neighbours = close[int(seed)]
        if holdout.splits[seed] == Split.RANDOM and neighbours is not None:
            _mark_near(holdout, neighbours)


def _exclude_second_ring(
    holdout: Holdout, search: _Search, rules: HoldoutRules, close: dict[int, np.ndarray | None]
) -> None:
    """Take the neighbours of the held-out neighbours out of training too.

    One with very many of them (a full-length rRNA next to a fragment, say) leaves the hold-out instead.
    """
    held = np.flatnonzero(holdout.splits == Split.RANDOM)
    ring = np.asarray([i for i in held if close.get(int(i)) is None], dtype=np.int64)
    limits = np.full(len(ring), 4 * rules.max_cluster), np.full(len(ring), rules.min_shared)
    for member, neighbours in search.close(ring, *limits).items():
        if neighbours is None:
            holdout.splits[member] = Split.NEAR
        else:
            _mark_near(holdout, neighbours)


def _mark_near(holdout: Holdout, indices: np.ndarray | None) -> None:
    if indices is not None and len(indices):
        indices = np.asarray(indices, dtype=np.int64)
        holdout.splits[indices[holdout.splits[indices] == Split.TRAIN]] = Split.NEAR


class _Search:
    """Finds, in one pass over the shards, every sequence that is close to one of the queries."""

    def __init__(self, shards: list[Shard], progress: Progress) -> None:
        self._shards, self._progress = shards, progress

    def close(self, queries: np.ndarray, caps: np.ndarray, floors: np.ndarray) -> dict[int, np.ndarray | None]:
        """Sequence number -> numbers of the sequences close to it (itself left out).

        ``floors`` is the fewest shared 8-mers beyond chance that each query asks for. A query with more than its
        ``caps`` entry of neighbours maps to None and is searched no further.
        """
        if not len(queries):
            return {}
        matrix, sizes = self._query_matrix(queries)
        alive = np.arange(len(queries))
        counts = np.zeros(len(queries), dtype=np.int64)
        found: list[np.ndarray] = []
        table = matrix.tocsr()
        for start, rows in self._chunks():
            pairs = _close_pairs(rows, table, sizes[alive], floors[alive])
            pairs[:, 0] += start
            pairs[:, 1] = alive[pairs[:, 1]]
            pairs = pairs[pairs[:, 0] != queries[pairs[:, 1]]]
            counts += np.bincount(pairs[:, 1], minlength=len(queries))
            found.append(pairs[counts[pairs[:, 1]] <= caps[pairs[:, 1]]].astype(np.int32))
            still = alive[counts[alive] <= caps[alive]]
            if len(still) < 0.95 * len(alive):
                alive, table = still, matrix[:, still].tocsr()
        pairs = np.concatenate(found)
        pairs = pairs[np.argsort(pairs[:, 1], kind="stable")]
        bounds = np.searchsorted(pairs[:, 1], np.arange(len(queries) + 1))
        return {
            int(query): pairs[bounds[k] : bounds[k + 1], 0].astype(np.int64) if counts[k] <= caps[k] else None
            for k, query in enumerate(queries)
        }

    def _query_matrix(self, queries: np.ndarray) -> tuple[sparse.csc_matrix, np.ndarray]:
        order = np.argsort(queries)
        ordered = queries[order]
        parts = []
        start = 0
        for shard in self._shards:
            local = ordered[(ordered >= start) & (ordered < start + len(shard))] - start
            for block in range(0, len(local), _CHUNK_ROWS):
                parts.append(_kmer_rows([shard[int(i)] for i in local[block : block + _CHUNK_ROWS]]))
            start += len(shard)
        rows = sparse.vstack(parts, format="csr")[np.argsort(order)]
        return rows.T.tocsc(), np.diff(rows.indptr)

    def _chunks(self) -> Iterator[tuple[int, sparse.csr_matrix]]:
        start, total = 0, sum(map(len, self._shards))
        for shard in self._shards:
            for first, last in _blocks(shard):
                yield start + first, _kmer_rows([shard[i] for i in range(first, last)])
                self._progress("sequences compared", start + last, total)
            start += len(shard)


def _blocks(shard: Shard) -> Iterator[tuple[int, int]]:
    first = 0
    while first < len(shard):
        last = int(np.searchsorted(shard.offsets, shard.offsets[first] + _CHUNK_TOKENS, side="right")) - 1
        last = min(max(last, first + 1), first + _CHUNK_ROWS, len(shard))
        yield first, last
        first = last


def _kmer_rows(sequences: list[np.ndarray]) -> sparse.csr_matrix:
    """(n, 65536) matrix of ones where a sequence of uint8 tokens holds an 8-mer of A, C, G, U.

    As :func:`~rnafm_cli.rna.kmers.kmer_matrix`, in a tenth of the time: of at most 65,535 sequences, row and 8-mer fit
    into the 32 bits that sort fast.
    """
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    tokens = np.concatenate(sequences)
    if len(tokens) < K:
        return sparse.csr_matrix((len(sequences), KMERS), dtype=np.int32)
    row = np.repeat(np.arange(len(sequences), dtype=np.uint32), lengths)
    codes = tokens - np.uint8(NUCLEOTIDE.letters.start)
    bad = np.concatenate([[0], np.cumsum(codes > 3, dtype=np.int32)])
    words = codes.astype(np.uint32)
    for step in (1, 2, 4):
        words = (words[:-step] << np.uint32(2 * step)) | words[step:]
    inside = (row[: -K + 1] == row[K - 1 :]) & (bad[K:] == bad[:-K])
    keys = np.sort((row[: -K + 1][inside] << np.uint32(16)) | words[inside])
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
    indptr = np.concatenate([[0], np.cumsum(np.bincount(keys >> np.uint32(16), minlength=len(sequences)))])
    columns = (keys & np.uint32(0xFFFF)).astype(np.int32)
    return sparse.csr_matrix((np.ones(len(columns), dtype=np.int32), columns, indptr), shape=(len(sequences), KMERS))


def _close_pairs(
    rows: sparse.csr_matrix, table: sparse.csr_matrix, sizes: np.ndarray, floors: np.ndarray
) -> np.ndarray:
    """(n, 2) row and column numbers of the close pairs."""
    shared = rows @ table
    # Nearly all pairs share a k-mer or two by chance: leave those out before anything is computed for them.
    kept = np.flatnonzero(shared.data >= np.maximum(floors, 1)[shared.indices])
    row = np.searchsorted(shared.indptr, kept, side="right") - 1
    column, count = shared.indices[kept], shared.data[kept]
    own = np.diff(rows.indptr)[row].astype(np.float64)
    other = sizes[column].astype(np.float64)
    needed = np.maximum(SHARE * np.minimum(own, other), floors[column] - 1)
    is_close = count > needed + own * other / KMERS
    return np.stack([row[is_close], column[is_close]], axis=1).astype(np.int64)
