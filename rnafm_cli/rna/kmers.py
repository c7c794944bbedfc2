"""8-mers and longer words that sequences share: the project's measures of closeness and of copies.

Shapes: N words.

Two sequences are close when the distinct 8-mers they share exceed 20 % of the smaller of their two sets plus
n1 * n2 / 65536, the number that chance gives. All searches run over an inverted index (a sparse product).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

_LONGEST = 31
"""A word of A, C, G, U takes two bits a letter of a 64-bit number."""
_WORD_ROWS_AT_ONCE = 50_000
_BREAK = 4
_CODES = np.full(256, _BREAK, dtype=np.uint8)
for _code, _letters in enumerate(("A", "C", "G", "UT")):
    for _letter in _letters:
        _CODES[ord(_letter)] = _code


def words_of(sequences: Sequence[str], length: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """All words of a length in some sequences, words with a letter other than A, C, G, U left out.

    Returns:
        (N,) words as numbers and (N,) the number of the sequence that holds each, ascending.

    Raises:
        ValueError: for a length beyond 31.
    """
    if not 1 <= length <= _LONGEST:
        raise ValueError(f"words have 1 to {_LONGEST} letters, not {length}")
    joined = _CODES[np.frombuffer("-".join(sequences).encode("latin-1", "replace"), dtype=np.uint8)]
    count = len(joined) - length + 1
    if count < 1:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    ends = np.cumsum([len(sequence) + 1 for sequence in sequences])
    breaks = np.concatenate([[0], np.cumsum(joined == _BREAK)])
    starts = np.flatnonzero(breaks[length:] == breaks[:-length])
    return _rolled(joined, length)[starts], np.searchsorted(ends, starts, side="right")


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
    rows = np.concatenate([rows, np.arange(len(sequences))])
    column = np.concatenate([word, whole + (word.max() + 1 if len(word) else 0)])
    width = int(column.max()) + 1 if len(column) else 0
    # Sequences and words are the two sides of one graph.
    links = sparse.coo_matrix(
        (np.ones(len(rows), dtype=np.bool_), (rows, column + len(sequences))), shape=(len(sequences) + width,) * 2
    )
    return connected_components(links, directed=False)[1][: len(sequences)].astype(np.int64)


def _rolled(codes: NDArray[np.uint8], length: int) -> NDArray[np.uint64]:
    """The number of the word that begins at each place, by joining words of half the length."""
    count = len(codes) - length + 1
    power, size = codes.astype(np.uint64), 1
    result, done = np.zeros(count, dtype=np.uint64), 0
    while True:
        if length & size:
            result = (result << np.uint64(2 * size)) | power[done : done + count]
            done += size
        if done == length:
            return result
        power = (power[:-size] << np.uint64(2 * size)) | power[size:]
        size *= 2


K = 8
KMERS = 4**K
SHARE = 0.2
_ROWS_AT_ONCE = 1000


def kmer_set(sequence: str) -> NDArray[np.int32]:
    """Distinct 8-mers of A, C, G, U in a sequence, as ascending numbers below 65,536."""
    return np.unique(words_of([sequence], K)[0]).astype(np.int32)


def kmer_matrix(sequences: Sequence[str]) -> sparse.csr_matrix:
    """(n, 65536) matrix with a one where a sequence holds an 8-mer."""
    words, rows = words_of(sequences, K)
    matrix = sparse.csr_matrix((np.ones(len(rows), dtype=np.int32), (rows, words)), shape=(len(sequences), KMERS))
    matrix.data[:] = 1
    return matrix


def are_close(first: str, second: str) -> bool:
    """Whether two sequences share more 8-mers than the rule allows."""
    a, b = kmer_set(first), kmer_set(second)
    return len(np.intersect1d(a, b)) > SHARE * min(len(a), len(b)) + len(a) * len(b) / KMERS


def close_pairs(rows: sparse.csr_matrix, others: sparse.csr_matrix) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield (row numbers, numbers among the others) of close pairs, a block of rows at a time.

    Args:
        rows, others: matrices of :func:`kmer_matrix`; a sequence is close to itself.
    """
    table = others.T.tocsr()
    other_sizes = np.diff(others.indptr)
    for start in range(0, rows.shape[0], _ROWS_AT_ONCE):
        block = rows[start : start + _ROWS_AT_ONCE]
        shared = (block @ table).tocoo()
        n1 = np.diff(block.indptr)[shared.row].astype(np.float64)
        n2 = other_sizes[shared.col].astype(np.float64)
        close = shared.data > SHARE * np.minimum(n1, n2) + n1 * n2 / KMERS
        yield shared.row[close].astype(np.int64) + start, shared.col[close].astype(np.int64)


