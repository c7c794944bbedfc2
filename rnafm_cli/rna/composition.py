"""Vectors of sequences without any model: k-mer shares and one-hot letters.

Shape suffix: N sequences.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

__all__ = ["kmer_frequencies", "one_hot"]

_LETTERS = "ACGU"


def kmer_frequencies(sequences: Sequence[str], k: int = 4) -> np.ndarray:
    """(N, 4 ** k) float32 shares of each k-mer of A, C, G, U."""
    table = np.full(256, -1, dtype=np.int64)
    for code, letter in enumerate(_LETTERS):
        table[ord(letter)] = code
    result = np.zeros((len(sequences), 4**k), dtype=np.float32)
    powers = 4 ** np.arange(k - 1, -1, -1)
    for row, sequence in enumerate(sequences):
        codes = table[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]
        if len(codes) < k:
            continue
        words = np.lib.stride_tricks.sliding_window_view(codes, k)
        words = words[(words >= 0).all(axis=1)] @ powers
        result[row] = np.bincount(words, minlength=4**k) / max(1, len(words))
    return result


def one_hot(sequences: Sequence[str], length: int = 1022) -> sparse.csr_matrix:
    """(N, 4 * length) sparse one-hot letters from the 5' end, padded with zeros and cut at ``length``."""
    rows, columns = [], []
    for row, sequence in enumerate(sequences):
        codes = np.asarray([_LETTERS.find(letter) for letter in sequence[:length]])
        place = np.flatnonzero(codes >= 0)
        columns.append(place * 4 + codes[place])
        rows.append(np.full(len(place), row))
    ones = np.ones(sum(map(len, rows)), dtype=np.float32)
    shape = (len(sequences), 4 * length)
    return sparse.csr_matrix((ones, (np.concatenate(rows), np.concatenate(columns))), shape=shape)
