"""Long words that sequences share: what tells copies and overlapping windows from chance.

Shapes: N words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

__all__ = ["groups_by_words", "shares_word", "words_of"]

_LONGEST = 31
"""A word of A, C, G, U takes two bits a letter of a 64-bit number."""
_ROWS_AT_ONCE = 50_000
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
    for first in range(0, len(sequences), _ROWS_AT_ONCE):
        found, rows = words_of(sequences[first : first + _ROWS_AT_ONCE], length)
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
