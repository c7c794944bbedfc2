from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rna_strategies import QUICK, SEEDS, random_probs, random_sequence

from rnafm_cli.rna.decode import (
    DecodeOptions,
    decode,
    expected_accuracy,
    heaviest_matching,
    heaviest_nested,
    unpaired_probability,
)
from rnafm_cli.rna.pairs import Pairs, as_pairs, canonical_matrix, is_nested, validate


def random_candidates(seed: int, length: int, density: float) -> tuple[Pairs, np.ndarray]:
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(np.triu(rng.random((length, length)) < density, 1)).astype(np.int64)
    return pairs, rng.uniform(-0.5, 2.0, len(pairs))


def dense_best(pairs: Pairs, gains: np.ndarray, length: int) -> float:
    """The textbook O(N^3) recursion over all intervals."""
    gain = dict(zip(map(tuple, pairs.tolist()), gains.tolist(), strict=True))
    best = np.zeros((length + 1, length + 1))
    for end in range(1, length + 1):
        for i in range(end - 1, -1, -1):
            options = [best[i, end - 1]]
            for k in range(i, end - 1):
                if (k, end - 1) in gain:
                    options.append(best[i, k] + gain[k, end - 1] + best[k + 1, end - 1])
            best[i, end] = max(options)
    return float(best[0, length])


def brute_best(pairs: Pairs, gains: np.ndarray, *, nested: bool) -> float:
    """Greatest gain over all subsets of pairs that are structures."""

    def extend(index: int, taken: list[list[int]], total: float) -> float:
        if index == len(pairs):
            return total
        best = extend(index + 1, taken, total)
        pair = pairs[index].tolist()
        if not set(pair) & {base for other in taken for base in other}:
            grown = [*taken, pair]
            if not nested or is_nested(as_pairs(grown)):
                best = max(best, extend(index + 1, grown, total + gains[index]))
        return best

    return extend(0, [], 0.0)


def total_gain(chosen: Pairs, pairs: Pairs, gains: np.ndarray) -> float:
    gain = dict(zip(map(tuple, pairs.tolist()), gains.tolist(), strict=True))
    return sum(gain[tuple(p)] for p in chosen.tolist())


@QUICK
@given(SEEDS, st.integers(0, 40), st.floats(0.0, 1.0))
def test_sparse_recursion_equals_the_dense_one(seed: int, length: int, density: float) -> None:
    pairs, gains = random_candidates(seed, length, density)
    chosen = heaviest_nested(pairs, gains, length)
    validate(chosen, length)
    assert is_nested(chosen)
    assert total_gain(chosen, pairs, gains) == pytest.approx(dense_best(pairs, gains, length))


@QUICK
@given(SEEDS, st.integers(2, 8))
def test_both_optima_equal_the_best_of_all_structures(seed: int, length: int) -> None:
    pairs, gains = random_candidates(seed, length, 0.4)
    nested = heaviest_nested(pairs, gains, length)
    assert total_gain(nested, pairs, gains) == pytest.approx(brute_best(pairs, gains, nested=True))
    free = heaviest_matching(pairs, gains)
    validate(free, length)
    assert total_gain(free, pairs, gains) == pytest.approx(brute_best(pairs, gains, nested=False))


@QUICK
@given(SEEDS, st.integers(1, 30), st.sampled_from([0.5, 1.0, 3.0]))
def test_decoded_structure_has_the_greatest_expected_accuracy(seed: int, length: int, gamma: float) -> None:
    rng = np.random.default_rng(seed)
    sequence, probs = random_sequence(rng, length), random_probs(rng, length, 1.0)
    pairs = decode(probs, sequence, DecodeOptions(gamma=gamma, pseudoknots=False))
    unpaired = unpaired_probability(probs)
    i, j = np.nonzero(np.triu(canonical_matrix(sequence), 4))
    gains = 2 * gamma * probs[i, j].astype(np.float64) - unpaired[i] - unpaired[j]
    best = dense_best(np.stack([i, j], axis=1), gains, length)
    chosen = 2 * gamma * probs[pairs[:, 0], pairs[:, 1]].astype(np.float64) - unpaired[pairs].sum(axis=1)
    assert chosen.sum() == pytest.approx(best, abs=1e-9)
    if gamma == 1.0:
        assert expected_accuracy(probs, pairs) * length == pytest.approx(unpaired.sum() + best)


def test_expected_accuracy_of_a_sure_structure_is_one() -> None:
    probs = np.zeros((6, 6))
    probs[0, 5] = probs[5, 0] = 1.0
    assert expected_accuracy(probs, as_pairs([(0, 5)])) == 1.0
    assert expected_accuracy(probs, as_pairs([])) == pytest.approx(4 / 6)
    assert expected_accuracy(np.zeros((0, 0)), as_pairs([])) == 1.0


def test_unpaired_probability_ignores_the_diagonal_and_stays_in_range() -> None:
    probs = np.array([[0.9, 0.4, 0.8], [0.4, 0.9, 0.1], [0.8, 0.1, 0.0]])
    assert unpaired_probability(probs) == pytest.approx([0.0, 0.5, 0.1])


def test_a_thousand_bases_decode_in_a_fraction_of_a_second() -> None:
    rng = np.random.default_rng(0)
    sequence, probs = random_sequence(rng, 1000), random_probs(rng, 1000, 1.0)
    start = time.process_time()
    pairs = decode(probs, sequence)
    assert time.process_time() - start < 1.0
    assert len(pairs) > 20
