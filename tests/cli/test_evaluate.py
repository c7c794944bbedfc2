from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.command import Command

SEQUENCE = "GGGGGAAAACCCCC"
TRUE, CLOSE, NONE = "(((((....)))))", "((((......))))", "." * 14
HEADER = "name\tfamily\tsequence\tpairs\n"


def dbn(**structures: str) -> str:
    return "".join(f">{id}\n{SEQUENCE}\n{structure}\n" for id, structure in structures.items())


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    path = tmp_path / "truth.tsv"
    path.write_text(HEADER + "".join(f"{id}\t{family}\t{SEQUENCE}\t{TRUE}\n" for id, family in ("aA", "bA", "cB")))
    return path


@pytest.fixture
def prediction(tmp_path: Path) -> Path:
    path = tmp_path / "mine.dbn"
    path.write_text(dbn(a=TRUE, b=CLOSE, c=NONE))
    return path


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


def value(table: list[dict[str, str]], metric: str, **where: str) -> float:
    wanted = {"scope": "all", "metric": metric} | where
    (row,) = [row for row in table if wanted.items() <= row.items()]
    return float(row["value"])


def test_the_table_holds_the_means_over_records(rnafm: Command, truth: Path, prediction: Path) -> None:
    result = rnafm("evaluate", "fold", truth, prediction, "--by-family")
    assert result.returncode == 0, result.stderr
    table = rows(result.stdout)
    assert value(table, "f1") == pytest.approx((1 + 8 / 9 + 0) / 3, abs=1e-5)
    assert value(table, "precision") == pytest.approx(2 / 3, abs=1e-5)
    assert value(table, "recall") == pytest.approx((1 + 0.8) / 3, abs=1e-5)
    assert value(table, "relaxed_f1") == pytest.approx(17 / 27, abs=1e-5)
    assert value(table, "micro_f1") == pytest.approx(2 * 9 / (9 + 15), abs=1e-5)
    assert value(table, "f1", scope="family", group="A") == pytest.approx(17 / 18, abs=1e-5)
    assert value(table, "f1", scope="length", group="<50") == value(table, "f1")
    assert {row["predictor"] for row in table} == {"mine"}


def test_json_and_text_say_the_same(rnafm: Command, truth: Path, prediction: Path) -> None:
    document = json.loads(rnafm("evaluate", "fold", truth, prediction, "--format", "json").stdout)
    mine = document["predictors"]["mine"]["all"]["all"]
    assert mine["f1"]["value"] == pytest.approx(17 / 27, abs=1e-5)
    assert (document["records"], mine["records"], mine["knot_true"]) == (3, 3, 0)
    assert mine["knot_recall"]["value"] is None
    text = rnafm("evaluate", "fold", truth, prediction, "--format", "table", "--name", "RNAfold").stdout
    assert text.splitlines()[0].split()[:3] == ["RNAfold", "records", "F1"]
    assert text.splitlines()[1].split()[:3] == ["all", "3", "0.630"]


def test_pseudoknots_and_calibration_have_figures_of_their_own(rnafm: Command, tmp_path: Path) -> None:
    sequence, knot = "GGGAACCCAACCCAAGGG", "(((..[[[..)))..]]]"
    truth, mine, probs = tmp_path / "truth.dbn", tmp_path / "mine.dbn", tmp_path / "p.h5"
    truth.write_text(f">a\n{sequence}\n{knot}\n>b\n{sequence}\n{knot}\n")
    mine.write_text(f">a\n{sequence}\n{knot}\n>b\n{sequence}\n{knot.translate({91: 46, 93: 46})}\n")
    with h5py.File(probs, "w") as file:
        for id in "ab":
            file[id] = np.full((18, 18), 0.05, dtype=np.float32)
    arguments = ["evaluate", "fold", truth, mine, "--probs", probs]
    table = rows(rnafm(*arguments).stdout)
    found = {m: value(table, m) for m in ("knot_true", "knot_predicted", "knot_precision", "knot_recall")}
    assert found == {"knot_true": 6, "knot_predicted": 3, "knot_precision": 1, "knot_recall": 0.5}
    bins = json.loads(rnafm(*arguments, "--format", "json").stdout)["calibration"]
    assert (bins[0]["pairs"], bins[0]["observed"]) == (2 * 153, pytest.approx(6 / 153, abs=1e-5))
    assert (bins[9]["to"], bins[9]["pairs"], bins[9]["observed"]) == (1, 0, None)
    text = rnafm(*arguments, "--format", "table").stdout.splitlines()
    (start,) = [k for k, line in enumerate(text) if line.startswith("pseudoknotted pairs")]
    assert text[start + 1].split()[:4] == ["all", "6", "3", "1.000"]
    (start,) = [k for k, line in enumerate(text) if line.startswith("pair probability")]
    assert text[start + 1].split()[:4] == ["0-0.1", "306", "0.050", "0.039"]


def test_a_pipe_can_be_evaluated(rnafm: Command, truth: Path, prediction: Path) -> None:
    piped = rnafm("evaluate", "fold", truth, "-", stdin=prediction.read_text())
    assert piped.returncode == 0
    assert value(rows(piped.stdout), "f1", predictor="stdin") == pytest.approx(17 / 27, abs=1e-5)
    both = rnafm("evaluate", "fold", "-", "-", stdin="")
    assert both.returncode == 2
    assert "only one of the inputs" in both.stderr


