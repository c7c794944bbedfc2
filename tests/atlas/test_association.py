from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from rnafm_cli.atlas.figures import flow_field
from rnafm_cli.atlas.trajectory import associate


def test_correlation_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=40)
    b = np.round(a + rng.normal(size=40))
    assert associate(a, b, resamples=10).spearman == pytest.approx(spearmanr(a, b).statistic)


def test_every_order_of_few_values_is_tried() -> None:
    found = associate(np.arange(5), np.arange(5))
    # Only the order itself and its reverse are as strong.
    assert (found.spearman, found.p_value, found.permutations) == (pytest.approx(1.0), 2 / 120, 120)


def test_chance_gives_even_p_values() -> None:
    rng = np.random.default_rng(1)
    p = [associate(rng.normal(size=9), rng.normal(size=9), resamples=400).p_value for _ in range(200)]
    assert 0.02 < np.mean(np.asarray(p) < 0.1) < 0.2
    assert associate(np.arange(12), np.arange(12), resamples=2000).p_value == pytest.approx(1 / 2001)


def test_a_constant_has_no_correlation() -> None:
    found = associate(np.ones(5), np.arange(5))
    assert np.isnan(found.spearman) and np.isnan(found.p_value)


def test_the_flow_points_where_the_value_grows() -> None:
    rng = np.random.default_rng(0)
    place = rng.uniform(0, 10, size=(3000, 2))
    value = place[:, 0].copy()
    value[:30] = np.nan
    _, _, along, up = flow_field(place, value, cells=30)
    inner = (slice(8, -8), slice(8, -8))
    assert along[inner] == pytest.approx(1, abs=0.3)
    assert up[inner] == pytest.approx(0, abs=0.3)


def test_where_there_are_no_points_there_is_no_flow() -> None:
    rng = np.random.default_rng(0)
    place = rng.uniform(0, 3, size=(2000, 2))
    place[1000:, 0] += 7
    x, _, along, _ = flow_field(place, place[:, 0], cells=40)
    gap = np.abs(x - 5) < 0.5
    assert np.isnan(along[:, gap]).all()
    assert np.isfinite(along).any()
