from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rnafm_cli.encoder.workers import blend_weights, window_starts


@given(st.integers(1, 5000), st.integers(8, 300))
def test_windows_cover_the_sequence_and_overlap(length: int, size: int) -> None:
    overlap = size // 4
    starts = window_starts(length, size, overlap)
    if length <= size:
        assert starts == [0]
        return
    assert starts[0] == 0
    assert starts[-1] == length - size
    assert all(0 < b - a <= size - overlap for a, b in zip(starts, starts[1:], strict=False))


@given(st.integers(1, 3000), st.integers(8, 200))
def test_blended_weights_are_positive_everywhere(length: int, size: int) -> None:
    overlap = size // 4
    total = np.zeros(length)
    for start in window_starts(length, size, overlap):
        window = blend_weights(start, min(size, length), length, overlap if length > size else 0)
        total[start : start + size] += window
    assert (total > 0).all()
    assert total[0] == 1
    assert total[-1] == 1
