"""``rnafm mrl``, and training and measuring from the shell, on small random models."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.command import Command
from support.function_models import save_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


def rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def rna(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGU"), length))


FASTA = f">none\n{'C' * 30}\n>two\n{'C' * 20}AUGC{'C' * 8}AUG\n>long\n{rna(120, 1)}\n>short\nACGU\n"


def test_a_row_for_each_utr(rnafm: Command, models: Path, tmp_path: Path) -> None:
    chosen = ("mrl", "-m", "tiny", "--weights-dir", models)
    result = rnafm(*chosen, stdin=FASTA)
    assert result.returncode == 0, result.stderr
    header, *table = rows(result.stdout)
    assert header == ["id", "mrl", "mrl_sd", "uaug", "uaug_frame"]
    assert [row[0] for row in table] == ["none", "two", "long", "short"]
    assert table[0][3:] == ["0", ""] and table[1][3:] == ["2", "0,0"]
    assert all(float(row[2]) > 0 for row in table)
    assert "record 'long': 120 nt; the 100 nt before the start codon are read" in result.stderr
    assert "record 'short': 4 nt" in result.stderr and "a UTR ends in AUG" in result.stderr
    objects = [json.loads(line) for line in rnafm(*chosen, "--format", "jsonl", stdin=FASTA).stdout.splitlines()]
    assert objects[1]["uaug_frame"] == [0, 0]
    other = rnafm(*chosen, "--assay", "egfp_unmod_1", "-o", tmp_path / "m.h5", stdin=FASTA)
    assert other.returncode == 0, other.stderr
    with h5py.File(tmp_path / "m.h5") as file:
        assert file.attrs["assay"] == "egfp_unmod_1" and file["uaug"][()].tolist()[:2] == [0, 2]
        assert abs(file["mrl"][0] - float(table[0][1])) > 1e-6
    wrong = rnafm(*chosen, "--assay", "egfp", stdin=FASTA)
    assert wrong.returncode == 2 and "did you mean egfp_unmod_1" in wrong.stderr


def test_a_scan_is_a_table_of_effects(rnafm: Command, models: Path) -> None:
    result = rnafm("mrl", "--scan", "-m", "tiny", "--weights-dir", models, stdin=">u\n" + "CCAUC" * 6 + "\n")
    assert result.returncode == 0, result.stderr
    header, *table = rows(result.stdout)
    assert header[:4] == ["id", "position", "ref", "alt"] and header[-2:] == ["uaug", "uaug_frame"]
    assert len(table) == 90 and table[0][:4] == ["u", "1", "C", "A"]
    gained = next(row for row in table if row[1] == "5" and row[3] == "G")
    assert gained[header.index("uaug")] == "1"


def test_bad_input_stops_or_is_left_out(rnafm: Command, models: Path) -> None:
    text = ">good\n" + "ACGU" * 8 + "\n>bad\nAC*GU\n"
    stopped = rnafm("mrl", "-m", "tiny", "--weights-dir", models, stdin=text)
    assert stopped.returncode == 3 and "'bad'" in stopped.stderr
    skipped = rnafm("mrl", "-m", "tiny", "--weights-dir", models, "--on-error", "skip", stdin=text)
    assert skipped.returncode == 3 and [row[0] for row in rows(skipped.stdout)] == ["id", "good"]


def mrl_table(path: Path, count: int = 120) -> Path:
    lines = ["sequence\tmrl\tsplit\tid"]
    for k in range(count):
        sequence = rna(50, k).replace("AUG", "ACG") if k % 3 else rna(47, k) + "AUG"
        lines.append(
            f"{sequence}\t{6 - sequence.count('AUG') + 0.01 * k:.3f}\t{'dev' if k % 4 == 0 else 'train'}\tu{k}"
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def test_training_then_measuring(rnafm: Command, models: Path, tmp_path: Path) -> None:
    table, run = mrl_table(tmp_path / "random_25to100.tsv"), tmp_path / "run"
    small = ["optim.epochs=2", "optim.batch=16", "head.channels=8", "head.reduced=4", "head.members=2"]
    settings = [part for text in small for part in ("--set", text)]
    trained = rnafm("finetune", "mrl", table, "-o", run, "-m", "tiny", "--weights-dir", models, *settings)
    assert trained.returncode == 0, trained.stderr
    assert "finished at step" in trained.stderr and (run / "best.safetensors").exists()
    model = ("-m", run / "best.safetensors", "--weights-dir", models)
    measured = rnafm(
        "evaluate",
        "mrl",
        table,
        *model,
        "--against",
        "tiny",
        "--baseline",
        "--resamples",
        "50",
    )
    assert measured.returncode == 0, measured.stderr
    header, *figures = rows(measured.stdout)
    assert header[:5] == ["predictor", "assay", "context", "rows", "r2"]
    assert {row[0] for row in figures} == {str(run / "best.safetensors"), "tiny", "ridge regression"}
    assert {row[2] for row in figures} >= {"all", "none"} and figures[0][3] == "30"
    ridge = next(row for row in figures if row[0] == "ridge regression" and row[2] == "all")
    assert float(ridge[header.index("r2")]) > 0.5
    predicted = tmp_path / "p.tsv"
    fasta = "".join(f">u{k}\n{line.split(chr(9))[0]}\n" for k, line in enumerate(table.read_text().splitlines()[1:]))
    assert rnafm("mrl", *model, "-o", predicted, stdin=fasta).returncode == 0
    again = rnafm("evaluate", "mrl", table, "--predictions", predicted, "--format", "json", "--resamples", "0")
    assert again.returncode == 0, again.stderr
    (whole,) = [one for one in json.loads(again.stdout)["figures"] if one["context"] == "all"]
    assert whole["r2"] == pytest.approx(float(figures[0][header.index("r2")]), abs=1e-3)


def test_rows_that_a_run_held_out_are_measured_and_training_rows_warned_of(rnafm: Command, tmp_path: Path) -> None:
    table, run = mrl_table(tmp_path / "mine.tsv"), tmp_path / "run"
    # One's own table, without a split.
    table.write_text("".join("\t".join(row[:2]) + "\n" for row in rows(table.read_text())))
    small = ["optim.epochs=1", "optim.batch=16", "head.channels=8", "head.members=1", "data.dev_share=0.25"]
    settings = [part for text in small for part in ("--set", text)]
    trained = rnafm("finetune", "mrl", table, "-o", run, "--encoder", "none", *settings)
    assert trained.returncode == 0 and "30 of 120 rows held out" in trained.stderr, trained.stderr
    assert json.loads((run / "best.json").read_text())["name"] == "mrl"
    model = ("-m", run / "best.safetensors", "--resamples", "0", "--format", "json")
    held_out = rnafm("evaluate", "mrl", run / "rows", *model)
    assert held_out.returncode == 0 and not held_out.stderr, held_out.stderr
    whole = rnafm("evaluate", "mrl", table, "--split", "all", *model)
    assert f"was trained on 90 of these 120 rows; {run / 'rows'} has those held out" in whole.stderr
    counts = [json.loads(one.stdout)["figures"][0]["rows"] for one in (held_out, whole)]
    assert counts == [30, 120]
    # A split of one's own says nothing of a head that others trained.
    shipped = rnafm("evaluate", "mrl", run / "rows", "--split", "train", "--assay", "human_50", "--resamples", "0")
    assert shipped.returncode == 0 and not shipped.stderr, shipped.stderr
    (run / "rows" / "mine.tsv.gz").rename(tmp_path / "human_50.tsv.gz")
    known = rnafm("evaluate", "mrl", tmp_path / "human_50.tsv.gz", "--split", "train", "--resamples", "0")
    assert "human_50: rnafm-mini was trained on 90 of these 90 rows" in known.stderr


def test_a_table_of_another_assay_says_how_to_measure_it(rnafm: Command, models: Path, tmp_path: Path) -> None:
    table, model = mrl_table(tmp_path / "mine.tsv", count=24), ("-m", "tiny", "--weights-dir", models)
    refused = rnafm("evaluate", "mrl", table, *model)
    assert refused.returncode == 2 and "mine: the model has no assay of this name; --assay NAME" in refused.stderr
    measured = rnafm("evaluate", "mrl", table, *model, "--assay", "egfp_unmod_1", "--resamples", "0")
    assert measured.returncode == 0, measured.stderr
    assert rows(measured.stdout)[1][1:4] == ["mine", "all", "6"]


def test_rbp_training_then_measuring(rnafm: Command, tmp_path: Path) -> None:
    table, run = tmp_path / "SET_X_1.tsv", tmp_path / "run"
    lines = ["sequence\tlabel"]
    for k in range(120):
        sequence = rna(101, k)
        bound = k % 3 == 0
        lines.append(f"{sequence[:45] + 'UUUUUUUUUU' + sequence[55:] if bound else sequence}\t{int(bound)}")
    table.write_text("\n".join(lines) + "\n")
    small = ["optim.epochs=3", "optim.batch=16", "head.channels=8", "data.dev_share=0.3", "optim.rate=1e-2"]
    settings = [part for text in small for part in ("--set", text)]
    trained = rnafm("finetune", "rbp", table, "-o", run, "--encoder", "none", *settings)
    assert trained.returncode == 0, trained.stderr
    assert "no column 'split'; 36 of 120 rows held out" in trained.stderr
    model = ("-m", run / "best.safetensors")
    measured = rnafm("evaluate", "rbp", table, "--split", "all", *model, "--format", "table", "--resamples", "20")
    assert measured.returncode == 0, measured.stderr
    head, row = measured.stdout.splitlines()
    assert head.split()[:4] == ["predictor", "set", "rows", "positives"]
    assert row.split()[1:4] == ["SET_X_1", "120", "40"]
    assert "was trained on 84 of these 120 rows" in measured.stderr
    held_out = rnafm("evaluate", "rbp", run / "rows", *model, "--resamples", "0")
    assert held_out.returncode == 0 and not held_out.stderr and rows(held_out.stdout)[1][2] == "36"
    refused = rnafm("evaluate", "rbp", table, "--split", "dev", *model)
    assert refused.returncode == 3 and "no rows of the split 'dev'" in refused.stderr
    assert f"{run / 'rows'} has those that the run held out" in refused.stderr
