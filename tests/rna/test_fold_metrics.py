from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from rna_strategies import QUICK, SEEDS, random_pairs

from rnafm_cli.rna.bootstrap import summarise
from rnafm_cli.rna.metrics import POOLED, Score, length_bin, score_fold
from rnafm_cli.rna.pairs import Pairs, as_pairs, from_dot_bracket


def near(pair: list[int], others: list[list[int]]) -> bool:
    i, j = pair
    return any(other in others for other in ([i, j], [i + 1, j], [i - 1, j], [i, j + 1], [i, j - 1]))


def scored(true: str, predicted: str, **names: str) -> Score:
    return score_fold(from_dot_bracket(true), from_dot_bracket(predicted), length=len(true), **names)


def summarised(scores: list[Score]) -> dict[str, float]:
    metrics = ("precision", "recall", "f1", *POOLED)
    return {name: found.estimate for name, found in summarise(scores, metrics).items()}


@QUICK
@given(SEEDS)
def test_counts_equal_their_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true, predicted = random_pairs(rng, 12, 4), random_pairs(rng, 12, int(rng.integers(0, 6)))
    score = score_fold(true, predicted, length=12)
    t, p = true.tolist(), predicted.tolist()
    assert score["hits"] == sum(pair in t for pair in p)
    assert score["near_predicted"] == sum(near(pair, t) for pair in p)
    assert score["near_true"] == sum(near(pair, p) for pair in t)
    swapped = score_fold(predicted, true, length=12)
    assert (score["precision"], score["f1"], score["relaxed_f1"]) == (
        swapped["recall"],
        swapped["f1"],
        swapped["relaxed_f1"],
    )


def test_a_step_off_the_edge_is_not_another_pair() -> None:
    true: Pairs = as_pairs([(1, 5)])
    assert score_fold(true, as_pairs([(0, 9)]), length=10)["near_predicted"] == 0
    assert score_fold(true, as_pairs([(1, 6)]), length=10)["relaxed_f1"] == 1.0
    assert score_fold(true, as_pairs([(2, 6)]), length=10)["relaxed_f1"] == 0.0


def test_shares_of_one_record() -> None:
    score = scored("(((....)))", ".((....)).")
    assert (score["precision"], score["recall"]) == (1.0, 2 / 3)
    assert score["f1"] == pytest.approx(0.8)
    assert (score["relaxed_precision"], score["relaxed_recall"], score["relaxed_f1"]) == (
        1.0,
        2 / 3,
        pytest.approx(0.8),
    )


@pytest.mark.parametrize(
    ("true", "predicted", "value"), [("......", "......", 1.0), ("(....)", "......", 0.0), ("......", "(....)", 0.0)]
)
def test_records_without_pairs(true: str, predicted: str, value: float) -> None:
    score = scored(true, predicted)
    assert (score["precision"], score["recall"], score["f1"], score["relaxed_f1"]) == (value,) * 4


def test_summary_means_over_records_and_pools_pairs() -> None:
    scores = [scored("(((....)))", "(((....)))"), scored("(........)", ".........."), scored("....", "....")]
    total = summarised(scores)
    assert (total["precision"], total["recall"], total["f1"]) == (2 / 3, 2 / 3, 2 / 3)
    assert (total["micro_precision"], total["micro_recall"]) == (1.0, 0.75)
    assert total["micro_f1"] == pytest.approx(2 * 0.75 / 1.75)
    assert math.isnan(total["knot_precision"]) and math.isnan(total["knot_recall"])


def test_knotted_pairs_are_those_outside_the_main_fold() -> None:
    true = "(((..[[..)))..]]"
    score = scored(true, true)
    assert (score["knot_true"], score["knot_predicted"], score["knot_found"], score["knot_right"]) == (2, 2, 2, 2)
    only_main = scored(true, "(((......)))....")
    assert (only_main["knot_true"], only_main["knot_predicted"], only_main["knot_found"]) == (2, 0, 0)
    false_knot = scored("(((......)))....", true)
    assert (false_knot["knot_true"], false_knot["knot_predicted"], false_knot["knot_right"]) == (0, 2, 0)
    total = summarised([score, only_main, false_knot])
    assert (total["knot_precision"], total["knot_recall"]) == (0.5, 0.5)


def test_a_knot_counts_in_whichever_layer_the_other_structure_has_it() -> None:
    score = scored("(((..[[..)))..]]", "[....((....]..))")
    assert score["hits"] == 3
    assert (score["knot_true"], score["knot_found"]) == (2, 2)
    assert (score["knot_predicted"], score["knot_right"]) == (1, 1)


@pytest.mark.parametrize(
    ("length", "name"),
    [(1, "<50"), (49, "<50"), (50, "50-100"), (100, "100-200"), (200, "200-500"), (500, "200-500"), (501, ">500")],
)
def test_length_bins(length: int, name: str) -> None:
    assert length_bin(length) == name
