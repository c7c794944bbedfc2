from __future__ import annotations

import numpy as np
import pytest
from support.points import blobs

from rnafm_cli.geometry.calls import calibrate, vote_by_distance
from rnafm_cli.geometry.neighbours import Neighbours, nearest


def test_near_neighbours_weigh_more() -> None:
    near = Neighbours(np.asarray([[0, 1, 2]]), np.asarray([[0.1, 1.0, 1.0]], dtype=np.float32))
    votes = vote_by_distance(near, np.asarray([0, 1, 1]), 2)
    assert votes.winner_N.tolist() == [0]
    assert votes.share_NL.sum() == pytest.approx(1)


def test_votes_find_the_group() -> None:
    points, truth = blobs(apart=6.0), np.repeat(np.arange(4), 30)
    votes = vote_by_distance(nearest(points, 10), truth, 4)
    assert (votes.winner_N == truth).mean() > 0.95
    assert ((0 < votes.top_N) & (votes.top_N <= 1)).all()


def test_calibrated_confidence_is_the_share_of_right_calls() -> None:
    rng = np.random.default_rng(0)
    share = rng.uniform(0.2, 1.0, size=4000)
    # Shares that promise too much: right in the square of what they say.
    right = rng.random(4000) < share**2
    found = calibrate(share, right.astype(float))
    assert (np.diff(found.accuracy_P) >= 0).all() and (np.diff(found.share_P) > 0).all()
    grid = np.linspace(0.3, 0.95, 9)
    assert np.abs(found.confidence(grid) - grid**2).mean() < 0.05
    assert found.confidence(np.asarray([0.0]))[0] > 0 and found.confidence(np.asarray([1.0]))[0] < 1


def test_without_calibration_the_share_is_the_confidence() -> None:
    none = calibrate(np.zeros(0), np.zeros(0))
    assert none.confidence(np.asarray([0.4])).tolist() == [0.4]
