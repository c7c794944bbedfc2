"""The pair-aware alignment and the templates made of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.seeds import HAIRPIN, KNOT, rows_of

from rnafm_cli.families.alignment import align, templates
from rnafm_cli.families.library import Library
from rnafm_cli.families.search import Search
from rnafm_cli.io.stockholm import wuss_pairs

ROWS = rows_of(HAIRPIN, 12, seed=1)
KNOTTED = rows_of(KNOT, 12, seed=2)


def test_a_row_of_the_family_gets_its_pairs(library: Library) -> None:
    flank = "ACCAUAG"
    (found,) = align([(library.families[0], flank + ROWS[0] + flank)])
    assert found.path().tolist() == [-1] * 7 + list(range(len(HAIRPIN))) + [-1] * 7
    pairs = wuss_pairs(HAIRPIN) + 7
    inside = found.pair_map()[pairs[:, 0], pairs[:, 1]]
    assert inside.min() > 0.9 and found.pair_map().sum() == pytest.approx(2 * len(pairs), abs=1.0)


def test_insertions_and_deletions(library: Library) -> None:
    row = ROWS[0]
    (found,) = align([(library.families[0], row[:28] + "GAA" + row[28:52] + row[54:])])
    path = found.path()
    assert (path[28:31] == -1).sum() >= 2 and path[0] == 0 and path[-1] == len(HAIRPIN) - 1


def test_pairs_known_place_helices_better(library: Library) -> None:
    family = library.families[1]
    rows = rows_of(HAIRPIN, 30, seed=1, change=0.45)
    pairs = wuss_pairs(HAIRPIN)
    score = [
        np.mean([p.pair_map()[pairs[:, 0], pairs[:, 1]].mean() for p in align([(family, r) for r in rows], rounds=k)])
        for k in (0, 1)
    ]
    assert score[1] > score[0]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.text("ACGUN", min_size=0, max_size=90)), min_size=1, max_size=4))
def test_posteriors_are_probabilities_whatever_the_batch(library: Library, jobs: list[tuple[int, str]]) -> None:
    given_jobs = [(library.families[k], text) for k, text in jobs]
    for (family, text), found in zip(given_jobs, align(given_jobs), strict=True):
        assert found.match_ML.shape == (len(family), len(text)) and found.match_ML.min(initial=0) >= 0
        assert found.match_ML.sum(axis=0).max(initial=0) <= 1 + 1e-9 and found.match_ML.sum(axis=1).max() <= 1 + 1e-9
        map_LL = found.pair_map()
        assert np.array_equal(map_LL, map_LL.T) and map_LL.max(initial=0) <= 1
        assert not np.triu(np.tril(map_LL, 3), -3).any()
        (alone,) = align([(family, text)])
        assert np.abs(alone.match_ML - found.match_ML).max(initial=0) < 1e-9


def test_templates_hold_pseudoknots_and_copies(library: Library) -> None:
    text = "ACCAG" + KNOTTED[0] + "GAUUACAGG" + KNOTTED[0] + "CA"
    found, nothing = templates([text, "ACGUACGGAUGC"], Search([library]))
    assert nothing is None and found is not None and len(found.hits) == 2
    for at in (5, 5 + len(KNOT) + 9):
        pairs = wuss_pairs(KNOT) + at
        assert found.pairs_LL[pairs[:, 0], pairs[:, 1]].mean() > 0.8
    assert np.array_equal(found.pairs_LL, found.pairs_LL.T)
    assert found.coverage_L[10] > 0.9 and found.confidence_L[10] > 3 and found.coverage_L.max() <= 1
