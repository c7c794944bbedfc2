"""``rnafm rbp`` as a user runs it, on small random models."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.command import Command
from support.function_models import PROTEINS, save_models
from typer.testing import CliRunner

from rnafm_cli.cli.app import app

FASTA = ">one a site\nACGUUGCAAUGCAUUGCAUGGCAUUUUUGCAUCGAUUCGAUCGAUCG\n>two\n" + "acgtn" * 60 + "\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "x.fa"
    path.write_text(FASTA)
    return path


def rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def test_a_row_for_each_rna_and_protein(rnafm: Command, models: Path, fasta: Path) -> None:
    result = rnafm("rbp", fasta, "-m", "tiny", "--weights-dir", models)
    assert result.returncode == 0, result.stderr
    header, *table = rows(result.stdout)
    assert header == ["id", "protein", "probability", "call"]
    assert [row[:2] for row in table] == [[name, protein] for name in ("one", "two") for protein in PROTEINS]
    for row in table:
        assert 0 <= float(row[2]) <= 1
        limit = 0.4 if row[1] == PROTEINS[0] else 0.5
        assert row[3] == ("bound" if float(row[2]) >= limit else "unbound")
    assert "T read as U" in result.stderr and "shorter than the 101 nt" in result.stderr


def test_proteins_windows_and_formats(rnafm: Command, models: Path, fasta: Path, tmp_path: Path) -> None:
    chosen = ("rbp", "-m", "tiny", "--weights-dir", models)
    result = rnafm(*chosen, "--protein", "tia1", "--windows", "--format", "jsonl", "--threshold", "0", stdin=FASTA)
    assert result.returncode == 0, result.stderr
    objects = [json.loads(line) for line in result.stdout.splitlines()]
    assert list(objects[0]) == ["id", "start", "end", "protein", "probability", "call"]
    assert {one["protein"] for one in objects} == set(PROTEINS[:2]) and {one["call"] for one in objects} == {"bound"}
    two = [one for one in objects if one["id"] == "two" and one["protein"] == PROTEINS[0]]
    assert two[0]["start"] == 0 and two[-1]["end"] == 300 and len(two) == 11
    target = tmp_path / "out.h5"
    result = rnafm(*chosen, fasta, "-o", target)
    assert result.returncode == 0, result.stderr
    with h5py.File(target) as file:
        assert file.attrs["model"] == "tiny" and len(file.attrs["weights_sha256"]) == 64
        assert file["protein"].asstr()[:3].tolist() == list(PROTEINS)
        assert file["probability"][()].shape == (6,) and np.isfinite(file["probability"][()]).all()
    assert rnafm(*chosen, fasta, "-o", target).returncode == 2


def test_nothing_is_called_where_most_is_unknown(models: Path) -> None:
    text = f">known\n{'ACGU' * 30}\n>masked\n{'ACGU' * 30}{'N' * 200}{'ACGU' * 30}\n>nothing\n{'N' * 101}\n"
    chosen = ["rbp", "-m", "tiny", "--weights-dir", str(models), "-p", "PUM2", "--threshold", "0"]
    result = CliRunner().invoke(app, chosen, input=text)
    assert [row[3] for row in rows(result.stdout)[1:]] == ["bound", "bound", "NA"]
    assert "record 'masked'" in result.stderr and "2 RNAs have windows that are mostly N" in result.stderr
    result = CliRunner().invoke(app, [*chosen, "--windows"], input=text)
    for name, start, end, _, _, call in rows(result.stdout)[1:]:
        masked = max(0, min(int(end), 320) - max(int(start), 120)) if name == "masked" else 101 * (name == "nothing")
        assert call == ("NA" if masked > 50 else "bound")


def test_the_list_needs_no_input(rnafm: Command, models: Path) -> None:
    result = rnafm("rbp", "--list", "-m", "tiny", "--weights-dir", models)
    assert result.returncode == 0, result.stderr
    header, *table = rows(result.stdout)
    assert header[:3] == ["protein", "auprc", "auroc"] and [row[0] for row in table] == list(PROTEINS)
    assert table[0][1:3] == ["0.61", "0.88"]
    assert table[1][header.index("reported")] == "AUROC 0.959"


def test_saliency_leaves_a_table_and_a_logo(rnafm: Command, models: Path, tmp_path: Path) -> None:
    text, folder = ">s/1\nACGUUGCAAUGC\n", tmp_path / "why"
    chosen = ("rbp", "-m", "tiny", "--weights-dir", models, "-p", "PUM2", "--saliency", folder)
    result = rnafm(*chosen, stdin=text)
    assert result.returncode == 0, result.stderr
    header, *table = rows((folder / "saliency.tsv").read_text())
    assert header == ["id", "protein", "position", "base", "importance", "to_A", "to_C", "to_G", "to_U"]
    assert "".join(row[3] for row in table) == "ACGUUGCAAUGC" and [row[2] for row in table][-1] == "12"
    (picture,) = folder.glob("*.svg")
    assert picture.name == f"s_1.{PROTEINS[2]}.svg" and "<svg" in picture.read_text()[:1000]
    again = rnafm(*chosen, stdin=text)
    assert again.returncode == 2 and "--force" in again.stderr
    before = picture.read_bytes()
    assert rnafm(*chosen, "--force", stdin=text).returncode == 0
    assert picture.read_bytes() == before


def test_structure_that_fits_no_rna_is_told(rnafm: Command, models: Path, fasta: Path, tmp_path: Path) -> None:
    (tmp_path / "other.shape").write_text(">someone_else\n1 0.2\n")
    result = rnafm("rbp", fasta, "--weights-dir", models, "-m", "tiny", "--structure", tmp_path / "other.shape")
    assert result.returncode == 0 and result.stdout, result.stderr
    assert "no structure of " in result.stderr and "that are not in the input: someone_else" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["-p", "TIA2"], 2, "did you mean TIA1"),
        (["--format", "h5"], 2, "-o FILE.h5"),
        (["-o", "sites.csv"], 2, "name it .tsv, .jsonl or .h5"),
        (["--format", "tsv", "-o", "sites.h5"], 2, "name it .tsv, .jsonl or .h5"),
        (["--structure", "nowhere.txt"], 3, "nowhere.txt"),
        (["-m", "tin"], 4, "did you mean tiny"),
    ],
)
def test_mistakes_are_one_clear_line(
    rnafm: Command, models: Path, fasta: Path, arguments: list[str], code: int, told: str
) -> None:
    result = rnafm("rbp", fasta, "--weights-dir", models, *([] if "-m" in arguments else ["-m", "tiny"]), *arguments)
    assert result.returncode == code and told in result.stderr
    assert result.stdout == "" and "Traceback" not in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_a_model_without_the_head_says_so(rnafm: Command, models: Path, fasta: Path, tmp_path: Path) -> None:
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"tiny{suffix}").write_bytes((models / f"tiny{suffix}").read_bytes())
    for command in ("rbp", "mrl"):
        result = rnafm(command, fasta, "-m", "tiny", "--weights-dir", tmp_path)
        assert result.returncode == 4 and f"no {command} head" in result.stderr
