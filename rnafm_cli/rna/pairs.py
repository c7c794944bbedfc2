"""Base pairs and their three forms: pair lists, partner arrays and dense matrices.

A pair list is an (n, 2) integer array, 0-based, i < j in each row, rows ascending. A partner array has
one entry per base: the 0-based position of its partner or -1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def pairs_from_partners(partners: NDArray[np.integer]) -> Pairs:
    """Pair list of a partner array (0-based, -1 for unpaired).

    Raises:
        ValueError: when some base's partner does not point back at it.
    """
    partners = np.asarray(partners, dtype=np.int64)
    paired = np.flatnonzero(partners >= 0)
    others = partners[paired]
    if (others >= len(partners)).any() or (others == paired).any() or (partners[others] != paired).any():
        raise ValueError("the partner array is not symmetric")
    opens = paired < others
    return np.stack([paired[opens], others[opens]], axis=1)


def pairs_to_matrix(pairs: Pairs, length: int) -> NDArray[np.bool_]:
    """Symmetric (length, length) matrix, true where two bases pair."""
    matrix = np.zeros((length, length), dtype=np.bool_)
    matrix[pairs[:, 0], pairs[:, 1]] = True
    matrix[pairs[:, 1], pairs[:, 0]] = True
    return matrix


def pairs_from_matrix(matrix: NDArray[np.generic]) -> Pairs:
    """Pair list of the non-zero entries above the diagonal of an (L, L) matrix; a base may occur twice."""
    return np.argwhere(np.triu(matrix, 1)).astype(np.int64)


def are_canonical(pairs: Pairs, sequence: str) -> NDArray[np.bool_]:
    """For each pair whether it is AU, GC or GU; shape (n,). Any letter but A, C, G, U makes it false."""
    codes = letter_codes(sequence)
    return _CANONICAL[codes[pairs[:, 0]], codes[pairs[:, 1]]]


def canonical_matrix(sequence: str) -> NDArray[np.bool_]:
    """Symmetric (L, L) matrix, true where the two bases could form AU, GC or GU."""
    codes = letter_codes(sequence)
    return _CANONICAL[codes[:, None], codes[None, :]]


def validate(
    pairs: Pairs, length: int, *, sequence: str | None = None, min_loop: int = 0, canonical: bool = False
) -> None:
    """Check that a pair list is a structure of an RNA of ``length`` nucleotides.

    Args:
        sequence: needed for ``canonical``.
        min_loop: fewest bases between two partners.
        canonical: demand AU, GC or GU for every pair.

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
    if canonical:
        if sequence is None:
            raise ValueError("canonical=True needs the sequence")
        odd = pairs[~are_canonical(pairs, sequence)]
        if len(odd):
            letters = "-".join(sequence[p] for p in odd[0])
            raise InputError(f"pair {_shown(odd[0])} is {letters}, which is not canonical")


def stems(pairs: Pairs) -> list[Pairs]:
    """The pairs grouped into runs of stacked pairs (i, j), (i+1, j-1), ..., ascending by first base."""
    if len(pairs) == 0:
        return []
    partner_of = dict(pairs.tolist())
    found: list[Pairs] = []
    while partner_of:
        i = next(iter(partner_of))
        j = partner_of.pop(i)
        stem = [(i, j)]
        while partner_of.get(stem[-1][0] + 1) == stem[-1][1] - 1:
            partner_of.pop(stem[-1][0] + 1)
            stem.append((stem[-1][0] + 1, stem[-1][1] - 1))
        found.append(np.array(stem, dtype=np.int64))
    return found


def _shown(pair: NDArray[np.int64]) -> str:
    return f"{int(pair[0]) + 1}-{int(pair[1]) + 1}"
