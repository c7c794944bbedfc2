from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnafm_cli.encoder.workers import buckets, read_ahead


@given(st.lists(st.integers(1, 300), max_size=200), st.integers(1, 1000))
def test_buckets_hold_every_item_once_within_the_budget(sizes: list[int], budget: int) -> None:
    groups = buckets(sizes, budget)
    assert sorted(k for group in groups for k in group) == list(range(len(sizes)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(sizes[k] for k in group) <= budget


@given(st.lists(st.integers(1, 50), max_size=300), st.integers(1, 100))
def test_read_ahead_keeps_order_and_loses_nothing(sizes: list[int], budget: int) -> None:
    chunks = list(read_ahead(sizes, lambda size: size, budget, cap=4))
    assert [size for chunk in chunks for size in chunk] == sizes
    assert all(sum(chunk) < 4 * budget + 50 for chunk in chunks)


def test_first_chunk_is_small() -> None:
    chunks = list(read_ahead([1] * 100, lambda size: size, 4))
    assert [len(chunk) for chunk in chunks[:4]] == [4, 8, 16, 32]


def test_what_came_before_a_failure_is_yielded_first() -> None:
    def failing() -> Iterator[int]:
        yield from (1, 2, 3)
        raise ValueError("bad record")

    chunks = read_ahead(failing(), lambda size: size, 100)
    assert next(chunks) == [1, 2, 3]
    with pytest.raises(ValueError, match="bad record"):
        next(chunks)


def test_little_is_padding() -> None:
    lengths = [30, 31, 73, 90, 106, 132, 167, 230, 334, 537, 1000] * 5
    groups = buckets(lengths, 4096)
    padded = sum(len(group) * max(lengths[k] for k in group) for group in groups)
    assert padded < 1.1 * sum(lengths)
