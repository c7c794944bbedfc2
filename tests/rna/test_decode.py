from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rna_strategies import SEEDS, THOROUGH, random_probs, random_sequence

from rnafm_cli.errors import UsageError
from rnafm_cli.rna.decode import DecodeOptions, add_knots, decode, limit_layers
from rnafm_cli.rna.pairs import (
    are_canonical,
    as_pairs,
    from_dot_bracket,
    is_nested,
    layers,
    no_pairs,
    to_dot_bracket,
    validate,
)

POSTPROCESS = Path(__file__).parents[1] / "data" / "rnafm_postprocess.npz"

OPTIONS = st.builds(
    DecodeOptions,
    decoder=st.sampled_from(["mea", "threshold", "matching", "upstream"]),
    threshold=st.sampled_from([None, 0.0, 0.1, 0.3]),
    min_loop=st.sampled_from([None, 0, 3, 5]),
    canonical=st.sampled_from([None, True, False]),
    pseudoknots=st.booleans(),
    isolated=st.booleans(),
    gamma=st.sampled_from([0.5, 1.0, 4.0]),
)


def probs_of(text: str, value: float | dict[str, float]) -> np.ndarray:
    """Probabilities that hold exactly the pairs of a dot-bracket text; a value for each opening bracket."""
    probs = np.zeros((len(text), len(text)))
    for i, j in from_dot_bracket(text).tolist():
        probs[i, j] = probs[j, i] = value[text[i]] if isinstance(value, dict) else value
    return probs


@THOROUGH
@given(SEEDS, st.integers(0, 60), st.sampled_from([0.1, 0.5, 1.0]), OPTIONS)
def test_every_result_is_valid(seed: int, length: int, sharpness: float, options: DecodeOptions) -> None:
    rng = np.random.default_rng(seed)
    sequence, probs = random_sequence(rng, length), random_probs(rng, length, sharpness)
    pairs = decode(probs, sequence, options)
    upstream = options.decoder == "upstream"
    min_loop = options.min_loop if options.min_loop is not None else (1 if upstream else 3)
    canonical = options.canonical if options.canonical is not None else not upstream
    validate(pairs, length, min_loop=min_loop)
    assert are_canonical(pairs, sequence).all() or not canonical
    assert (probs[pairs[:, 0], pairs[:, 1]] > (options.threshold or 0.0)).all()
    if not options.pseudoknots:
        assert is_nested(pairs)
    if not upstream:
        assert len(layers(pairs)) <= 4
        assert np.array_equal(from_dot_bracket(to_dot_bracket(pairs, length)), pairs)
    assert np.array_equal(decode(probs.T.copy(), sequence, options), pairs)


@pytest.mark.parametrize("decoder", ["mea", "threshold", "matching", "upstream"])
def test_isolated_pairs_go_on_request(decoder: str) -> None:
    text = "((....))(...)"
    sequence = "GGAAAACCGAAAC"
    kept = decode(probs_of(text, 0.9), sequence, DecodeOptions(decoder=decoder))  # type: ignore[arg-type]
    assert to_dot_bracket(kept, 13) == text
    kept = decode(probs_of(text, 0.9), sequence, DecodeOptions(decoder=decoder, isolated=False))  # type: ignore[arg-type]
    assert to_dot_bracket(kept, 13) == "((....))....."


@pytest.mark.parametrize("threshold", [0.5, 0.33993712])
@pytest.mark.parametrize("canonical", [True, False])
def test_upstream_rule_equals_upstream(threshold: float, canonical: bool) -> None:
    data = np.load(POSTPROCESS)
    sequence, probs = str(data["sequence"]), data["prob"]
    name = f"t{threshold:.8f}_nc{int(not canonical)}"
    full = data[f"full_{name}"]
    assert np.array_equal(np.triu(full, 1) > 0, np.triu(probs > threshold, 1))
    options = DecodeOptions(decoder="upstream", threshold=threshold, canonical=canonical or None)
    pairs = decode(probs, sequence, options)
    assert np.array_equal(pairs, np.argwhere(np.triu(data[f"single_{name}"])))


def test_upstream_keeps_its_own_defaults() -> None:
    probs = np.full((5, 5), 0.0)
    probs[0, 2] = probs[2, 0] = 0.6
    probs[3, 4] = probs[4, 3] = 0.9
    assert decode(probs, "AAAAA", DecodeOptions(decoder="upstream")).tolist() == [[0, 2]]
    assert decode(probs, "AAAAA").tolist() == []


PSEUDOKNOT = "GGGGAACCCCAAAACCCCAAGGGG"
KNOTTED = "((((..[[[[....))))..]]]]"


