"""8-mers and longer words that sequences share: the project's measures of closeness and of copies.

Shapes: N words.

Two sequences are close when the distinct 8-mers they share exceed 20 % of the smaller of their two sets plus
n1 * n2 / 65536, the number that chance gives. All searches run over an inverted index (a sparse product).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

_WORD_ROWS_AT_ONCE = 50_000
_BREAK = 4
_CODES = np.full(256, _BREAK, dtype=np.uint8)
for _code, _letters in enumerate(("A", "C", "G", "UT")):
    for _letter in _letters:
        _CODES[ord(_letter)] = _code


def words_of(sequences: Sequence[str], length: int) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
    """All words of a length, at most 31, in some sequences; words with a letter other than A, C, G, U are left out.

    Returns:
        (N,) words as numbers and (N,) the number of the sequence that holds each, ascending.
    """
    codes = _codes("-".join(sequences))
    ends = np.cumsum([len(sequence) + 1 for sequence in sequences])
    words, starts = _words(codes, length)
    return words, np.searchsorted(ends, starts, side="right")


def _codes(text: str) -> NDArray[np.uint8]:
    return _CODES[np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8)]


def _words(codes: NDArray[np.uint8], length: int) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
    """The words without a break, and where they begin; a letter takes two bits."""
    kind: Any = np.uint32 if length <= 16 else np.uint64
    if len(codes) < length:
        return np.zeros(0, dtype=kind), np.zeros(0, dtype=np.int64)
    breaks = np.concatenate([[0], np.cumsum(codes >= _BREAK, dtype=np.int32)])
    starts = np.flatnonzero(breaks[length:] == breaks[:-length])
    # A word is joined from words of half the length.
    power, size, done = codes.astype(kind), 1, 0
    words = np.zeros(len(codes) - length + 1, dtype=kind)
    while True:
        if length & size:
            words = (words << kind(2 * size)) | power[done : done + len(words)]
            done += size
        if done == length:
            return words[starts], starts
        power = (power[:-size] << kind(2 * size)) | power[size:]
        size *= 2


def shares_word(sequences: Sequence[str], others: Sequence[str], *, length: int) -> NDArray[np.bool_]:
    """(n,) whether a sequence has a word of the length in common with any of the others, or is one of them."""
    known = np.unique(words_of(others, length)[0])
    whole = set(others)
    result = np.fromiter((sequence in whole for sequence in sequences), dtype=np.bool_, count=len(sequences))
    if not len(known):
        return result
    for first in range(0, len(sequences), _WORD_ROWS_AT_ONCE):
        found, rows = words_of(sequences[first : first + _WORD_ROWS_AT_ONCE], length)
        order = np.argsort(found)
        # Sorted queries walk through the known words once instead of jumping about.
        place = np.minimum(np.searchsorted(known, found[order]), len(known) - 1)
        result[rows[order[known[place] == found[order]]] + first] = True
    return result


def groups_by_words(sequences: Sequence[str], *, length: int) -> NDArray[np.int64]:
    """(n,) group numbers: sequences that share a word of the length, directly or through others, are one group.

    Equal sequences are one group however short they are.
    """
    found, rows = words_of(sequences, length)
    _, word = np.unique(found, return_inverse=True)
    _, whole = np.unique(np.asarray(sequences), return_inverse=True)
    # Sequences, words and whole texts are the nodes of one graph.
    texts = len(sequences) + (word.max() + 1 if len(word) else 0)
    starts = np.concatenate([rows, np.arange(len(sequences))])
    ends = np.concatenate([word + len(sequences), whole + texts])
    return linked_nodes(np.stack([starts, ends]), texts + len(sequences))[: len(sequences)]


def linked_nodes(links: NDArray[Any], size: int) -> NDArray[np.int64]:
    """(size,) number of the connected part of each node of a graph with (2, n) links."""
    graph = sparse.coo_matrix((np.ones(links.shape[1], dtype=np.bool_), tuple(links)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


K = 8
KMERS = 4**K
SHARE = 0.2
_ROWS_AT_ONCE = 1000


def kmer_matrix(sequences: Sequence[str]) -> sparse.csr_matrix:
    """(n, 65536) matrix with a one where a sequence holds an 8-mer."""
    return kmer_rows(_codes("".join(sequences)), [len(sequence) for sequence in sequences])


def kmer_rows(codes: NDArray[np.uint8], lengths: ArrayLike) -> sparse.csr_matrix:
    """The same of sequences one after another, with 0 to 3 for A, C, G, U and larger numbers for other letters."""
    lengths = np.asarray(lengths, dtype=np.int64)
    words, starts = _words(codes, K)
    # Row and 8-mer of a moderate number of sequences fit into the 32 bits that sort fast.
    kind = np.uint32 if len(lengths) < 1 << 16 else np.uint64
    number: NDArray[Any] = np.arange(len(lengths) + 1).astype(kind)
    row = np.repeat(number[:-1], lengths)
    inside = row[starts] == row[starts + K - 1] if len(starts) else np.zeros(0, dtype=np.bool_)
    keys = np.sort((row[starts[inside]] << 2 * K) | words[inside])
    # In a tenth of the time that np.unique takes.
    is_new = np.ones(len(keys), dtype=np.bool_)
    is_new[1:] = keys[1:] != keys[:-1]
    keys = keys[is_new]
    ones, columns = np.ones(len(keys), dtype=np.int32), (keys & (KMERS - 1)).astype(np.int32)
    return sparse.csr_matrix((ones, columns, np.searchsorted(keys, number << 2 * K)), shape=(len(lengths), KMERS))


def close_pairs(
    rows: sparse.csr_matrix, others: sparse.csr_matrix, floors: NDArray | None = None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (row numbers, numbers among the others) of close pairs, a block of rows at a time.

    Args:
        rows, others: matrices of :func:`kmer_matrix`; a sequence is close to itself.
        floors: (others,) the fewest 8-mers beyond chance that each of the others asks for as well.
    """
    size = np.diff(others.indptr).astype(np.float64)
    floor = np.zeros(len(size)) if floors is None else np.asarray(floors)
    for row, column, own, count in _shared(rows, others, np.maximum(floor, 1)):
        needed = np.maximum(SHARE * np.minimum(own, size[column]), floor[column] - 1)
        is_close = count > needed + own * size[column] / KMERS
        yield row[is_close], column[is_close]


