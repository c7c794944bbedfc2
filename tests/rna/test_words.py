"""Words that sequences share, and groups of rows that hang together by them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rnafm_cli.rna.kmers import groups_by_words, shares_word, words_of

RNA = st.lists(st.text("ACGUN", min_size=0, max_size=40), min_size=1, max_size=6)


def spelled(sequence: str, length: int) -> list[str]:
    parts = (sequence[k : k + length] for k in range(len(sequence) - length + 1))
    return [part for part in parts if set(part) <= set("ACGU")]


@given(RNA, st.integers(1, 12))
def test_words_are_those_spelled_out(sequences: list[str], length: int) -> None:
    words, rows = words_of(sequences, length)
    expected = [(k, word) for k, sequence in enumerate(sequences) for word in spelled(sequence, length)]
    assert rows.tolist() == [k for k, _ in expected]
    as_text = ["".join("ACGU"[int(word) >> 2 * k & 3] for k in reversed(range(length))) for word in words]
    assert as_text == [word for _, word in expected]


@given(RNA, RNA, st.integers(2, 8))
def test_sharing_is_what_sets_say(sequences: list[str], others: list[str], length: int) -> None:
    known = {word for other in others for word in spelled(other, length)}
    expected = [bool(known & set(spelled(s, length))) or s in others for s in sequences]
    assert shares_word(sequences, others, length=length).tolist() == expected


def test_words_may_have_thirty_letters() -> None:
    rng = np.random.default_rng(0)
    site = "".join(rng.choice(list("ACGU"), 30))
    shifted, apart = "AAA" + site, "AAA" + site[:29]
    assert shares_word([shifted, apart], ["CC" + site + "GG"], length=30).tolist() == [True, False]


def test_groups_join_through_others() -> None:
    rng = np.random.default_rng(1)
    genome = "".join(rng.choice(list("ACGU"), 100))
    rows = [genome[:40], genome[20:60], genome[45:100], "".join(rng.choice(list("ACGU"), 40)), "ACGU", "ACGU"]
    groups = groups_by_words(rows, length=15)
    assert groups[0] == groups[1] == groups[2]
    assert groups[4] == groups[5]
    assert len(set(groups.tolist())) == 3
