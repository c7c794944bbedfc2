"""Ranking, regression and calibration against values worked out by hand or by another definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnafm_cli.function.metrics import calibration_error, crossed_error, fit_platt, rank, regress
from rnafm_cli.rna.bootstrap import Resampling

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40)


@given(ROWS)
def test_areas_agree_with_counting(rows: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([r[0] for r in rows], dtype=float), np.array([r[1] for r in rows], dtype=float)
    found = rank(labels, scores)
    bound, free = scores[labels == 1], scores[labels == 0]
    if not len(bound) or not len(free):
        assert np.isnan(found["auprc"]) and np.isnan(found["auroc"])
        return
    wins = (bound[:, None] > free).mean() + 0.5 * (bound[:, None] == free).mean()
    assert found["auroc"] == pytest.approx(wins)
    precision = [labels[scores >= score].mean() for score in bound]
    assert found["auprc"] == pytest.approx(np.mean(precision))


def test_intervals_hold_the_estimate_and_repeat() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(300) < 0.3).astype(float)
    scores = labels + rng.normal(size=300)
    found = rank(labels, scores, Resampling(resamples=200, seed=1))
    assert found == rank(labels, scores, Resampling(resamples=200, seed=1))
    assert found["auprc_low"] < found["auprc"] < found["auprc_high"]
    assert found["auroc_low"] < found["auroc"] < found["auroc_high"]
    assert (found["rows"], found["positives"]) == (300, int(labels.sum()))


def test_platt_undoes_a_wrong_scale() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(-1.4, 1.5, size=8000)
    labels = (rng.random(8000) < 1 / (1 + np.exp(-truth))).astype(float)
    curve = fit_platt(labels, 3.0 * truth + 2.0)
    assert curve.slope == pytest.approx(1 / 3, abs=0.03) and curve.intercept == pytest.approx(-2 / 3, abs=0.1)
    assert curve.prevalence == pytest.approx(labels.mean())
    raw = 1 / (1 + np.exp(-(3.0 * truth + 2.0)))
    assert crossed_error(labels, 3.0 * truth + 2.0) < 0.02 < calibration_error(labels, raw)


def test_the_threshold_has_the_highest_f1() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random(400) < 0.2).astype(float)
    logits = 2 * labels + rng.normal(size=400)
    curve = fit_platt(labels, logits)
    probability = curve.probability(logits)

    def f1(limit: float) -> float:
        called = probability >= limit
        return 2 * labels[called].sum() / (called.sum() + labels.sum())

    assert f1(curve.threshold) == pytest.approx(max(f1(limit) for limit in probability))


@pytest.mark.parametrize("labels", [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], []])
def test_labels_of_one_kind_leave_logits_alone(labels: list[float]) -> None:
    curve = fit_platt(np.array(labels), np.arange(len(labels), dtype=float))
    assert (curve.slope, curve.intercept) == (1.0, 0.0)


def test_separable_labels_do_not_blow_up() -> None:
    curve = fit_platt(np.array([0.0] * 50 + [1.0] * 50), np.linspace(-1, 1, 100))
    assert np.isfinite(curve.slope) and curve.probability(np.array([1.0]))[0] > 0.99


def test_both_kinds_of_r2() -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    shifted = regress(truth, 2 * truth + 1)
    assert shifted["r2"] == pytest.approx(1.0)
    assert shifted["determination"] == pytest.approx(1 - (4 + 9 + 16 + 25) / 5.0)
    assert (shifted["mae"], shifted["mse"]) == (pytest.approx(3.5), pytest.approx(13.5))
    noisy = truth + np.array([0.1, -0.1, 0.2, -0.2])
    found = regress(truth, noisy, Resampling(resamples=100))
    assert found["r2"] == pytest.approx(np.corrcoef(truth, noisy)[0, 1] ** 2)
    assert found["r2_low"] <= found["r2"] <= found["r2_high"]
    assert np.isnan(regress(np.ones(3), np.arange(3))["determination"])
