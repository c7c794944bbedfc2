"""Search: where families lie in RNAs, on either strand, in long ones, and E-values that depend on nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.seeds import HAIRPIN, rows_of

from rnafm_cli.errors import WeightsError
from rnafm_cli.families import search as search_module
from rnafm_cli.families.library import Library
from rnafm_cli.families.search import (
    Hit,
    Search,
    compatible,
    reverse_complement,
    search_ahead,
    search_of,
    without_rivals,
)

ROWS = rows_of(HAIRPIN, 12, seed=1)


def noise(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed + 100).choice(list("ACGU"), length))


@pytest.fixture(scope="module")
def search(library: Library) -> Search:
    return Search([library])


def told(hits: list[Hit]) -> list[tuple[str, int, int, str]]:
    return [(hit.family.accession, hit.start, hit.end, hit.strand) for hit in hits]


def test_two_copies_are_two_hits(search: Search) -> None:
    text = noise(50, 1) + ROWS[0] + noise(40, 2) + ROWS[0]
    found = without_rivals(search.hits([text])[0])
    assert [hit.family.accession for hit in found] == ["MF00001", "MF00001"]
    assert sorted(abs(hit.start - at) <= 3 for hit, at in zip(found, (50, 146), strict=True)) == [True, True]
    assert all(len(hit) >= 50 for hit in found)
    assert len(search.hits([text])[0]) > 2
    assert told(compatible(found)) == told(found)


def test_the_other_strand(search: Search) -> None:
    text = noise(30, 3) + reverse_complement(ROWS[1]) + noise(20, 4)
    assert search.hits([text]) == [[]]
    best = search.hits([text], strands="both")[0][0]
    assert best.strand == "-" and abs(best.start - 30) <= 3 and abs(best.end - 86) <= 3
    plus = search.hits([reverse_complement(text)])[0][0]
    assert best.evalue == pytest.approx(2 * plus.evalue, rel=1e-6) and best.score == plus.score
    start, end = best.stretch(len(text))
    assert start <= best.start and best.end <= end


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 60)), min_size=1, max_size=6), st.integers(1, 3))
def test_evalues_are_independent_of_batch_and_threads(
    library: Library, parts: list[tuple[int, int]], threads: int
) -> None:
    texts = [noise(k, k) + ROWS[row] for row, k in parts]
    alone = Search([library])
    together = Search([library], threads=threads).hits(texts)
    for text, hits in zip(texts, together, strict=True):
        (single,) = alone.hits([text])
        assert told(single) == told(hits)
        assert [hit.evalue for hit in single] == [hit.evalue for hit in hits]


def test_long_rnas_are_searched_in_windows(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    text = noise(900, 5) + ROWS[2] + noise(1100, 6) + ROWS[3] + noise(300, 7)
    whole = Search([library]).hits([text, ROWS[4]])
    monkeypatch.setattr(search_module, "_WINDOWS", ((55, 400), (100, 500)))
    monkeypatch.setattr(search_module, "_BLOCK", 700)
    windows = Search([library]).hits([text, ROWS[4]])
    for one, other in zip(whole, windows, strict=True):
        assert told(without_rivals(one)) == told(without_rivals(other))
    assert windows[1][0].evalue == whole[1][0].evalue


@pytest.mark.parametrize("text", ["", "A", "N" * 80, "ACGU", ROWS[0].replace("A", "R")])
def test_odd_sequences_pass(search: Search, text: str) -> None:
    (hits,) = search.hits([text], strands="both")
    assert all(0 <= hit.start < hit.end <= len(text) for hit in hits)


def test_earlier_libraries_come_first(library: Library) -> None:
    both = Search([Library("ours", library.families[:1]), library])
    assert both.hits([ROWS[0]])[0][0].library == "ours" and len(both.families) == 3


def test_a_search_made_ahead_is_the_one_that_is_asked_for(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "mine.lib"
    with pytest.raises(WeightsError, match="no family library .*mine.lib"):
        search_ahead([path], None)
        search_of([path], None)
    library.save(path)
    search_ahead([path], None)
    text = noise(50, 1) + ROWS[0]
    assert told(search_of([path], None).hits([text])[0]) == told(search_of([path], None).hits([text])[0]) != []