@lru_cache(maxsize=1)
def _matrix_of(sequences: tuple[str, ...]) -> sparse.csr_matrix:
    # Many alignments are held against the same sequences.
    return kmer_matrix(sequences)


def close_to_any(sequences: Sequence[str], held_out: Sequence[str]) -> NDArray[np.bool_]:
    """(n,) whether a sequence is close to, or the same as, one of the held-out ones."""
    result = np.zeros(len(sequences), dtype=np.bool_)
    for rows, _ in close_pairs(kmer_matrix(sequences), _matrix_of(tuple(held_out))):
        result[rows] = True
    known = set(held_out)
    # Sequences too short for an 8-mer are close to nothing, yet may be repeated.
    return result | np.fromiter((s in known for s in sequences), dtype=np.bool_, count=len(sequences))


def linked_groups(sequences: Sequence[str], labels: Sequence[str]) -> dict[str, int]:
    """Number of the group of each label; labels fall together when any of their sequences are close."""
    names, label_of = np.unique(np.asarray(labels), return_inverse=True)
    matrix = kmer_matrix(sequences)
    links = sparse.csr_matrix((len(names), len(names)), dtype=np.bool_)
    for rows, columns in close_pairs(matrix, matrix):
        ones = np.ones(len(rows), dtype=np.bool_)
        links = links + sparse.csr_matrix((ones, (label_of[rows], label_of[columns])), shape=links.shape)
    _, groups = connected_components(links, directed=False)
    return {str(name): int(group) for name, group in zip(names, groups, strict=True)}


def greedy_clusters(sequences: Sequence[str]) -> NDArray[np.int64]:
    """(n,) cluster numbers: longest first, a sequence joins the first earlier representative that it is close to."""
    order = np.argsort([-len(s) for s in sequences], kind="stable")
    matrix = kmer_matrix([sequences[k] for k in order])
    cluster = np.full(len(sequences), -1, dtype=np.int64)
    is_first = np.zeros(len(sequences), dtype=np.bool_)
    for rows, columns in close_pairs(matrix, matrix):
        by_row = np.argsort(rows, kind="stable")
        rows, columns = rows[by_row], columns[by_row]
        block = range(int(rows[0]), int(rows[-1]) + 1) if len(rows) else range(0)
        bounds = np.searchsorted(rows, [*block, block.stop])
        for row, low, high in zip(block, bounds[:-1], bounds[1:], strict=True):
            earlier = columns[low:high]
            earlier = earlier[(earlier < row) & is_first[earlier]]
            if len(earlier):
                cluster[row] = earlier.min()
            else:
                cluster[row], is_first[row] = row, True
    # Rows without an 8-mer are close to nothing, themselves included.
    cluster = np.where(cluster < 0, np.arange(len(sequences)), cluster)
    result = np.empty(len(sequences), dtype=np.int64)
    result[order] = cluster
    return result


def separate_folds(sequences: Sequence[str], *, folds: int = 5, share: float = 0.5, seed: int = 0) -> np.ndarray:
    """(n,) fold of each sequence; two that share more than ``share`` of both their 8-mer sets stay together.

    Linked groups are spread over the folds largest first, each into the smallest fold so far.
    """
    matrix = kmer_matrix(sequences)
    table = matrix.T.tocsr()
    sizes = np.diff(matrix.indptr)
    rows, columns = [], []
    for start in range(0, len(sequences), _ROWS_AT_ONCE):
        shared = (matrix[start : start + _ROWS_AT_ONCE] @ table).tocoo()
        linked = shared.data > share * np.maximum(sizes[shared.row + start], sizes[shared.col])
        rows.append((shared.row[linked] + start).astype(np.int32))
        columns.append(shared.col[linked].astype(np.int32))
    row, column = np.concatenate(rows), np.concatenate(columns)
    links = sparse.csr_matrix((np.ones(len(row), dtype=np.bool_), (row, column)), shape=(len(sequences),) * 2)
    _, group = connected_components(links, directed=False)
    group_sizes = np.bincount(group)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(group_sizes))
    order = order[np.argsort(-group_sizes[order], kind="stable")]
    load = np.zeros(folds, dtype=np.int64)
    fold_of_group = np.zeros(len(group_sizes), dtype=np.int64)
    for number in order:
        fold_of_group[number] = load.argmin()
        load[fold_of_group[number]] += group_sizes[number]
    return fold_of_group[group]