def test_two_predictors_are_compared_record_by_record(rnafm: Command, tmp_path: Path) -> None:
    truth, ours, theirs = (tmp_path / name for name in ("truth.dbn", "ours.dbn", "theirs.dbn"))
    ids = [f"r{k}" for k in range(12)]
    truth.write_text(dbn(**dict.fromkeys(ids, TRUE)))
    ours.write_text(dbn(**dict.fromkeys(ids, TRUE)))
    theirs.write_text(dbn(**{id: (CLOSE if k % 2 else NONE) for k, id in enumerate(ids)}))
    records, figures, probs = tmp_path / "records.tsv", tmp_path / "figures", tmp_path / "p.h5"
    with h5py.File(probs, "w") as file:
        for id in ids:
            file[id] = np.full((14, 14), 0.05, dtype=np.float32)
    arguments = ["evaluate", "fold", truth, ours, "--against", theirs, "--resamples", "200"]
    result = rnafm(*arguments, "--per-record", records, "--plot", figures, "--probs", probs)
    assert result.returncode == 0, result.stderr
    table = rows(result.stdout)
    assert value(table, "f1", predictor="ours - theirs") == pytest.approx(1 - 4 / 9, abs=1e-5)
    (row,) = [r for r in table if r["predictor"] == "ours - theirs" and r["metric"] == "f1" and r["scope"] == "all"]
    assert float(row["low"]) > 0 and float(row["p_value"]) < 0.05
    assert value(table, "calibration_error") == pytest.approx(abs(5 / 91 - 0.05), abs=1e-4)
    bin_ = {"scope": "calibration", "group": "0-0.1"}
    assert value(table, "pairs", **bin_) == 12 * 91
    assert value(table, "predicted", **bin_) == pytest.approx(0.05, abs=1e-4)
    assert value(table, "observed", **bin_) == pytest.approx(5 / 91, abs=1e-5)
    scored = rows(records.read_text())
    assert [row["predictor"] for row in scored] == ["ours"] * 12 + ["theirs"] * 12
    assert [row["f1"] for row in scored[12:14]] == ["0", "0.888889"]
    assert sorted(p.name for p in figures.iterdir()) == [
        "calibration.svg",
        "calibration.tsv",
        "f1_by_length.svg",
        "f1_scatter.svg",
    ]
    first = rows((figures / "calibration.tsv").read_text())[0]
    assert (first["pairs"], first["from"], first["to"]) == (str(12 * 91), "0", "0.1")
    again = rnafm(*arguments, "--plot", tmp_path / "again")
    assert again.stdout == "".join(line for line in result.stdout.splitlines(True) if "calibration" not in line)
    assert (tmp_path / "again/f1_scatter.svg").read_bytes() == (figures / "f1_scatter.svg").read_bytes()


@pytest.mark.parametrize(
    ("structures", "arguments", "message"),
    [
        ({"a": TRUE, "b": TRUE}, [], "mine: 1 of 3 RNAs have no prediction: 'c'; --missing unpaired"),
        ({"a": TRUE, "b": TRUE, "c": TRUE, "d": TRUE}, [], "missing from the truth: 'd'; --allow-extra ignores them"),
        ({"x": TRUE}, [], "has none of the ids of the truth ('a', 'b', 'c'); ids are matched, and here they are 'x'"),
    ],
)
def test_ids_without_counterpart_stop_the_run(
    rnafm: Command, truth: Path, tmp_path: Path, structures: dict[str, str], arguments: list[str], message: str
) -> None:
    path = tmp_path / "mine.dbn"
    path.write_text(dbn(**structures))
    result = rnafm("evaluate", "fold", truth, path, *arguments)
    assert result.returncode == 3
    assert message in result.stderr
    assert result.stdout == ""


def test_missing_predictions_can_be_counted_or_left_out(rnafm: Command, truth: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.dbn"
    path.write_text(dbn(a=TRUE, b=TRUE))
    counted = rnafm("evaluate", "fold", truth, path, "--missing", "unpaired")
    assert value(rows(counted.stdout), "f1") == pytest.approx(2 / 3, abs=1e-5)
    assert "1 of 3 RNAs have no prediction and are scored as unpaired" in counted.stderr
    skipped = rnafm("evaluate", "fold", truth, path, "--missing", "skip")
    assert value(rows(skipped.stdout), "f1") == 1


def test_families_must_be_known(rnafm: Command, tmp_path: Path, prediction: Path) -> None:
    result = rnafm("evaluate", "fold", prediction, prediction, "--by-family")
    assert result.returncode == 3
    assert "names no families" in result.stderr


def test_probabilities_must_fit(rnafm: Command, truth: Path, prediction: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros((3, 3))
    result = rnafm("evaluate", "fold", truth, prediction, "--probs", path)
    assert result.returncode == 3
    assert "'a': is (3, 3), the RNA has 14 bases" in result.stderr
    missing = rnafm("evaluate", "fold", truth, prediction, "--probs", tmp_path / "no.h5")
    assert missing.returncode == 3
    assert "no such file" in missing.stderr
