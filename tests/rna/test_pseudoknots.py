from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from rna_strategies import QUICK, SEEDS, random_pairs, structures

from rnafm_cli.errors import InputError
from rnafm_cli.rna.pairs import (
    Pairs,
    as_pairs,
    crossing,
    from_dot_bracket,
    is_nested,
    layers,
    to_dot_bracket,
)


def most_nested(pairs: Pairs) -> int:
    """Size of the largest subset without crossings, by trying all."""
    for size in range(len(pairs), 0, -1):
        if any(is_nested(pairs[list(subset)]) for subset in combinations(range(len(pairs)), size)):
            return size
    return 0


@QUICK
@given(structures())
def test_text_round_trips_through_letters(structure: tuple[int, Pairs]) -> None:
    length, pairs = structure
    text = to_dot_bracket(pairs, length, letters=True)
    assert len(text) == length
    assert np.array_equal(from_dot_bracket(text), pairs)


@QUICK
@given(structures())
def test_text_without_letters_holds_the_first_four_layers(structure: tuple[int, Pairs]) -> None:
    length, pairs = structure
    text = to_dot_bracket(pairs, length)
    assert set(text) <= set(".()[]{}<>")
    assert np.array_equal(from_dot_bracket(text), as_pairs(np.concatenate([pairs[:0], *layers(pairs)[:4]])))


@QUICK
@given(structures())
def test_layers_split_pairs_into_nested_sets(structure: tuple[int, Pairs]) -> None:
    _, pairs = structure
    found = layers(pairs)
    assert all(is_nested(layer) and len(layer) for layer in found)
    assert sorted(p for layer in found for p in layer.tolist()) == pairs.tolist()
    assert all(len(a) >= len(b) for a, b in zip(found, found[1:], strict=False))


@QUICK
@given(SEEDS)
def test_first_layer_is_as_large_as_any(seed: int) -> None:
    pairs = random_pairs(np.random.default_rng(seed), 24, 9)
    assert len(layers(pairs)[0]) == most_nested(pairs)


@QUICK
@given(structures())
def test_nested_means_no_crossing(structure: tuple[int, Pairs]) -> None:
    _, pairs = structure
    assert is_nested(pairs) == (not crossing(pairs, pairs).any())


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("((..[[..))..]]", "((..[[..))..]]"),
        ("((..[[[..))..]]]", "[[..(((..]]..)))"),
        ("[[..]]", "((..))"),
        ("(.[.{.<.).].}.>", "(.[.{.<.).].}.>"),
        # A bulge does not split a stem: five pairs outweigh four although each half is smaller.
        ("[[[.[[..((((..]].]]]..))))", "(((.((..[[[[..)).)))..]]]]"),
        ("", ""),
        (".", "."),
    ],
)
def test_larger_stem_takes_round_brackets_then_the_first_to_open(text: str, written: str) -> None:
    assert to_dot_bracket(from_dot_bracket(text), len(text)) == written


def test_fifth_layer_needs_letters() -> None:
    text = "([{<A)]}>a"
    pairs = from_dot_bracket(text)
    assert len(layers(pairs)) == 5
    assert to_dot_bracket(pairs, 10, letters=True) == text
    assert to_dot_bracket(pairs, 10) == "([{<.)]}>."
    assert to_dot_bracket(pairs, 10, max_layers=1) == "(....)...."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(.))", r"'\)' at position 4 closes nothing"),
        ("((.)", r"'\(' at position 1 is never closed"),
        ("[(.]", r"'\(' at position 2 is never closed"),
        ("(.?)", r"'\?' at position 3 is not a dot-bracket symbol"),
        ("aA", r"'a' at position 1 closes nothing"),
    ],
)
def test_broken_text_is_located(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_dot_bracket(text)


def test_other_symbols_for_unpaired_on_request() -> None:
    assert from_dot_bracket("(:_-,)", unpaired=".:_-,").tolist() == [[0, 5]]


def test_hundreds_of_crossing_stems_are_layered() -> None:
    rng = np.random.default_rng(0)
    pairs = random_pairs(rng, 1000, 400)
    found = layers(pairs)
    assert sum(map(len, found)) == 400
    assert is_nested(found[0])
