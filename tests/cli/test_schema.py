"""What ``rnafm schema`` tells is what the commands write: each table is made and held against it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.command import Command
from support.made_chains import chain_file, made_chains

from rnafm_cli.io.columns import TABLES

FASTA = ">x first\nGGGGGAAAACCCCCGGGGAAAACCCC\n>y\nACGUACGUACGUACGU\n"
DBN = ">x\nGGGGGAAAACCCCC\n(((((....)))))\n>y\nGGGGGAAAACCCCC\n((((......))))\n"
READS: dict[type, Callable[[str], Any]] = {
    int: int,
    float: float,
    str: str,
    bool: {"true": True, "false": False}.__getitem__,
    list: lambda text: text.split(","),
}


def test_every_command_with_a_table_is_described(rnafm: Command) -> None:
    head, *rows = [line.split("\t") for line in rnafm("schema").stdout.splitlines()]
    assert head == ["table", "column", "type", "meaning"] and all(len(row) == 4 and row[3] for row in rows)
    commands = {"embed", "atlas", "fold", "contact", "distance", "rbp", "mrl", "annotate", "evaluate"}
    assert {row[0].split()[0] for row in rows} == commands
    alone = [line.split("\t") for line in rnafm("schema", "mrl").stdout.splitlines()]
    assert alone == [head, *(row for row in rows if row[0].startswith("mrl"))]
    assert rnafm("schema", "weights").returncode == 2


def check_tsv(text: str, table: str) -> None:
    head, *rows = [line.split("\t") for line in text.splitlines()]
    assert head == list(TABLES[table]) and rows, table
    for row in rows:
        for cell, kind in zip(row, TABLES[table].values(), strict=True):
            if cell:
                READS[kind](cell)


@pytest.mark.parametrize(
    "table",
    [table for table in TABLES if table.split()[0] not in ("embed", "evaluate", "atlas") and table != "rbp --saliency"],
)
def test_tables_of_predictions(rnafm: Command, table: str) -> None:
    fasta = FASTA
    if table == "annotate":
        fasta = ">trna\nGCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA\n"
    ran = rnafm(*table.split(), *(["--min-prob", "0"] if table.startswith("contact") else []), stdin=fasta)
    assert ran.returncode == 0, ran.stderr
    if "jsonl" not in table:
        check_tsv(ran.stdout, table)
        return
    for line in map(json.loads, ran.stdout.splitlines()):
        assert list(line) == list(TABLES[table])
        assert all(
            v is None or isinstance(v, kind) for v, kind in zip(line.values(), TABLES[table].values(), strict=True)
        )


def test_tables_of_maps(rnafm: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kinds, folder = ("early", "middle", "late"), tmp_path / "atlas"
    with h5py.File(tmp_path / "v.h5", "w") as file:
        for k in range(60):
            file[f"r{k}"] = rng.normal(size=6) + 3.0 * (k % 3) * np.eye(6)[0]
            file[f"r{k}"].attrs["description"] = f"type={kinds[k % 3]}"
    (tmp_path / "times.tsv").write_text("early\t0\nmiddle\t1\nlate\t2\n")
    path = ("--trajectory", "--root", "early", "--times", tmp_path / "times.tsv")
    ran = rnafm("atlas", tmp_path / "v.h5", "-o", folder, "--method", "pca", "--no-page", *path)
    assert ran.returncode == 0, ran.stderr
    check_tsv((folder / "atlas.tsv").read_text(), "atlas")
    check_tsv((folder / "trajectory_labels.tsv").read_text(), "atlas --trajectory --times")
    head, *_ = (folder / "trajectory.tsv").read_text().splitlines()
    *fixed, open_ended = TABLES["atlas --trajectory"]
    assert head.split("\t")[: len(fixed)] == fixed and open_ended == "to ..."
    assert all(name.startswith("to ") for name in head.split("\t")[len(fixed) :])
    ran = rnafm("atlas", "--map-onto", folder, tmp_path / "v.h5")
    check_tsv(ran.stdout, "atlas --map-onto")
    fasta = "".join(f">s{k} type={kinds[k % 2]}\n{''.join(rng.choice(list('ACGU'), 40))}\n" for k in range(20))
    more = ("--compare", "kmer", "--method", "pca", "--no-page", "-o", tmp_path / "compared")
    ran = rnafm("atlas", *more, stdin=fasta)
    assert ran.returncode == 0, ran.stderr
    check_tsv((tmp_path / "compared" / "comparison.tsv").read_text(), "atlas --compare")


def test_the_table_of_substitutions(rnafm: Command, tmp_path: Path) -> None:
    ran = rnafm("rbp", "-p", "PUM2", "--saliency", tmp_path, stdin=">x\nACGUN\n")
    assert ran.returncode == 0, ran.stderr
    check_tsv((tmp_path / "saliency.tsv").read_text(), "rbp --saliency")


@pytest.mark.parametrize("table", ["rbp", "mrl", "annotate"])
def test_json_lines_have_the_names_of_the_table(rnafm: Command, table: str) -> None:
    trna = ">trna\nGCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA\n"
    ran = rnafm(table, "--format", "jsonl", stdin=trna)
    assert [list(json.loads(line)) for line in ran.stdout.splitlines()][0] == list(TABLES[table]), ran.stderr


@pytest.mark.parametrize("table", ["embed", "embed --layout matrix"])
def test_parts_of_files_of_embeddings(rnafm: Command, table: str, tmp_path: Path) -> None:
    pooled = ["--pool", "mean"] if "matrix" in table else []
    ran = rnafm(*table.split(), *pooled, "-o", tmp_path / "e.h5", stdin=FASTA)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = {}
    with h5py.File(tmp_path / "e.h5") as file:
        found |= {f":{key}": value for key, value in file.attrs.items()}
        for name, data in file.items():
            if name != "y":
                name = "ID" if name == "x" else name
                found[f"/{name}"] = data[0]
                found |= {f"/{name}:{key}": value for key, value in data.attrs.items()}
    assert found.keys() == TABLES[table].keys()
    kinds = {int: (int, np.integer), str: (str, bytes), list: np.ndarray}
    for name, kind in TABLES[table].items():
        assert isinstance(found[name], kinds[kind]), name


def test_tables_of_evaluations_of_structures(rnafm: Command, tmp_path: Path) -> None:
    truth, mine, each, folder = (tmp_path / name for name in ("truth.dbn", "mine.dbn", "each.tsv", "figures"))
    truth.write_text(DBN)
    mine.write_text(DBN.replace("(((((....)))))", "((((......))))"))
    with h5py.File(tmp_path / "p.h5", "w") as file:
        for name in "xy":
            file[name] = np.full((14, 14), 0.05, dtype=np.float32)
    options = ["--against", truth, "--per-record", each, "--probs", tmp_path / "p.h5", "--plot", folder]
    ran = rnafm("evaluate", "fold", truth, mine, *options)
    assert ran.returncode == 0, ran.stderr
    check_tsv(ran.stdout, "evaluate fold")
    check_tsv(each.read_text(), "evaluate fold --per-record")
    check_tsv((folder / "calibration.tsv").read_text(), "evaluate fold --probs --plot")


def test_tables_of_evaluations_of_maps(rnafm: Command, tmp_path: Path) -> None:
    chains, each = made_chains(3), tmp_path / "each.tsv"
    truth, maps = chain_file(tmp_path / "truth.h5", chains), tmp_path / "maps.h5"
    fasta = "".join(f">{chain.id}\n{chain.sequence}\n" for chain in chains)
    assert rnafm("contact", "--with-distance", "--h5", maps, stdin=fasta).returncode == 0
    for line in ("contact", "distance", "distance --embed3d"):
        ran = rnafm("evaluate", *line.split(), truth, maps, "--per-record", each, "--resamples", "100", "--force")
        assert ran.returncode == 0, ran.stderr
        check_tsv(ran.stdout, f"evaluate {line.split()[0]}")
        check_tsv(each.read_text(), f"evaluate {line} --per-record")


def test_tables_of_evaluations_of_function_and_encoder(rnafm: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACGU"), 60)) for _ in range(40)]
    for name, value in (("label", lambda k: k % 2), ("mrl", lambda k: 3 + k / 10)):
        rows = [f"r{k}\t{rna}\t{value(k)}\tdev\n" for k, rna in enumerate(sequences)]
        (tmp_path / f"{name}.tsv").write_text(f"id\tsequence\t{name}\tsplit\n" + "".join(rows))
    chances = "".join(f"r{k}\tlabel\t{rng.random()}\n" for k in range(40))
    (tmp_path / "bound.tsv").write_text("id\tprotein\tprobability\n" + chances)
    (tmp_path / "loads.tsv").write_text("id\tmrl\n" + "".join(f"r{k}\t{rng.random()}\n" for k in range(40)))
    for task, table, predicted in (("rbp", "label", "bound"), ("mrl", "mrl", "loads")):
        ran = rnafm("evaluate", task, tmp_path / f"{table}.tsv", "--predictions", tmp_path / f"{predicted}.tsv")
        assert ran.returncode == 0, ran.stderr
        check_tsv(ran.stdout, f"evaluate {task}")
    rows = [f"{rna}\t{'ab'[k % 2]}\t{'dev' if k > 30 else 'train'}\n" for k, rna in enumerate(sequences)]
    (tmp_path / "types.tsv").write_text("sequence\tlabel\tsplit\n" + "".join(rows))
    ran = rnafm("evaluate", "encoder", "--probe", tmp_path / "types.tsv")
    assert ran.returncode == 0, ran.stderr
    assert list(json.loads(ran.stdout)) == ["model", "sha256", "linear_probe"]
    assert json.loads(ran.stdout).keys() <= TABLES["evaluate encoder"].keys()
