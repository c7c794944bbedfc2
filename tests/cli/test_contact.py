"""``rnafm contact``, ``distance`` and their evaluation and training, with tiny random heads.

Most tests run the program within this process, which imports torch once instead of once a command.
"""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.command import Command
from support.made_chains import chain_file, made_chains
from support.structure_files import hairpin, pdb_text
from support.tertiary_models import tiny_model
from typer.testing import CliRunner

from rnafm_cli.cli.app import app
from rnafm_cli.io.maps import TERTIARY, map_writer
from rnafm_cli.rna.records import SequenceRecord

FASTA = ">one made up\nGGGGGCAAAAGCCCCCAUGCUAGCUAGGCA\n>two/b\nACGUNACGUACGUACGGUCGAUUCGA\n"
FIRST, SECOND = 30, 26
TINY = {
    "trunk": "width=8 channels=8 blocks=1 heads=2 fine=4",
    "map": "channels=8 blocks=1 fine=4",
    "optim": "steps=2 warmup=1",
    "data": "folds=2 min_length=10",
    "run": "bf16=false",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The program as a function; text in, text out."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RNAFM_HOME", raising=False)

    def run(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        found = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
        return subprocess.CompletedProcess(arguments, found.exit_code, found.stdout, found.stderr)

    return run


@pytest.fixture
def settings() -> list[str]:
    every = [f"{section}.{pair}" for section, pairs in TINY.items() for pair in pairs.split()]
    return [word for setting in every for word in ("--set", setting)]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


def test_a_table_of_contacts(inside: Command, model: Path) -> None:
    result = inside("contact", "-m", model, "--min-prob", "0", stdin=FASTA)
    assert result.returncode == 0, result.stderr
    table = rows(result.stdout)
    assert list(table[0]) == ["id", "i", "j", "base_i", "base_j", "p"]
    assert len(table) == FIRST * (FIRST - 1) // 2 + SECOND * (SECOND - 1) // 2
    assert table[0] | {"p": ""} == {"id": "one", "i": "1", "j": "2", "base_i": "G", "base_j": "G", "p": ""}
    assert all(0 <= float(row["p"]) <= 1 and int(row["i"]) < int(row["j"]) for row in table)
    fewer = rows(inside("contact", "-m", model, stdin=FASTA).stdout)
    assert [row for row in table if float(row["p"]) >= 0.01] == fewer
    best = rows(inside("contact", "-m", model, "--top", "L/2", "--min-separation", "1", stdin=FASTA).stdout)
    mine = sorted((float(row["p"]) for row in table if row["id"] == "one"), reverse=True)
    assert sorted((float(r["p"]) for r in best if r["id"] == "one"), reverse=True) == mine[: FIRST // 2]


def test_contacts_with_distances_are_those_of_both_commands(inside: Command, model: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps.h5"
    both = inside("contact", "-m", model, "--min-prob", "0", "--with-distance", "--h5", maps, stdin=FASTA)
    assert both.returncode == 0, both.stderr
    contacts = rows(inside("contact", "-m", model, "--min-prob", "0", stdin=FASTA).stdout)
    distances = rows(inside("distance", "-m", model, stdin=FASTA).stdout)
    assert list(distances[0]) == ["id", "i", "j", "base_i", "base_j", "distance", "sd"]
    table = rows(both.stdout)
    assert [row["p"] for row in table] == [row["p"] for row in contacts]
    assert [(r["distance"], r["sd"]) for r in table] == [(r["distance"], r["sd"]) for r in distances]
    with h5py.File(maps) as file:
        assert {"model", "head_sha256", "encoder_sha256", "families", "command"} <= set(file.attrs)
        group = file["two_b"]
        assert group.attrs["id"] == "two/b"
        assert group["contact"].shape == group["distance"].shape == group["sd"].shape == (SECOND, SECOND)
        stored = group["distance"][()]
        assert np.array_equal(stored, stored.T)
        assert stored.max() <= 20
        second = [row for row in table if row["id"] == "two/b"][0]
        assert stored[0, 1] == pytest.approx(float(second["distance"]), rel=1e-3)


def test_results_do_not_depend_on_batches(inside: Command, model: Path) -> None:
    options = ("contact", "-m", model, "--with-distance", "--min-prob", "0")
    wanted, found = (rows(inside(*options, *more, stdin=FASTA).stdout) for more in ((), ("--batch-tokens", "10")))
    assert [row["id"] + row["i"] + row["j"] for row in found] == [row["id"] + row["i"] + row["j"] for row in wanted]
    for name, digits in (("p", 1e-3), ("distance", 1e-2), ("sd", 1e-2)):
        assert [float(row[name]) for row in found] == pytest.approx([float(row[name]) for row in wanted], rel=digits)


def test_json_lines(rnafm: Command, model: Path) -> None:
    result = rnafm("distance", "-m", model, "--format", "jsonl", "--top", "3", stdin=FASTA)
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["columns"] == ["i", "j", "distance", "sd"]
    assert (first["id"], first["length"], len(first["pairs"])) == ("one", FIRST, 3)
    assert all(j - i >= 5 for i, j, *_ in first["pairs"])
    assert second["sequence"].startswith("ACGUN")


def test_casp_format(inside: Command, model: Path) -> None:
    result = inside("contact", "-m", model, "--format", "casprr", "--top", "4", stdin=FASTA)
    lines = result.stdout.splitlines()
    assert lines[:2] == ["PFRMAT RR", "TARGET one"]
    assert lines.count("END") == 2
    pairs = [line.split() for line in lines if re.fullmatch(r"\d+ \d+ 0 8 [\d.]+", line)]
    assert len(pairs) == 8
    assert [float(p) for *_, p in pairs[:4]] == sorted((float(p) for *_, p in pairs[:4]), reverse=True)


def test_restraints(inside: Command, model: Path, tmp_path: Path) -> None:
    one = FASTA.split(">two")[0]
    options = ("-m", model, "--top", "3", "--min-prob", "0")
    dca = inside("contact", *options, "--format", "3drna", stdin=one).stdout
    assert all(re.fullmatch(r"\d+ \d+ [\d.]+", line) for line in dca.splitlines())
    fade = inside("contact", *options, "--format", "rosetta", stdin=one).stdout.splitlines()
    assert len(fade) == 3
    assert all(re.fullmatch(r"AtomPair C1' \d+ C1' \d+ FADE -10\.0 22\.0 8\.0 -[\d.]+ 0\.0", line) for line in fade)
    flat = inside("contact", *options, "--with-distance", "--format", "rosetta", stdin=one).stdout.splitlines()
    assert all(re.fullmatch(r"AtomPair C1' \d+ C1' \d+ FLAT_HARMONIC [\d.]+ [\d.]+ 4\.0", line) for line in flat)
    distances = inside(
        "distance", "-m", model, "--format", "3drna", "--max-distance", "20", "--top", "2", stdin=one
    ).stdout
    assert len(distances.splitlines()) == 2
    refused = inside("contact", *options, "--format", "rosetta", stdin=FASTA)
    assert refused.returncode == 2
    assert "--out-dir" in refused.stderr
    unknown = inside("contact", *options, "--format", "rosetta", "--out-dir", tmp_path / "d", stdin=FASTA)
    assert unknown.returncode == 3
    assert "'N' at position 5" in unknown.stderr
    skipped = inside(
        "contact", *options, "--format", "rosetta", "--out-dir", tmp_path / "e", "--on-error", "skip", stdin=FASTA
    )
    assert skipped.returncode == 3
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["one.cst"]
    again = inside("contact", *options, "--format", "rosetta", "--out-dir", tmp_path / "e", stdin=one)
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_heat_maps(inside: Command, model: Path, tmp_path: Path) -> None:
    chain = made_chains(1)[0]
    truth = chain_file(tmp_path / "chains.h5", [chain])
    fasta = f">other name\n{chain.sequence}\n"
    result = inside(
        "contact", "-m", model, "--plot", tmp_path / "c.svg", "--truth", truth, "-o", "/dev/null", stdin=fasta
    )
    assert result.returncode == 0, result.stderr
    assert "below: known" in (tmp_path / "c.svg").read_text()
    assert inside("distance", "-m", model, "--plot", tmp_path / "figures", stdin=FASTA).returncode == 0
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["one.svg", "two_b.svg"]
    assert inside("distance", "-m", model, "--truth", truth, stdin=FASTA).returncode == 2


def test_truth_that_does_not_fit(inside: Command, model: Path, tmp_path: Path) -> None:
    chain = made_chains(1)[0]
    truth = chain_file(tmp_path / "chains.h5", [chain])
    options = ("contact", "-m", model, "--plot", tmp_path / "p", "--truth", truth, "-o", "/dev/null", "--force")
    unknown = inside(*options, stdin=FASTA)
    assert unknown.returncode == 0
    assert "no chain with the id or the sequence of one, two/b; drawn without" in unknown.stderr
    cut = f">{chain.id}\n{chain.sequence[:-1]}\n"
    stopped = inside(*options, stdin=cut)
    assert stopped.returncode == 3
    assert f"has {len(chain)} residues" in stopped.stderr
    skipped = inside(*options, "--on-error", "skip", stdin=cut + FASTA)
    assert skipped.returncode == 3
    assert "1 record left out" in skipped.stderr


def test_an_output_named_h5_holds_maps_and_no_text(inside: Command, model: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps.h5"
    result = inside("distance", "-m", model, "-o", maps, stdin=FASTA)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    with h5py.File(maps) as file:
        assert list(file["one"]) == ["distance", "sd"]
    again = inside("distance", "-m", model, "--h5", maps, "-o", tmp_path / "d.tsv", stdin=FASTA)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps.h5"]
    for more in (("--format", "jsonl"), ("--h5", tmp_path / "other.h5"), ("--out-dir", tmp_path / "d")):
        assert inside("distance", "-m", model, "-o", maps, *more, stdin=FASTA).returncode == 2


def test_a_missing_head_is_one_clear_line(rnafm: Command, tmp_path: Path) -> None:
    alone = tiny_model(tmp_path, heads=())
    for task in ("contact", "distance"):
        result = rnafm(task, "-m", alone, stdin=FASTA)
        assert result.returncode == 4
        assert result.stderr.count("\n") == 1
        assert "contact head" in result.stderr
    assert rnafm("contact", "-m", "rna-fm", stdin=FASTA).returncode == 4


def test_a_head_of_another_encoder_is_refused(inside: Command, model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    tiny_model(other, heads=())
    for suffix in (".safetensors", ".json"):
        (other / f"tiny-contact{suffix}").write_bytes((model.parent / f"tiny-contact{suffix}").read_bytes())
    card = json.loads((other / "tiny-contact.json").read_text())
    (other / "tiny-contact.json").write_text(json.dumps(card | {"encoder_sha256": "0" * 64}))
    result = inside("contact", "-m", other / "tiny.safetensors", stdin=FASTA)
    assert result.returncode == 4
    assert "sha256" in result.stderr


def test_bad_input(inside: Command, model: Path) -> None:
    stopped = inside("contact", "-m", model, stdin=FASTA + ">bad\nAC*GU\n")
    assert stopped.returncode == 3
    assert "'bad'" in stopped.stderr
    assert {row["id"] for row in rows(stopped.stdout)} == {"one", "two/b"}
    assert inside("contact", "-m", model, stdin="").returncode == 3
    for options in (("--top", "many"), ("--half",), ("--format", "casprr2"), ("--min-prob", "2")):
        assert inside("contact", "-m", model, *options, stdin=FASTA).returncode == 2


def test_a_long_rna_goes_in_windows(inside: Command, model: Path) -> None:
    rng = np.random.default_rng(0)
    fasta = ">long\n" + "".join(rng.choice(list("ACGU"), 700)) + "\n"
    options = ("-m", model, "--with-distance", "--min-prob", "0", "--top", "50", "--no-prior")
    result = inside("contact", *options, "--max-memory", "1.05", stdin=fasta)
    assert result.returncode == 0, result.stderr
    assert "in windows of" in result.stderr
    assert len(rows(result.stdout)) == 50
    refused = inside("contact", *options, "--max-memory", "0.6", stdin=fasta)
    assert refused.returncode == 3
    assert "--max-memory" in refused.stderr


@pytest.fixture
def predicted(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Known chains, maps that are perfect, and maps that are not."""
    chains = made_chains(12, contacts_only=0)
    truth = chain_file(tmp_path / "truth.h5", chains)
    rng = np.random.default_rng(0)
    for name, noise in (("perfect", 0.0), ("noisy", 1.0)):
        with map_writer(tmp_path / f"{name}.h5", TERTIARY, provenance={}) as writer:
            for chain in chains:
                shape = (len(chain), len(chain))
                contact = np.clip((chain.contacts() == 1) * (1 - noise) + noise * rng.random(shape), 0, 1)
                distance = np.nan_to_num(chain.distance_LL, nan=20.0) + noise * 5 * rng.standard_normal(shape)
                record = SequenceRecord(chain.id, chain.sequence)
                maps = {"contact": (contact + contact.T) / 2, "distance": np.abs((distance + distance.T) / 2)}
                writer.add(record, maps)
    return truth, tmp_path / "perfect.h5", tmp_path / "noisy.h5"


def value(table: list[dict[str, str]], predictor: str, metric: str) -> float:
    wanted = {"predictor": predictor, "metric": metric, "scope": "all"}
    (row,) = [row for row in table if wanted.items() <= row.items()]
    return float(row["value"])


def test_evaluation(inside: Command, predicted: tuple[Path, Path, Path], tmp_path: Path) -> None:
    truth, perfect, noisy = predicted
    figures = tmp_path / "figures"
    result = inside(
        "evaluate", "contact", truth, perfect, "--against", noisy, "--plot", figures, "--per-record", tmp_path / "r.tsv"
    )
    assert result.returncode == 0, result.stderr
    table = rows(result.stdout)
    assert {row["predictor"] for row in table} == {"perfect", "noisy", "baseline", "ceiling", "perfect - noisy"}
    assert value(table, "perfect", "top_l1") == value(table, "ceiling", "top_l1") > value(table, "noisy", "top_l1")
    assert 0 <= value(table, "baseline", "top_l10") <= value(table, "ceiling", "top_l10")
    assert {path.name for path in figures.iterdir()} == {
        f"{kind}_contact_top_l{share}.svg" for kind in ("length", "scatter") for share in (1, 2, 5, 10)
    }
    assert len(rows((tmp_path / "r.tsv").read_text())) == 36
    result = inside("evaluate", "distance", truth, perfect, "--format", "json", "--no-baseline")
    scores = json.loads(result.stdout)["predictors"]["perfect"]["all"]["all"]
    assert scores["mse"]["value"] == pytest.approx(0, abs=1e-6)
    assert scores["pa"]["value"] == pytest.approx(1)
    options = ("--embed3d", "--no-baseline", "--plot", tmp_path / "points")
    points = rows(inside("evaluate", "distance", truth, perfect, "--against", noisy, *options).stdout)
    assert value(points, "perfect", "trace_correlation") > max(0.95, value(points, "noisy", "trace_correlation"))
    assert value(points, "perfect", "trace_rmsd") < value(points, "noisy", "trace_rmsd")
    assert len(list((tmp_path / "points" / "traces").iterdir())) == 12
    text = inside("evaluate", "distance", truth, noisy, "--format", "table")
    assert "baseline" in text.stdout
    assert "PMCC" in text.stdout


def test_evaluation_against_structures_and_tables(inside: Command, model: Path, tmp_path: Path) -> None:
    names = list("GGCACGUUAGCCUUCGGGCUAACGUGCC")
    structure = tmp_path / "1xyz.pdb"
    structure.write_text(pdb_text({"A": hairpin(names)}))
    predicted = inside("distance", "-m", model, stdin=f">1xyz_A\n{''.join(names)}\n")
    assert predicted.returncode == 0, predicted.stderr
    result = inside("evaluate", "distance", structure, "-", "--no-baseline", stdin=predicted.stdout)
    assert result.returncode == 0, result.stderr
    assert value(rows(result.stdout), "stdin", "mse") > 0
    (tmp_path / "dna.pdb").write_text(pdb_text({"A": hairpin("ACGTACGTACGTAC", ribose=False)}))
    options = ("evaluate", "distance", tmp_path, "-", "--no-baseline")
    stopped = inside(*options, stdin=predicted.stdout)
    assert stopped.returncode == 3
    assert "dna.pdb" in stopped.stderr
    skipped = inside(*options, "--on-error", "skip", stdin=predicted.stdout)
    assert skipped.returncode == 0
    assert "only DNA; left out" in skipped.stderr
    missing = inside("evaluate", "distance", structure, "-", stdin=predicted.stdout.replace("1xyz_A", "other"))
    assert missing.returncode == 3
    assert "matched by id" in missing.stderr


def test_training_from_structures(inside: Command, settings: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "pdb"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(5):
        (folder / f"s{k}.pdb").write_text(pdb_text({"A": hairpin(list(rng.choice(list("ACGU"), 24)))}))
    (folder / "dna.pdb").write_text(pdb_text({"A": hairpin("ACGTACGTACGTAC", ribose=False)}))
    run = tmp_path / "run"
    command = ("finetune", "distance", "--pdb", folder, "-o", run, "--encoder", "none", *settings)
    stopped = inside(*command)
    assert stopped.returncode == 3
    assert "dna.pdb" in stopped.stderr
    result = inside(*command, "--on-error", "skip")
    assert result.returncode == 0, result.stderr
    assert "dna.pdb" in result.stderr
    assert "pair probabilities: " in result.stderr
    assert (run / "final" / "head.safetensors").exists()
    table = rows((run / "table.tsv").read_text())
    assert {row["row"] for row in table} >= {"pair probabilities", "head"}
    assert inside("finetune", "distance", "-o", run).returncode == 2