def _shared(
    rows: sparse.csr_matrix, others: sparse.csr_matrix, fewest: NDArray
) -> Iterator[tuple[NDArray, NDArray, NDArray, NDArray]]:
    """Yield row, column, 8-mers of the row, and 8-mers in common, where these are as many as the column asks for."""
    table, sizes = others.T.tocsr(), np.diff(rows.indptr).astype(np.float64)
    for start in range(0, rows.shape[0], _ROWS_AT_ONCE):
        shared = rows[start : start + _ROWS_AT_ONCE] @ table
        # Nearly all pairs share an 8-mer or two by chance: leave those out before anything is computed for them.
        kept = np.flatnonzero(shared.data >= fewest[shared.indices])
        row = np.searchsorted(shared.indptr, kept, side="right") - 1 + start
        yield row.astype(np.int64), shared.indices[kept].astype(np.int64), sizes[row], shared.data[kept]


@lru_cache(maxsize=1)
def _matrix_of(sequences: tuple[str, ...]) -> sparse.csr_matrix:
    # Many alignments are held against the same sequences.
    return kmer_matrix(sequences)


def close_to_any(sequences: Sequence[str], held_out: Sequence[str]) -> NDArray[np.bool_]:
    """(n,) whether a sequence is close to, or the same as, one of the held-out ones."""
    known = set(held_out)
    # Sequences too short for an 8-mer are close to nothing, yet may be repeated.
    result = np.fromiter((s in known for s in sequences), dtype=np.bool_, count=len(sequences))
    for rows, _ in close_pairs(kmer_matrix(sequences), _matrix_of(tuple(held_out))):
        result[rows] = True
    return result


def linked_groups(sequences: Sequence[str], labels: Sequence[str]) -> dict[str, int]:
    """Number of the group of each label; labels fall together when any of their sequences are close."""
    names, label_of = np.unique(np.asarray(labels), return_inverse=True)
    matrix = kmer_matrix(sequences)
    links = [np.unique(label_of[np.stack(pairs)], axis=1) for pairs in close_pairs(matrix, matrix)]
    groups = linked_nodes(np.concatenate(links, axis=1), len(names))
    return {str(name): int(group) for name, group in zip(names, groups, strict=True)}


def greedy_clusters(sequences: Sequence[str]) -> NDArray[np.int64]:
    """(n,) cluster numbers: longest first, a sequence joins the first earlier representative that it is close to."""
    order = np.argsort([-len(s) for s in sequences], kind="stable")
    matrix = kmer_matrix([sequences[k] for k in order])
    # Sequences without an 8-mer are close to nothing, themselves included.
    cluster = np.arange(len(sequences))
    for rows, columns in close_pairs(matrix, matrix):
        links = sparse.csr_matrix((np.ones(len(rows), dtype=np.bool_), (rows, columns)), shape=(len(cluster),) * 2)
        for row in np.unique(rows):
            earlier = links.indices[links.indptr[row] : links.indptr[row + 1]]
            earlier = earlier[earlier < row]
            cluster[row] = min(earlier[cluster[earlier] == earlier], default=row)
    result = np.empty_like(cluster)
    result[order] = cluster
    return result


def separate_folds(sequences: Sequence[str], *, folds: int = 5, share: float = 0.5, seed: int = 0) -> NDArray[np.int64]:
    """(n,) fold of each sequence; two that share more than ``share`` of both their 8-mer sets stay together.

    Linked groups are spread over the folds largest first, each into the smallest fold so far.
    """
    matrix = kmer_matrix(sequences)
    size = np.diff(matrix.indptr)
    links = [
        np.stack([row, column])[:, count > share * np.maximum(own, size[column])]
        for row, column, own, count in _shared(matrix, matrix, np.ones(len(size)))
    ]
    group = linked_nodes(np.concatenate(links, axis=1), len(sequences))
    group_sizes = np.bincount(group)
    order = np.random.default_rng(seed).permutation(len(group_sizes))
    fold_of_group, filled = np.zeros_like(group_sizes), np.zeros(folds, dtype=np.int64)
    for number in order[np.argsort(-group_sizes[order], kind="stable")]:
        fold_of_group[number] = filled.argmin()
        filled[fold_of_group[number]] += group_sizes[number]
    return fold_of_group[group]
