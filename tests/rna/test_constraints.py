from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rna_strategies import SEEDS, THOROUGH, random_pairs, random_probs, random_sequence

from rnafm_cli.errors import InputError
from rnafm_cli.rna.decode import Constraints, DecodeOptions, decode
from rnafm_cli.rna.pairs import from_dot_bracket, layers, to_dot_bracket, validate

DECODERS = ("mea", "threshold", "matching", "upstream")


def test_symbols_of_rnafold() -> None:
    found = Constraints("(x.|<[>).]")
    assert found.pairs.tolist() == [[0, 7], [5, 9]]
    assert np.flatnonzero(found.settled).tolist() == [0, 1, 5, 7, 9]
    assert np.flatnonzero(found.marks("|<>")).tolist() == [3, 4, 6]


@pytest.mark.parametrize(("text", "message"), [("(..", "position 1 is never closed"), ("..?", "position 3")])
def test_broken_constraints_are_located(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Constraints(text)


@THOROUGH
@given(SEEDS, st.integers(8, 50), st.sampled_from(DECODERS), st.booleans(), st.booleans())
def test_constraints_hold_whatever_the_probabilities(
    seed: int, length: int, decoder: str, isolated: bool, pseudoknots: bool
) -> None:
    rng = np.random.default_rng(seed)
    sequence, probs = random_sequence(rng, length), random_probs(rng, length, 0.5)
    forced = random_pairs(rng, length, 3)
    forced = forced[forced[:, 1] - forced[:, 0] > 3]
    if not pseudoknots:
        forced = layers(forced)[0] if len(forced) else forced
    unpaired = rng.random(length) < 0.3
    unpaired[forced.ravel()] = False
    brackets = to_dot_bracket(forced, length)
    constraints = Constraints("".join("x" if free else b for free, b in zip(unpaired, brackets, strict=True)))
    options = DecodeOptions(
        decoder=decoder,  # type: ignore[arg-type]
        isolated=isolated,
        pseudoknots=pseudoknots,
        canonical=False,
        min_loop=3,
        threshold=0.01,
    )
    pairs = decode(probs, sequence, options, constraints=constraints)
    validate(pairs, length, min_loop=3)
    assert not unpaired[pairs].any()
    assert {tuple(p) for p in forced.tolist()} <= {tuple(p) for p in pairs.tolist()}
    if decoder != "upstream" or not pseudoknots:
        assert len(layers(pairs)) <= (4 if pseudoknots else 1)


@pytest.mark.parametrize("decoder", DECODERS)
def test_direction_and_pairing(decoder: str) -> None:
    sequence = "GGGAAACCCAAAGGG"
    left, right = from_dot_bracket("(((...)))......"), from_dot_bracket("......(((...)))")
    probs = np.zeros((15, 15))
    probs[left[:, 0], left[:, 1]], probs[right[:, 0], right[:, 1]] = 0.55, 0.52
    probs += probs.T
    options = DecodeOptions(decoder=decoder, threshold=0.3, canonical=True)  # type: ignore[arg-type]

    def text(symbols: str) -> str:
        return to_dot_bracket(decode(probs, sequence, options, constraints=Constraints(symbols)), 15)

    assert text("...............") == "(((...)))......"
    assert text("......<<<......") == "......(((...)))"
    assert text("......>>>......") == "(((...)))......"
    assert text("xxx............") == "......(((...)))"


def test_forced_paired_bases_pair_against_the_odds() -> None:
    probs = np.zeros((9, 9))
    probs[0, 8] = probs[8, 0] = 0.05
    assert decode(probs, "GAAAAAAAC").tolist() == []
    for decoder in ("mea", "matching"):
        options = DecodeOptions(decoder=decoder)  # type: ignore[arg-type]
        assert decode(probs, "GAAAAAAAC", options, constraints=Constraints("|........")).tolist() == [[0, 8]]


def test_forced_pairs_may_be_non_canonical_and_carry_their_region() -> None:
    probs = np.zeros((12, 12))
    probs[2, 11] = probs[11, 2] = 0.9
    constraints = Constraints("(.......)...")
    nested = decode(probs, "AAGAAAAAAAAC", DecodeOptions(pseudoknots=False), constraints=constraints)
    assert nested.tolist() == [[0, 8]]


def test_contradictions_are_errors() -> None:
    with pytest.raises(InputError, match="covers 10 bases, the sequence has 4"):
        Constraints("." * 10).check(4, DecodeOptions())
    with pytest.raises(InputError, match="encloses fewer than 3"):
        Constraints("(..)").check(4, DecodeOptions())
    Constraints("(..)").check(4, DecodeOptions(decoder="upstream"))
    with pytest.raises(InputError, match="allow pseudoknots"):
        Constraints("(.[....)...]").check(12, DecodeOptions(pseudoknots=False))
