from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from rna_strategies import QUICK, structures

from rnafm_cli.errors import InputError
from rnafm_cli.rna.pairs import (
    Pairs,
    are_canonical,
    as_pairs,
    canonical_matrix,
    pairs_to_partners,
    validate,
)


@QUICK
@given(structures())
def test_partners_are_those_of_the_pairs(structure: tuple[int, Pairs]) -> None:
    length, pairs = structure
    validate(pairs, length)
    partners = pairs_to_partners(pairs, length)
    assert np.array_equal(as_pairs([(i, j) for i, j in enumerate(partners.tolist()) if j >= 0]), pairs)


def test_as_pairs_sorts_and_drops_repeats() -> None:
    assert as_pairs([(9, 2), (1, 5), (2, 9)]).tolist() == [[1, 5], [2, 9]]
    assert as_pairs([]).shape == (0, 2)


@pytest.mark.parametrize("wrong", [[(1, 1)], [(-1, 3)], [(1, 2, 3)], np.array([[0.0, 2.0]])])
def test_as_pairs_refuses_nonsense(wrong: object) -> None:
    with pytest.raises(ValueError):
        as_pairs(wrong)  # type: ignore[arg-type]


def test_canonical_pairs_are_au_gc_gu_and_nothing_else() -> None:
    letters = "ACGURYKMSWBDHVN"
    matrix = canonical_matrix(letters)
    canonical = {letters[i] + letters[j] for i, j in np.argwhere(matrix)}
    assert canonical == {"AU", "UA", "GC", "CG", "GU", "UG"}
    pairs = np.argwhere(np.triu(np.ones((15, 15)), 1))
    assert np.array_equal(are_canonical(pairs, letters), matrix[pairs[:, 0], pairs[:, 1]])


def test_validate_names_the_fault() -> None:
    validate(as_pairs([(1, 7)]), 9, min_loop=3)
    with pytest.raises(InputError, match="pair 3-6 encloses fewer than 3 bases"):
        validate(as_pairs([(2, 5)]), 9, min_loop=3)