@pytest.mark.parametrize("decoder", ["mea", "threshold", "matching", "upstream"])
def test_pseudoknot_is_found(decoder: str) -> None:
    probs = probs_of(KNOTTED, {"(": 0.9, "[": 0.7})
    options = DecodeOptions(decoder=decoder, canonical=True)  # type: ignore[arg-type]
    assert to_dot_bracket(decode(probs, PSEUDOKNOT, options), 24) == KNOTTED
    nested = DecodeOptions(decoder=decoder, pseudoknots=False)  # type: ignore[arg-type]
    assert to_dot_bracket(decode(probs, PSEUDOKNOT, nested), 24) == "((((..........))))......"


@pytest.mark.parametrize(("value", "stem", "found"), [(0.31, 3, True), (0.7, 2, False), (0.29, 4, False)])
def test_knots_need_probability_and_length(value: float, stem: int, found: bool) -> None:
    text = KNOTTED.replace("[[[[", "[" * stem + "." * (4 - stem)).replace("]]]]", "." * (4 - stem) + "]" * stem)
    pairs = decode(probs_of(text, {"(": 0.9, "[": value}), PSEUDOKNOT)
    assert (len(pairs) == 4 + stem) is found


@pytest.mark.parametrize(("lost", "found"), [(0, True), (1, False), (2, False)])
def test_the_rest_of_a_rival_stem_is_no_knot(lost: int, found: bool) -> None:
    main, free = [[0, 20], [1, 19], [2, 18]], [[3, 30], [4, 29], [5, 28]]
    stem = as_pairs([(2 - k, 31 + k) for k in range(lost)] + free)
    added = add_knots(as_pairs(main), stem, np.full(len(stem), 0.5), min_stem=3, max_layers=4)
    assert added.tolist() == (main + free if found else main)


def test_best_knot_wins_and_layers_are_limited() -> None:
    main, knot, deeper = as_pairs([(0, 20), (1, 19)]), [(5, 30), (6, 29)], [(8, 35), (9, 34)]
    rival = [(5, 40), (6, 39)]
    candidates = as_pairs([*knot, *deeper, *rival])
    probs = np.array([0.5 if tuple(p) in rival else 0.8 for p in candidates.tolist()])
    assert add_knots(main, candidates, probs, min_stem=2, max_layers=4).tolist() == sorted(
        [*main.tolist(), *map(list, knot), *map(list, deeper)]
    )
    assert len(add_knots(main, candidates, probs, min_stem=2, max_layers=2)) == 4
    assert np.array_equal(add_knots(main, candidates, probs, min_stem=3, max_layers=4), main)


def test_pairs_to_keep_outlive_the_limit_on_layers() -> None:
    pairs = from_dot_bracket("((([)))]")
    assert len(limit_layers(pairs, no_pairs(), 1)) == 3
    assert limit_layers(pairs, as_pairs([(3, 7)]), 1).tolist() == [[3, 7]]


def test_ambiguous_letters_never_pair_by_default() -> None:
    text = "((((....))))"
    assert decode(probs_of(text, 0.9), "NNRYAAAARYNN").tolist() == []
    allowed = decode(probs_of(text, 0.9), "NNRYAAAARYNN", DecodeOptions(canonical=False))
    assert to_dot_bracket(allowed, 12) == text


def test_threshold_takes_the_better_of_rivals() -> None:
    probs = np.zeros((10, 10))
    probs[0, 9], probs[0, 8], probs[1, 8] = 0.6, 0.7, 0.9
    pairs = decode(probs + probs.T, "GGAAAAAACC", DecodeOptions(decoder="threshold"))
    assert pairs.tolist() == [[0, 9], [1, 8]]


@pytest.mark.parametrize("length", [0, 1, 4])
def test_too_short_to_pair(length: int) -> None:
    for decoder in ("mea", "threshold", "matching", "upstream"):
        options = DecodeOptions(decoder=decoder, canonical=True, min_loop=3)  # type: ignore[arg-type]
        assert decode(np.ones((length, length)), "GAAC"[:length], options).shape == (0, 2)


def test_bad_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        decode(np.zeros((3, 4)), "GAAC")
    with pytest.raises(ValueError, match="not finite"):
        decode(np.full((4, 4), np.nan), "GAAC")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"decoder": "best"}, "no decoder 'best'"),
        ({"threshold": 1.5}, "threshold 1.5"),
        ({"gamma": 0.0}, "gamma 0.0"),
        ({"min_loop": -1}, "min_loop -1"),
    ],
)
def test_bad_options_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DecodeOptions(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("pseudoknots", [True, False])
def test_stacks_survive_the_isolated_filter(pseudoknots: bool) -> None:
    rng = np.random.default_rng(5)
    sequence, probs = random_sequence(rng, 80), random_probs(rng, 80, 0.5)
    found = decode(probs, sequence, DecodeOptions(isolated=False, pseudoknots=pseudoknots))
    pairs = set(map(tuple, found.tolist()))
    assert all({(i - 1, j + 1), (i + 1, j - 1)} & pairs for i, j in pairs)
