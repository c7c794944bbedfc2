"""The twins' losses: mean representations of two views of a window, found among others or spread apart from them."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from rnafm_cli.pretrain.masked_model import spread_loss, twin_loss

SEGMENTS = torch.tensor([[0, 0, 0, 1, 1, -1], [0, 0, 0, 0, -1, -1]]).repeat(2, 1)
"""Three windows and their twins in rows of six places."""


def test_it_is_the_cross_entropy_of_finding_the_twin() -> None:
    x_BTD = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(1))
    windows = [(0, 0, 3), (0, 3, 5), (1, 0, 4)]
    means = [[x_BTD[row + shift, a:b].mean(0) for row, a, b in windows] for shift in (0, 2)]
    expected = 0.0
    for own, others in (means, means[::-1]):
        for number, mean in enumerate(own):
            cosines = torch.stack([F.cosine_similarity(mean, other, dim=0) for other in others]) / 0.2
            expected += float(torch.logsumexp(cosines, 0) - cosines[number]) / 6
    assert float(twin_loss(x_BTD, SEGMENTS, 0.2)) == pytest.approx(expected, rel=1e-5)


def test_the_same_vector_everywhere_is_a_guess_among_all() -> None:
    assert float(twin_loss(torch.ones(4, 6, 5), SEGMENTS, 0.1)) == pytest.approx(math.log(3), rel=1e-5)


def test_pads_do_not_count() -> None:
    x_BTD = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(2))
    other = torch.where(SEGMENTS[..., None] < 0, 1e3, x_BTD)
    assert torch.equal(twin_loss(x_BTD, SEGMENTS, 0.1), twin_loss(other, SEGMENTS, 0.1))


def test_spread_is_the_cosine_of_twins_and_the_coding_rate_of_all() -> None:
    x_BTD = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(3))
    windows = [(0, 0, 3), (0, 3, 5), (1, 0, 4)]
    first, second = (
        F.normalize(torch.stack([x_BTD[row + shift, a:b].mean(0) for row, a, b in windows]), dim=1) for shift in (0, 2)
    )
    both = torch.cat([first, second]).double()
    rate = 0.5 * torch.logdet(torch.eye(6) + 4 * both @ both.T) / 6
    cosine = (first * second).sum(dim=1).mean()
    assert float(spread_loss(x_BTD, SEGMENTS, 0.0)) == pytest.approx(-float(cosine), rel=1e-5)
    assert float(spread_loss(x_BTD, SEGMENTS, 2.0)) == pytest.approx(-float(cosine + 2 * rate), rel=1e-5)


def test_directions_that_are_used_lower_the_loss() -> None:
    places = torch.zeros(4, 6, dtype=torch.long)
    for row, (a, b) in enumerate([(0, 1), (2, 2), (0, 1), (2, 2)]):
        places[row] = torch.where(SEGMENTS[row] == 1, b, a)
    apart, alike = F.one_hot(places, 5).float(), F.one_hot(torch.zeros_like(places), 5).float()
    # Twins are the same in both; three directions code more than one.
    assert float(spread_loss(apart, SEGMENTS, 1.0)) < float(spread_loss(alike, SEGMENTS, 1.0)) - 0.1
