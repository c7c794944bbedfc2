from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnafm_cli.training.optimizers import rate_at
from rnafm_cli.training.recipes import OptimSection


@pytest.mark.parametrize("schedule", ["inverse-sqrt", "cosine", "trapezoid"])
def test_warm_up_is_linear_to_the_peak(schedule: str) -> None:
    optim = OptimSection(rate=1e-4, warmup=10, steps=100, schedule=schedule)  # type: ignore[arg-type]
    assert [rate_at(k, optim) for k in range(10)] == pytest.approx([1e-5 * (k + 1) for k in range(10)])


def test_inverse_square_root_is_the_papers() -> None:
    optim = OptimSection(rate=1e-4, warmup=10_000, steps=300_000, schedule="inverse-sqrt")
    assert rate_at(9_999, optim) == pytest.approx(1e-4)
    assert rate_at(39_999, optim) == pytest.approx(1e-4 / 2)
    assert rate_at(159_999, optim) == pytest.approx(1e-4 / 4)


def test_cosine_halves_in_the_middle_and_ends_at_the_final_rate() -> None:
    optim = OptimSection(rate=1.0, warmup=10, steps=110, schedule="cosine", final_rate=0.1)
    assert rate_at(59, optim) == pytest.approx(0.55)
    assert rate_at(109, optim) == pytest.approx(0.1)


def test_trapezoid_stays_constant_until_its_cool_down() -> None:
    optim = OptimSection(rate=2.0, warmup=5, steps=100, cooldown=0.2, schedule="trapezoid")
    assert {rate_at(k, optim) for k in range(5, 81)} == {2.0}
    assert rate_at(90, optim) == pytest.approx(1.0)
    assert rate_at(99, optim) == pytest.approx(0.1)
    longer = OptimSection(rate=2.0, warmup=5, steps=1000, cooldown=0.2, schedule="trapezoid")
    # A run can be made longer as long as it has not begun to cool down.
    assert all(rate_at(k, longer) == rate_at(k, optim) for k in range(80))


@given(
    st.sampled_from(["inverse-sqrt", "cosine", "trapezoid"]),
    st.integers(0, 50),
    st.integers(51, 500),
    st.floats(0, 1),
    st.integers(0, 499),
)
def test_rates_are_positive_and_never_above_the_peak(
    schedule: str, warmup: int, steps: int, cooldown: float, step: int
) -> None:
    optim = OptimSection(rate=1.0, warmup=warmup, steps=steps, cooldown=cooldown, schedule=schedule)  # type: ignore[arg-type]
    rate = rate_at(min(step, steps - 1), optim)
    assert math.isfinite(rate) and 0 <= rate <= 1
