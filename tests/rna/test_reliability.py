from __future__ import annotations

import math

import numpy as np
import pytest

from rnafm_cli.rna.bootstrap import Resampling
from rnafm_cli.rna.calibration import calibrate
from rnafm_cli.rna.pairs import as_pairs


def test_counts_pairs_into_bins() -> None:
    probs = np.zeros((6, 6))
    probs[0, 5], probs[1, 4], probs[0, 4], probs[2, 3] = 1.0, 0.75, 0.05, 0.001
    found = calibrate([(probs + probs.T, as_pairs([(0, 5), (2, 3)]))], Resampling(resamples=100), bins=4)
    assert found.counts.tolist() == [1, 0, 0, 2]
    assert found.predicted[[0, 3]] == pytest.approx([0.05, 0.875])
    observed = [one.estimate for one in found.observed]
    assert (observed[0], observed[3]) == (0.0, 0.5)
    assert math.isnan(observed[1]) and math.isnan(observed[2])
    assert found.ece.estimate == pytest.approx((1 * 0.05 + 2 * 0.375) / 3)


def test_probabilities_that_hold_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    rnas = []
    for _ in range(20):
        probs = np.triu(rng.uniform(0, 0.5, (60, 60)), 1)
        true = np.argwhere(np.triu(rng.random((60, 60)) < probs, 1))
        rnas.append((probs, true))
    how = Resampling(resamples=100)
    assert calibrate(rnas, how).ece.estimate < 0.02
    doubled = [(2 * probs, true) for probs, true in rnas]
    assert calibrate(doubled, how).ece.estimate == pytest.approx(0.25, abs=0.02)
