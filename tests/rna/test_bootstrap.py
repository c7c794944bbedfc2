from __future__ import annotations

import math

import numpy as np
import pytest

from rnafm_cli.rna.bootstrap import Resampling, bootstrap, mean_interval, paired_difference, summarise
from rnafm_cli.rna.metrics import FOLD_MEANS, POOLED, Score, score_fold
from rnafm_cli.rna.pairs import from_dot_bracket


def scores() -> list[Score]:
    true = from_dot_bracket("(((..[[..)))..]]")
    texts = ["(((..[[..)))..]]", "(((......)))....", "................", "((...[[..))...]]", ".((......))....."]
    return [score_fold(true, from_dot_bracket(text), length=16) for text in texts]


def test_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.2, 400)
    found = mean_interval(values, Resampling(seed=2))
    half = 1.96 * values.std() / 20
    assert found.estimate == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.002)
    assert found.high == pytest.approx(values.mean() + half, abs=0.002)
    wider = mean_interval(values, Resampling(seed=2, confidence=0.99))
    assert wider.low < found.low and wider.high > found.high


def test_same_seed_same_interval() -> None:
    values = np.arange(30.0)
    first, again, other = (mean_interval(values, Resampling(seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_intervals_cover_every_metric() -> None:
    found = summarise(scores() * 3, (*FOLD_MEANS, *POOLED))
    assert list(found) == [*FOLD_MEANS, *POOLED]
    for interval in found.values():
        assert 0.0 <= interval.low <= interval.estimate <= interval.high <= 1.0


def test_few_records_have_no_intervals() -> None:
    assert math.isnan(summarise(scores(), ["f1"])["f1"].low)
    difference = paired_difference(np.ones(3), np.zeros(3))
    assert difference.estimate == 1.0 and math.isnan(difference.low) and math.isnan(difference.p_value)


def test_undefined_share_has_no_interval() -> None:
    empty = from_dot_bracket("....")
    found = summarise([score_fold(empty, empty, length=4)] * 12, ("knot_recall", "f1", "mse"))
    assert math.isnan(found["knot_recall"].estimate) and math.isnan(found["knot_recall"].low)
    assert found["f1"].low == found["f1"].high == 1.0
    assert math.isnan(found["mse"].estimate)


def test_statistic_of_several_columns() -> None:
    columns = np.array([[1.0, 2.0], [3.0, 4.0]])
    found = bootstrap(columns, lambda means: means[:, 0] / means[:, 1], Resampling(seed=0, resamples=200))
    assert found.estimate == pytest.approx(4 / 6)
    assert (found.low, found.high) == (pytest.approx(0.5), pytest.approx(0.75))


def test_paired_difference_sees_what_two_intervals_do_not() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 1, 300)
    better = base + 0.02 + rng.normal(0, 0.02, 300)
    found = paired_difference(better, base, Resampling(seed=1))
    assert found.low > 0 and found.p_value < 0.01
    assert found.estimate == pytest.approx((better - base).mean())
    a, b = (mean_interval(x, Resampling(seed=1)) for x in (better, base))
    assert a.low < b.high


def test_no_difference_is_not_significant() -> None:
    values = np.random.default_rng(0).normal(size=(2, 200))
    assert paired_difference(values[0], values[0], Resampling(seed=1)).p_value == 1.0
    swapped = paired_difference(values[1], values[0], Resampling(seed=1))
    straight = paired_difference(values[0], values[1], Resampling(seed=1))
    assert swapped.estimate == -straight.estimate and swapped.p_value == straight.p_value
