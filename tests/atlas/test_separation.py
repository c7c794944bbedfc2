from __future__ import annotations

import numpy as np
import pytest
from support.points import blobs

from rnafm_cli.atlas.comparison import neighbour_purity, silhouette
from rnafm_cli.atlas.graph import Neighbours, nearest


def test_purity_counts_each_label_the_same() -> None:
    label = np.asarray([0, 0, 0, 1])
    near = Neighbours(np.asarray([[1, 2], [0, 2], [0, 3], [0, 1]]), np.zeros((4, 2)))
    assert neighbour_purity(near, label) == pytest.approx(((1 + 1 + 0.5) / 3 + 0) / 2)


def test_separation_shows_in_all_figures() -> None:
    truth = np.repeat(np.arange(4), 30)
    good, bad = blobs(apart=8.0), blobs(apart=1.0)
    assert neighbour_purity(nearest(good, 10), truth) > neighbour_purity(nearest(bad, 10), truth) + 0.3
    assert silhouette(good, truth) > silhouette(bad, truth) + 0.2
    assert silhouette(good, truth, sample=60) == pytest.approx(silhouette(good, truth), abs=0.1)


def test_one_label_has_no_silhouette() -> None:
    assert np.isnan(silhouette(blobs(), np.zeros(120)))
