"""Scores of contact and distance maps against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnafm_cli.errors import UsageError
from rnafm_cli.rna.bootstrap import Resampling
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.metrics import score_contacts, score_distances
from rnafm_cli.structure.evaluation import ceiling_scores, report_scores
from rnafm_cli.structure.tertiary import best_pairs, parse_top


def chain(length: int, contacts: list[tuple[int, int]], unknown: list[int] | None = None) -> Chain:
    labels_LL = np.zeros((length, length), dtype=np.int8)
    for i, j in contacts:
        labels_LL[i, j] = labels_LL[j, i] = 1
    for k in unknown or []:
        labels_LL[k], labels_LL[:, k] = -1, -1
    return Chain("c", "A" * length, contact_LL=labels_LL)


def test_long_range_precision_by_hand() -> None:
    known = chain(30, [(0, 24), (0, 25), (1, 29)])
    probs_LL = np.zeros((30, 30))
    probs_LL[0, 24], probs_LL[2, 27], probs_LL[0, 25] = 0.9, 0.8, 0.7
    probs_LL[0, 5] = 1.0
    score = score_contacts(known, probs_LL)
    assert score is not None
    # The best 3, 6, 15 and 30 of 21 pairs at separation 24 or more.
    assert score["pairs"] == 21
    assert score.values["top_l10"] == pytest.approx(2 / 3)
    assert score.values["top_l5"] == pytest.approx(2 / 6)
    assert score.values["top_l1"] == pytest.approx(3 / 21)
    assert score.ceiling["top_l10"] == 1.0
    assert score.ceiling["top_l5"] == pytest.approx(3 / 6)


def test_unknown_pairs_are_not_scored() -> None:
    known = chain(30, [(0, 24), (5, 29)], unknown=[0])
    probs_LL = np.zeros((30, 30))
    probs_LL[0, 24], probs_LL[5, 29] = 0.9, 0.5
    score = score_contacts(known, probs_LL)
    assert score is not None
    assert score["pairs"] == 15
    assert score.values["top_l10"] == pytest.approx(1 / 3)


def test_chains_without_long_range() -> None:
    assert score_contacts(chain(24, []), np.zeros((24, 24))) is None
    score = score_contacts(chain(30, [(0, 5)]), np.zeros((30, 30)))
    assert score is not None
    assert set(score.values.values()) == {0.0}
    assert score["contacts"] == 0


def test_distances_by_hand() -> None:
    distance_LL = np.array([[0, 4, 30], [4, 0, 10], [30, 10, 0]], dtype=np.float32)
    known = Chain("c", "ACG", distance_LL)
    found_LL = np.array([[0, 6, 20], [6, 0, 13], [20, 13, 0]], dtype=np.float32)
    score = score_distances(known, found_LL)
    assert score is not None
    true, guess = np.array([0.2, 1.0, 0.5]), np.array([0.3, 1.0, 0.65])
    mse = ((true - guess) ** 2).mean()
    assert score.values["mse"] == pytest.approx(mse)
    assert score.values["r2"] == pytest.approx(1 - mse / true.var())
    assert score.values["pa"] == pytest.approx(2 / 3)
    assert score.values["pmcc"] == pytest.approx(np.corrcoef(true, guess)[0, 1])
    perfect = score_distances(known, distance_LL)
    assert perfect is not None
    assert perfect.values["mse"] == 0.0
    assert score_distances(chain(3, []), found_LL) is None


@given(st.integers(25, 60), st.integers(0, 2**32 - 1))
def test_no_predictor_beats_the_ceiling(length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels_LL = np.triu(rng.integers(-1, 2, (length, length)), 1).astype(np.int8)
    known = Chain("c", "A" * length, contact_LL=labels_LL + labels_LL.T)
    score = score_contacts(known, rng.random((length, length)))
    if score is not None:
        assert all(0 <= score.values[name] <= score.ceiling[name] + 1e-12 for name in score.values)
        best = score_contacts(known, known.contacts().astype(float))
        assert best is not None
        assert best.values == pytest.approx(best.ceiling)


def test_reports_hold_means_and_differences() -> None:
    known = [chain(30 + k, [(0, 25)] if k else []) for k in range(12)]
    rng = np.random.default_rng(0)
    scores = {name: [s for c in known if (s := score_contacts(c, rng.random((len(c), len(c)))))] for name in ("a", "b")}
    scores["ceiling"] = ceiling_scores(scores["a"])
    report = report_scores(scores, ("top_l1",), compared=("a", "b"), how=Resampling(resamples=100))
    every = {(g.scope, g.name): g for g in report.groups["a"]}
    assert every["all", "all"].counts["chains"] == 12
    assert every["contacts", "with contacts"].counts["chains"] == 11
    mean = np.mean([s.values["top_l1"] for s in scores["a"]])
    assert every["all", "all"].intervals["top_l1"].estimate == pytest.approx(mean)
    gain = report.differences[0].intervals["top_l1"]
    assert gain.low <= gain.estimate <= gain.high
    assert report.groups["ceiling"][0].intervals["top_l1"].estimate >= mean


@pytest.mark.parametrize(
    ("text", "length", "count"), [("L/2", 41, 20), ("L", 41, 41), ("2L", 10, 20), ("100", 7, 100), ("l/10", 5, 1)]
)
def test_numbers_of_best_pairs(text: str, length: int, count: int) -> None:
    assert parse_top(text)(length) == count


@pytest.mark.parametrize("text", ["", "half", "L/0", "-5", "1.5", "0", "L/L"])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--top"):
        parse_top(text)


def test_choice_of_pairs() -> None:
    contact_LL = np.zeros((6, 6))
    contact_LL[0, 3], contact_LL[1, 2], contact_LL[2, 5] = 0.5, 0.9, 0.7
    contact_LL += contact_LL.T
    every = best_pairs({"contact": contact_LL}, least=0.6)
    assert every.tolist() == [[1, 2], [2, 5]]
    assert best_pairs({"contact": contact_LL}, least=0.0).shape == (15, 2)
    assert best_pairs({"contact": contact_LL}, separation=3, top=parse_top("1")).tolist() == [[2, 5]]
    distance_LL = 10.0 - contact_LL
    assert best_pairs({"distance": distance_LL}, farthest=9.4).tolist() == [[1, 2], [2, 5]]
