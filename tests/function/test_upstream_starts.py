"""Upstream AUGs: where, in which frame, closed or open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnafm_cli.function.mrl import UpstreamStart, start_context, upstream_starts


@pytest.mark.parametrize(
    ("utr", "context", "starts"),
    [
        ("CCCCCC", "none", []),
        ("CAUGCC", "out-of-frame", [UpstreamStart(1, 2, None)]),
        ("AUGCCC", "in-frame", [UpstreamStart(0, 0, None)]),
        ("AUGUAACC", "uORF", [UpstreamStart(0, 2, 3)]),
        ("AUGUAACCC", "in-frame", [UpstreamStart(0, 0, 3)]),
        ("AUGUAACCAUGCCCC", "out-of-frame", [UpstreamStart(0, 0, 3), UpstreamStart(8, 1, None)]),
        ("AUGAUGC", "out-of-frame", [UpstreamStart(0, 1, None), UpstreamStart(3, 1, None)]),
    ],
)
def test_worked_examples(utr: str, context: str, starts: list[UpstreamStart]) -> None:
    assert upstream_starts(utr) == starts
    assert start_context(utr) == context


@given(st.text("ACGU", max_size=60))
def test_every_aug_is_found_once(utr: str) -> None:
    starts = upstream_starts(utr)
    assert [start.position for start in starts] == [k for k in range(len(utr)) if utr[k : k + 3] == "AUG"]
    for start in starts:
        assert start.frame == (len(utr) - start.position) % 3
        if start.stop is not None:
            assert utr[start.stop : start.stop + 3] in {"UAA", "UAG", "UGA"}
            assert (start.stop - start.position) % 3 == 0
