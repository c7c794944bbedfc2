from __future__ import annotations

import numpy as np
import pytest

from rnafm_cli.errors import InputError
from rnafm_cli.rna.bootstrap import FEWEST, Resampling
from rnafm_cli.rna.calibration import calibrate
from rnafm_cli.rna.pairs import from_dot_bracket
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.evaluation import METRICS, compare, index_records, report_scores

SEQUENCE, STRUCTURE = "GGGGGAAAACCCCC", "(((((....)))))"


def record(id: str, structure: str = STRUCTURE, *, sequence: str = SEQUENCE, family: str = "") -> StructureRecord:
    return StructureRecord(id, sequence, from_dot_bracket(structure), family=family, source="x.dbn", line=3)


TRUTH = index_records([record("a", family="fam"), record("b"), record("c", family="fam")])


def test_records_are_matched_by_id_in_the_order_of_the_truth() -> None:
    found = index_records([record("c", "((((......))))"), record("a"), record("b", "." * 14)])
    result = compare(TRUTH, {"p": found})
    assert [score.id for score in result["p"]] == ["a", "b", "c"]
    assert [round(score["f1"], 4) for score in result["p"]] == [1.0, 0.0, 0.8889]


def test_missing_predictions_stop_count_or_are_left_out_for_both() -> None:
    some, all_of_them = index_records([record("a"), record("c")]), TRUTH
    with pytest.raises(InputError, match="p: 1 of 3 RNAs have no prediction: 'b'; --missing unpaired"):
        compare(TRUTH, {"p": some})
    counted = compare(TRUTH, {"p": some, "q": all_of_them}, missing="unpaired")
    assert [score["f1"] for score in counted["p"]] == [1.0, 0.0, 1.0]
    left_out = compare(TRUTH, {"p": some, "q": all_of_them}, missing="skip")
    assert [[score.id for score in rows] for rows in left_out.values()] == [["a", "c"], ["a", "c"]]


def test_extra_predictions_are_an_error_unless_allowed() -> None:
    found = TRUTH | {"d": record("d")}
    with pytest.raises(InputError, match="1 predictions are of RNAs missing from the truth: 'd'; --allow-extra"):
        compare(TRUTH, {"p": found})
    assert [score.id for score in compare(TRUTH, {"p": found}, allow_extra=True)["p"]] == ["a", "b", "c"]


def test_no_common_id_shows_both_kinds() -> None:
    with pytest.raises(InputError, match=r"p: has none of the ids of the truth \('a', 'b', 'c'\).*here they are 'A'"):
        compare(TRUTH, {"p": {"A": record("A")}}, missing="skip")


def test_sequences_must_agree_up_to_ambiguity_codes() -> None:
    other = {id: record(id, sequence="GGGGGAAUACCCCC") for id in TRUTH}
    with pytest.raises(
        InputError, match=r"x.dbn:3: record 'a': another sequence than in the truth \(base 8 is U, there A\)"
    ):
        compare(TRUTH, {"p": other})
    longer = {id: record(id, STRUCTURE + ".", sequence=SEQUENCE + "A") for id in TRUTH}
    with pytest.raises(InputError, match="15 nt, and 14 in the truth"):
        compare(TRUTH, {"p": longer})
    masked = {id: record(id, sequence="GGGGGAANACCCCC") for id in TRUTH}
    assert compare(TRUTH, {"p": masked})["p"][0]["f1"] == 1.0


def test_duplicate_ids_are_an_error() -> None:
    with pytest.raises(InputError, match="record 'a': the id appears twice, first at line 3"):
        index_records([record("a"), record("a")])


def test_reports_have_groups_intervals_and_paired_differences() -> None:
    truth = {str(k): record(str(k), family="fam" if k < 12 else "rare") for k in range(15)}
    worse = {id: record(id, "((((......))))" if int(id) % 3 else "." * 14) for id in truth}
    scores = compare(truth, {"p": truth, "q": worse})
    report = report_scores(scores, compared=["p", "q"], by_family=True, how=Resampling(resamples=200))
    assert [(group.scope, group.name) for group in report.groups["p"]] == [
        ("all", "all"),
        ("length", "<50"),
        ("family", "fam"),
        ("family", "rare"),
    ]
    every, _, _, rare = report.groups["q"]
    mean = float(np.mean([score["f1"] for score in scores["q"]]))
    assert set(every.intervals) == set(METRICS)
    assert every.intervals["f1"].low < mean == every.intervals["f1"].estimate < every.intervals["f1"].high
    gain = report.differences[0].intervals["f1"]
    assert gain.estimate == pytest.approx(1 - mean)
    assert 0 < gain.low and gain.p_value < 0.05
    assert rare.counts["records"] < FEWEST
    assert np.isnan(rare.intervals["f1"].low)
    assert np.isnan(report.differences[-1].intervals["f1"].p_value)


def test_calibration_equals_the_pooled_curve_and_brackets_it() -> None:
    rnas, probs, true = [], list[float](), list[bool]()
    pairs = from_dot_bracket(STRUCTURE)
    known = {(int(i), int(j)) for i, j in pairs}
    for seed in range(20):
        probs_LL = np.random.default_rng(seed).random((14, 14))
        rnas.append((probs_LL, pairs))
        for i, j in zip(*np.triu_indices(14, k=1), strict=True):
            probs.append(probs_LL[i, j])
            true.append((i, j) in known)
    result = calibrate(rnas, Resampling(resamples=200), min_prob=0.0)
    bins = np.minimum((np.array(probs) * 10).astype(int), 9)
    assert [one.estimate for one in result.observed] == pytest.approx(
        [np.mean(np.array(true)[bins == k]) for k in range(10)]
    )
    gaps = [abs(np.mean(np.array(true)[bins == k]) - np.mean(np.array(probs)[bins == k])) for k in range(10)]
    assert result.ece.estimate == pytest.approx(np.average(gaps, weights=np.bincount(bins)))
    assert all(one.low <= one.estimate <= one.high for one in result.observed)
    assert result.ece.low < result.ece.high
