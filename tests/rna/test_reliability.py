from __future__ import annotations

import math

import numpy as np
import pytest

from rnafm_cli.rna.calibration import Reliability
from rnafm_cli.rna.pairs import as_pairs, pairs_from_matrix


def test_counts_pairs_into_bins() -> None:
    probs = np.zeros((6, 6))
    probs[0, 5], probs[1, 4], probs[0, 4], probs[2, 3] = 1.0, 0.75, 0.05, 0.001
    found = Reliability(bins=4)
    found.add(probs + probs.T, as_pairs([(0, 5), (2, 3)]))
    curve = found.curve()
    assert curve.counts.tolist() == [1, 0, 0, 2]
    assert curve.predicted[[0, 3]] == pytest.approx([0.05, 0.875])
    assert curve.observed[[0, 3]].tolist() == [0.0, 0.5]
    assert np.isnan(curve.observed[1:3]).all()
    assert (curve.below, curve.below_true) == (12, 1)
    assert curve.ece == pytest.approx((1 * 0.05 + 2 * 0.375) / 3)


def test_probabilities_that_hold_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    found, doubled = Reliability(), Reliability()
    for _ in range(20):
        probs = np.triu(rng.uniform(0, 0.5, (60, 60)), 1)
        true = pairs_from_matrix(rng.random((60, 60)) < probs)
        found.add(probs, true)
        doubled.add(2 * probs, true)
    assert found.curve().ece < 0.02
    assert doubled.curve().ece == pytest.approx(0.25, abs=0.02)


def test_nothing_counted_has_no_error() -> None:
    assert math.isnan(Reliability().curve().ece)
