from __future__ import annotations

import numpy as np
import pytest
from support.points import blobs

from rnafm_cli.atlas.graph import Neighbours, nearest
from rnafm_cli.atlas.placement import confidence, rising_curve, vote_by_distance


def test_near_neighbours_weigh_more() -> None:
    near = Neighbours(np.asarray([[0, 1, 2]]), np.asarray([[0.1, 1.0, 1.0]], dtype=np.float32))
    votes = vote_by_distance(near, np.asarray([0, 1, 1]), 2)
    assert votes.argmax(axis=1).tolist() == [0]
    assert votes.sum() == pytest.approx(1)


def test_votes_find_the_group() -> None:
    points, truth = blobs(apart=6.0), np.repeat(np.arange(4), 30)
    votes = vote_by_distance(nearest(points, 10), truth, 4)
    assert (votes.argmax(axis=1) == truth).mean() > 0.95
    assert ((votes >= 0) & (votes <= 1)).all()


def test_calibrated_confidence_is_the_share_of_right_calls() -> None:
    rng = np.random.default_rng(0)
    share = rng.uniform(0.2, 1.0, size=4000)
    # Shares that promise too much: right in the square of what they say.
    right = rng.random(4000) < share**2
    curve = rising_curve(share, right.astype(float), np.ones(4000))
    assert (np.diff(curve[1]) >= 0).all() and (np.diff(curve[0]) > 0).all()
    grid = np.linspace(0.3, 0.95, 9)
    assert np.abs(confidence(grid, *curve) - grid**2).mean() < 0.05
    low, high = confidence(np.asarray([0.0, 1.0]), *curve)
    assert 0 < low and high < 1


@pytest.mark.parametrize("seed", range(4))
def test_confidence_is_as_high_as_the_calls_are_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # One label of 3,000 points and ten of 20, each label counting the same; few calls are right, whatever the share.
    weight = np.concatenate([np.full(3000, 1 / 3000), np.full(200, 1 / 20)])
    share = rng.uniform(0.1, 1.0, size=3200)
    right = (rng.random(3200) < 0.3 * share).astype(float)
    sure = confidence(share, *rising_curve(share, right, weight))
    assert np.average(sure, weights=weight) == pytest.approx(np.average(right, weights=weight), abs=0.03)
    assert np.abs(sure - 0.3 * share).mean() < 0.06


def test_without_calls_there_is_no_confidence() -> None:
    assert np.isnan(confidence(np.asarray([0.4, 1.0]), np.zeros(0), np.zeros(0))).all()
