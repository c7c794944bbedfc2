"""Base pairs: pair lists, partner arrays and dot-bracket text.

A pair list is an (n, 2) integer array, 0-based, i < j in each row, rows ascending. A partner array has
one entry per base: the 0-based position of its partner or -1. Dot-bracket text writes one layer of nested pairs per
kind of bracket, in the order ``()``, ``[]``, ``{}``, ``<>`` and then ``Aa``, ``Bb``, ... as in the extended form of
ViennaRNA, DSSR and biotite. Layer 0 keeps as many pairs as a nested structure can hold, so that programs that know only
``()`` see the main fold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.rna.alphabet import letter_codes

Pairs: TypeAlias = NDArray[np.int64]

# Row and column 0 stand for every other letter: an ambiguous base never makes a canonical pair.
_CANONICAL = np.zeros((5, 5), dtype=np.bool_)
for _a, _b in ("AU", "CG", "GU"):
    _i, _j = "ACGU".index(_a) + 1, "ACGU".index(_b) + 1
    _CANONICAL[_i, _j] = _CANONICAL[_j, _i] = True


def no_pairs() -> Pairs:
    """The pair list of an unfolded RNA, shape (0, 2)."""
    return np.empty((0, 2), dtype=np.int64)


def as_pairs(pairs: Iterable[Sequence[int]] | NDArray[np.integer]) -> Pairs:
    """Any collection of (i, j) as a pair list: int64, i < j, ascending, each pair once.

    Raises:
        ValueError: for a wrong shape, a negative position or a base paired with itself.
    """
    array = np.asarray(pairs if isinstance(pairs, np.ndarray) else list(pairs))
    if array.size == 0:
        return no_pairs()
    if array.ndim != 2 or array.shape[1] != 2 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"pairs need shape (n, 2) and integers, not {array.shape} of {array.dtype}")
    if array.min() < 0:
        raise ValueError("pairs hold a negative position")
    if (array[:, 0] == array[:, 1]).any():
        raise ValueError("a base cannot pair with itself")
    return np.unique(np.sort(array.astype(np.int64), axis=1), axis=0)


def pairs_to_partners(pairs: Pairs, length: int) -> NDArray[np.int64]:
    """Partner array of shape (length,) of a valid pair list."""
    partners = np.full(length, -1, dtype=np.int64)
    partners[pairs[:, 0]] = pairs[:, 1]
    partners[pairs[:, 1]] = pairs[:, 0]
    return partners


def are_canonical(pairs: Pairs, sequence: str) -> NDArray[np.bool_]:
    """For each pair whether it is AU, GC or GU; shape (n,). Any letter but A, C, G, U makes it false."""
    codes = letter_codes(sequence)
    return _CANONICAL[codes[pairs[:, 0]], codes[pairs[:, 1]]]


def canonical_matrix(sequence: str) -> NDArray[np.bool_]:
    """Symmetric (L, L) matrix, true where the two bases could form AU, GC or GU."""
    codes = letter_codes(sequence)
    return _CANONICAL[codes[:, None], codes[None, :]]


def validate(pairs: Pairs, length: int, *, min_loop: int = 0) -> None:
    """Check that a pair list is a structure of an RNA of ``length`` nucleotides, ``min_loop`` bases in each loop.

    Raises:
        InputError: naming (1-based) the first base or pair at fault.
    """
    if len(pairs) == 0:
        return
    outside = pairs[(pairs < 0).any(axis=1) | (pairs >= length).any(axis=1)]
    if len(outside):
        raise InputError(f"pair {_shown(outside[0])} lies outside a sequence of {length} nt")
    counts = np.bincount(pairs.ravel(), minlength=length)
    if counts.max() > 1:
        raise InputError(f"base {int(counts.argmax()) + 1} pairs more than once")
    tight = pairs[pairs[:, 1] - pairs[:, 0] <= min_loop]
    if len(tight):
        raise InputError(f"pair {_shown(tight[0])} encloses fewer than {min_loop} bases")


def _shown(pair: NDArray[np.int64]) -> str:
    return f"{int(pair[0]) + 1}-{int(pair[1]) + 1}"


_OPEN = "([{<" + ascii_uppercase
_CLOSE = ")]}>" + ascii_lowercase
BRACKET_LAYERS = 4
"""Layers that dot-bracket text can show without letters."""


def crossing(pairs: Pairs, others: Pairs) -> NDArray[np.bool_]:
    """(n, m): which of n pairs cross which of m others, true where i < k < j < l, or k < i < l < j."""
    i, j = pairs[:, :1], pairs[:, 1:]
    k, m = others[:, 0], others[:, 1]
    return ((i < k) & (k < j) & (j < m)) | ((k < i) & (i < m) & (m < j))


def is_nested(pairs: Pairs) -> bool:
    """Whether no two pairs cross (no pseudoknot); each base has at most one partner."""
    closes: list[int] = []
    for i, j in pairs.tolist():
        while closes and closes[-1] < i:
            closes.pop()
        if closes and closes[-1] < j:
            return False
        closes.append(j)
    return True


def layers(pairs: Pairs) -> list[Pairs]:
    """Split pairs into nested sets; each takes as many of the remaining pairs as a nested set can hold.

    Of equally large choices the one that opens first (5') goes into the lower layer. Bases must have at
    most one partner; without pairs there is no layer.
    """
    rest = as_pairs(pairs)
    found: list[Pairs] = []
    while len(rest):
        kept = _largest_nested(rest)
        found.append(rest[kept])
        rest = rest[~kept]
    return found


def to_dot_bracket(pairs: Pairs, length: int, *, max_layers: int | None = None, letters: bool = False) -> str:
    """Dot-bracket text of a pair list.

    >>> to_dot_bracket(as_pairs([(0, 5), (1, 4), (3, 7)]), 9)
    '((.[)).].'

    Args:
        pairs: (n, 2), 0-based; each base in at most one pair.
        max_layers: layers to write, at most 4, or 30 with ``letters``; pairs of higher layers are left out
            (written as dots). Compare with ``len(layers(pairs))`` to know whether that happens.
        letters: write layers beyond the fourth as ``Aa``, ``Bb``, ...
    """
    most = len(_OPEN) if letters else BRACKET_LAYERS
    most = most if max_layers is None else min(most, max_layers)
    return bracketed(pairs, length, _OPEN[:most], _CLOSE)


def bracketed(pairs: Pairs, length: int, opens: str, closes: str) -> str:
    """The text of a pair list with an opening and a closing symbol for each layer, dots for all else."""
    text = ["."] * length
    for opening, closing, layer in zip(opens, closes, layers(pairs), strict=False):
        for i, j in layer.tolist():
            text[i], text[j] = opening, closing
    return "".join(text)


def from_dot_bracket(text: str, *, unpaired: str = ".") -> Pairs:
    """Pair list of dot-bracket text; all kinds of brackets and letters are understood.

    >>> from_dot_bracket("((.[)).].").tolist()
    [[0, 5], [1, 4], [3, 7]]

    Args:
        unpaired: the characters that stand for an unpaired base.

    Raises:
        InputError: naming (1-based) the position of a foreign character or of a bracket without partner.
    """
    opened: dict[str, list[int]] = {}
    pairs: list[tuple[int, int]] = []
    for position, symbol in enumerate(text):
        if symbol in unpaired:
            continue
        if symbol in _OPEN:
            opened.setdefault(symbol, []).append(position)
        elif symbol in _CLOSE:
            partner = opened.get(_OPEN[_CLOSE.index(symbol)])
            if not partner:
                raise InputError(f"unbalanced structure: '{symbol}' at position {position + 1} closes nothing")
            pairs.append((partner.pop(), position))
        else:
            raise InputError(f"'{symbol}' at position {position + 1} is not a dot-bracket symbol")
    left = [(stack[-1], symbol) for symbol, stack in opened.items() if stack]
    if left:
        position, symbol = min(left)
        raise InputError(f"unbalanced structure: '{symbol}' at position {position + 1} is never closed")
    return as_pairs(pairs)


def _largest_nested(pairs: Pairs) -> NDArray[np.bool_]:
    """Mask (n,) of a largest subset of pairs without crossings."""
    if is_nested(pairs):
        return np.ones(len(pairs), dtype=np.bool_)
    stem_of, sizes = _stem_numbers(pairs)
    first = np.array([np.flatnonzero(stem_of == s)[0] for s in range(len(sizes))])
    knotted = np.flatnonzero(crossing(pairs[first], pairs[first]).any(axis=1))
    kept = np.ones(len(sizes), dtype=np.bool_)
    kept[knotted] = _heaviest_nested(pairs[first[knotted]], sizes[knotted])
    return kept[stem_of]


def _stem_numbers(pairs: Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of the stem of each pair (n,) and the stems' sizes; bulges and loops do not break a stem.

    Pairs that stack once unpaired bases are taken out cross the same other pairs, so they stay together.
    """
    rank = np.searchsorted(np.sort(pairs.ravel()), pairs)
    numbers = {tuple(r): -1 for r in rank.tolist()}
    sizes: list[int] = []
    for i, j in rank.tolist():
        outer = numbers.get((i - 1, j + 1))
        if outer is None:
            outer = len(sizes)
            sizes.append(0)
        numbers[i, j] = outer
        sizes[outer] += 1
    return np.array(list(numbers.values())), np.array(sizes)


def _heaviest_nested(pairs: Pairs, weights: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask (n,) of a set of pairs without crossings of greatest total weight, by interval dynamic programming."""
    ends = np.sort(pairs.ravel())
    spans = np.searchsorted(ends, pairs)
    pair_at = np.full(len(ends), -1)
    pair_at[spans[:, 0]] = np.arange(len(pairs))
    # best[i, j]: greatest weight among pairs whose ends both lie in i .. j-1.
    best = np.zeros((len(ends) + 2, len(ends) + 1), dtype=np.int32)
    for i in range(len(ends) - 1, -1, -1):
        best[i] = best[i + 1]
        if (pair := pair_at[i]) >= 0:
            j = spans[pair, 1]
            inside = weights[pair] + best[i + 1, j]
            best[i, j + 1 :] = np.maximum(best[i, j + 1 :], inside + best[j + 1, j + 1 :])
    chosen = np.zeros(len(pairs), dtype=np.bool_)
    open_spans = [(0, len(ends))]
    while open_spans:
        i, stop = open_spans.pop()
        while i < stop:
            pair = pair_at[i]
            j = spans[pair, 1] if pair >= 0 else stop
            if j < stop and best[i, stop] == weights[pair] + best[i + 1, j] + best[j + 1, stop]:
                chosen[pair] = True
                open_spans.append((j + 1, stop))
                stop = j
            i += 1
    return chosen
