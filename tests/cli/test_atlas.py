"""``rnafm atlas`` as a user runs it, with a small random model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.stats import spearmanr
from support.command import Command, command_in
from support.points import branching
from support.tiny import save_tiny_encoder

TYPES = {"tRNA": "GC", "lncRNA": "AU", "miRNA": "ACGU"}


def fasta(count: int = 8) -> str:
    """Sequences of three types that differ in their letters."""
    rng = np.random.default_rng(0)
    lines = []
    for kind, letters in TYPES.items():
        for k in range(count):
            sequence = "".join(rng.choice(list(letters), 230 if kind == "lncRNA" else 40 + k))
            lines.append(f">{kind}_{k} type={kind} species=Mus_musculus\n{sequence}\n")
    return "".join(lines)


@dataclass(frozen=True)
class Made:
    """One full run, made once."""

    rnafm: Command
    model: Path
    fasta: Path
    folder: Path
    stderr: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    home = tmp_path_factory.mktemp("atlas")
    model, source, folder = home / "tiny.safetensors", home / "x.fa", home / "out"
    save_tiny_encoder(model)
    source.write_text(fasta())
    rnafm = command_in(home)
    result = rnafm(
        *("atlas", source, "-m", model, "-o", folder, "--method", "pca", "--neighbours", "5"),
        *("--view", "role", "--view", "length", "--compare", "random,onehot,kmer", "--title", "Small <map>"),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    return Made(rnafm, model, source, folder, result.stderr)


def rows(path: Path) -> list[dict[str, str]]:
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def test_the_folder_holds_what_was_asked_for(made: Made) -> None:
    names = {path.name for path in made.folder.iterdir()}
    pictures = {
        f"{stem}{s}" for stem in ("atlas", "atlas_role", "atlas_length", "comparison") for s in (".png", ".svg")
    }
    tables = {"atlas.tsv", "atlas.h5", "atlas.html", "atlas.json", "comparison.tsv"}
    assert names == pictures | tables | {"embeddings.h5", "embeddings.random.h5"}
    table = rows(made.folder / "atlas.tsv")
    assert list(table[0]) == ["id", "x", "y", "label", "cluster", "pseudotime", "length"]
    assert [row["id"] for row in table] == [f"{kind}_{k}" for kind in TYPES for k in range(8)]
    assert table[0]["label"] == "tRNA" and table[0]["length"] == "40" and table[0]["pseudotime"] == ""
    assert "Small &lt;map&gt;" in (made.folder / "atlas.html").read_text()
    summary = json.loads((made.folder / "atlas.json").read_text())
    assert summary["sequences"] == 24 and summary["labels"] == 3 and summary["layout"]["method"] == "pca"


def test_every_kind_of_vectors_is_measured_by_every_view(made: Made) -> None:
    table = rows(made.folder / "comparison.tsv")
    kinds = ["tiny", "random weights", "one-hot", "4-mer counts"]
    found = {(row["vectors"], row["view"]) for row in table}
    assert found == {(kind, view) for kind in kinds for view in ("type", "role", "length")}
    counts = next(row for row in table if row["vectors"] == "4-mer counts" and row["view"] == "type")
    assert float(counts["purity"]) > 0.6 and 0 <= float(counts["accuracy"]) <= 1
    svg = (made.folder / "comparison.svg").read_text()
    assert "4-mer counts" in svg and "silhouette" in svg
    assert "4-mer counts, type: kNN" in made.stderr


def test_results_stay_unless_forced_and_come_out_the_same(made: Made, tmp_path: Path) -> None:
    again = made.rnafm("atlas", made.fasta, "-m", made.model, "-o", made.folder)
    assert again.returncode == 2 and "--force replaces the results" in again.stderr
    other = tmp_path / "again"
    arguments = ("-m", made.model, "--method", "pca", "--neighbours", "5", "--h5", made.folder / "embeddings.h5")
    more = ("--view", "role", "--view", "length", "--title", "Small <map>")
    kept = (made.folder / "embeddings.h5").stat().st_mtime_ns
    assert made.rnafm("atlas", made.fasta, *arguments, *more, "-o", other).returncode == 0
    assert (made.folder / "embeddings.h5").stat().st_mtime_ns == kept, "nothing is embedded twice"
    for name in ("atlas.tsv", "atlas.html", "atlas.png", "atlas.svg", "atlas_role.svg", "atlas.h5"):
        assert (other / name).read_bytes() == (made.folder / name).read_bytes(), name


def test_new_sequences_are_called(made: Made, tmp_path: Path) -> None:
    result = made.rnafm("atlas", "--map-onto", made.folder, stdin=fasta(3))
    assert result.returncode == 0, result.stderr
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert lines[0] == ["id", "label", "confidence", "runner_up", "far", "x", "y", "length", "neighbours"]
    assert len(lines) == 10
    named = {line[0]: line[1] for line in lines[1:]}
    assert named["lncRNA_0"] == "lncRNA"
    assert all(0 < float(line[2]) < 1 for line in lines[1:])
    assert lines[1][-1].count("=") == 10
    folder = tmp_path / "calls"
    written = made.rnafm(
        *("atlas", "--map-onto", made.folder / "atlas.h5", "-m", made.model, made.fasta, "-o", folder),
        *("--format", "jsonl"),
    )
    assert written.returncode == 0 and written.stdout == "", written.stderr
    first = json.loads((folder / "calls.jsonl").read_text().splitlines()[0])
    assert first["neighbours"][0][:2] == ["tRNA_0", "tRNA"] and first["label"] == "tRNA"
    assert {"mapped.png", "mapped.svg", "mapped.html", "calls.jsonl"} == {path.name for path in folder.iterdir()}
    again = made.rnafm("atlas", "--map-onto", made.folder, made.fasta, "-o", folder)  # a table of another name
    assert again.returncode == 2 and "mapped.svg: exists" in again.stderr


def test_another_model_is_refused(made: Made, tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path / "other.safetensors", seed=1)
    mapped = made.rnafm("atlas", "--map-onto", made.folder, "-m", tmp_path / "other.safetensors", made.fasta)
    assert mapped.returncode == 4 and "the atlas was made with" in mapped.stderr
    cached = made.rnafm(
        *("atlas", made.fasta, "-m", tmp_path / "other.safetensors", "-o", tmp_path / "o"),
        *("--h5", made.folder / "embeddings.h5"),
    )
    assert cached.returncode == 2 and "was made with" in cached.stderr


def test_embeddings_with_a_table_and_a_path(made: Made, tmp_path: Path) -> None:
    tree = branching(count=150)
    with h5py.File(tmp_path / "e.h5", "w") as file:
        for k, point in enumerate(tree.points):
            file[f"r{k}"] = point
    names = ["trunk", "left", "middle", "right"]
    table = "".join(f"r{k}\t{names[tree.branch[k]]}\n" for k in range(150))
    (tmp_path / "labels.tsv").write_text(table)
    (tmp_path / "times.tsv").write_text("trunk\t5\nleft\t15\nright\t15\nmiddle\t16\n")
    result = made.rnafm(
        *("atlas", tmp_path / "e.h5", "--labels", tmp_path / "labels.tsv", "-o", tmp_path / "o", "--method", "pca"),
        *("--trajectory", "--root", f"r{tree.time.argmin()}", "--times", tmp_path / "times.tsv"),
    )
    assert result.returncode == 0, result.stderr
    found = rows(tmp_path / "o" / "atlas.tsv")
    time = {row["id"]: float(row["pseudotime"]) for row in found}
    assert spearmanr([time[f"r{k}"] for k in range(150)], tree.time).statistic > 0.9
    clusters = rows(tmp_path / "o" / "trajectory.tsv")
    assert {row["label"] for row in clusters if row["state"] == "terminal"} == {"left", "middle", "right"}
    assert [row["label"] for row in clusters if row["state"] == "root"] == ["trunk"]
    labels = rows(tmp_path / "o" / "trajectory_labels.tsv")
    assert labels[0]["label"] == "trunk" and labels[0]["time"] == "5"
    summary = json.loads((tmp_path / "o" / "atlas.json").read_text())["trajectory"]
    assert summary["times"]["values"] == 4 and summary["times"]["spearman"] > 0.5
    for stem in ("trajectory", "trajectory_graph", "trajectory_violins", "trajectory_times"):
        assert (tmp_path / "o" / f"{stem}.svg").exists() and (tmp_path / "o" / f"{stem}.png").exists()


def test_without_labels_clusters_take_their_place(made: Made, tmp_path: Path) -> None:
    bare = "\n".join(line.split()[0] for line in fasta().splitlines())
    result = made.rnafm(
        *("atlas", "-m", made.model, "-o", tmp_path / "o", "--method", "pca", "--no-page", "--neighbours", "50"),
        stdin=bare,
    )
    assert result.returncode == 0, result.stderr
    assert "clusters are the labels" in result.stderr and "23 are used" in result.stderr
    assert {row["label"].split()[0] for row in rows(tmp_path / "o" / "atlas.tsv")} == {"cluster"}
    assert not (tmp_path / "o" / "atlas.html").exists()


def test_one_label_has_maps_without_figures(made: Made, tmp_path: Path) -> None:
    same = fasta().replace("type=tRNA", "type=x").replace("type=lncRNA", "type=x").replace("type=miRNA", "type=x")
    result = made.rnafm(
        *("atlas", "-m", made.model, "-o", tmp_path / "o", "--method", "pca", "--compare", "kmer", "--no-page"),
        stdin=same,
    )
    assert result.returncode == 0, result.stderr
    assert "one label only" in result.stderr
    assert (tmp_path / "o" / "comparison.svg").exists()
    assert rows(tmp_path / "o" / "comparison.tsv") == []


def test_some_of_each_label_are_enough(made: Made, tmp_path: Path) -> None:
    arguments = ("-m", made.model, "--method", "pca", "--no-page", "--per-label", "3")
    result = made.rnafm("atlas", made.fasta, *arguments, "-o", tmp_path / "o")
    assert result.returncode == 0, result.stderr
    labels = [row["label"] for row in rows(tmp_path / "o" / "atlas.tsv")]
    assert sorted(labels) == sorted(list(TYPES) * 3)


BAD = {
    "two": (">a type=x\nACGUACGU\n>b type=y\nGGGGCCCC\n", [], 3, "2 sequences make no map"),
    "twice": (">a\nACGU\n>a\nGGGG\n", [], 3, "the id appears twice"),
    "no such label": (fasta(2), ["--label-by", "family"], 3, "no sequence has the attribute 'family'"),
    "no labels to compare": (">a\nACGU\n>b\nGGGG\n>c\nACCC\n", ["--compare", "kmer"], 2, "--compare measures labels"),
    "no such root": (
        fasta(2),
        ["--trajectory", "--root", "nobody", "--method", "pca"],
        2,
        "is neither a label nor an id",
    ),
    "no times": (fasta(2), ["--trajectory", "--root", "tRNA", "--times", "times.tsv"], 3, "1 labels have a time"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_sequences_are_one_clear_line(made: Made, tmp_path: Path, name: str) -> None:
    text, arguments, code, words = BAD[name]
    (tmp_path / "times.tsv").write_text("tRNA\t0\nrRNA\t1\n")
    arguments = [str(tmp_path / word) if word.endswith(".tsv") else word for word in arguments]
    result = made.rnafm("atlas", "-m", made.model, "-o", tmp_path / "o", *arguments, stdin=text)
    assert result.returncode == code, result.stderr
    assert words in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "o" / "atlas.tsv").exists()
    # All but the number of usable sequences is known before the long part.
    assert (tmp_path / "o" / "embeddings.h5").exists() == (name == "two")


def test_bad_embeddings_are_one_clear_line(made: Made, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "nan.h5", "w") as file:
        for k in range(12):
            file[f"r{k}"] = rng.normal(size=6) if k != 4 else np.full(6, np.nan)
    with h5py.File(tmp_path / "mixed.h5", "w") as file:
        file["a"], file["b"] = np.ones(6), np.ones(7)
    stopped = made.rnafm("atlas", tmp_path / "nan.h5", "-o", tmp_path / "o")
    assert stopped.returncode == 3 and "'r4' holds NaN" in stopped.stderr
    skipped = made.rnafm(
        "atlas", tmp_path / "nan.h5", "-o", tmp_path / "o", "--on-error", "skip", "--method", "pca", "--no-page"
    )
    assert skipped.returncode == 3 and "1 record left out" in skipped.stderr
    assert len(rows(tmp_path / "o" / "atlas.tsv")) == 11
    mixed = made.rnafm("atlas", tmp_path / "mixed.h5", "-o", tmp_path / "m")
    assert mixed.returncode == 3 and "another model" in mixed.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give -o DIR"),
        (["-o", "o", "--compare", "kmer,nothing"], "--compare nothing: is unknown"),
        (["-o", "o", "--compare", ","], "names nothing"),
        (["-o", "o", "--trajectory"], "give --root"),
        (["-o", "o", "--root", "x"], "add --trajectory"),
        (["--map-onto", "reference", "--compare", "kmer"], "leave out --compare"),
        (["--map-onto", "reference", "--fold"], "and --fold"),
        (["-o", "o", "--view", "colour"], "--view"),
        (["-o", "o", "--method", "isomap"], "--method"),
    ],
)
def test_wrong_use_is_one_clear_line(rnafm: Command, arguments: list[str], words: str) -> None:
    result = rnafm("atlas", *arguments, stdin=">a\nACGU\n")
    assert result.returncode == 2, result.stderr
    assert words in result.stderr and "Traceback" not in result.stderr


def test_embeddings_hold_no_sequences_to_compare(rnafm: Command, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["a"] = np.ones(4)
    for option in (["--compare", "kmer"], ["--fold"]):
        result = rnafm("atlas", tmp_path / "e.h5", "-o", tmp_path / "o", *option)
        assert result.returncode == 2 and "needs the sequences" in result.stderr
    (tmp_path / "x.fa").write_text(">a\nACGU\n")
    mixed = rnafm("atlas", tmp_path / "e.h5", tmp_path / "x.fa", "-o", tmp_path / "o")
    assert mixed.returncode == 2 and "cannot be mixed" in mixed.stderr


def test_other_vectors_of_the_same_width_are_refused(made: Made, tmp_path: Path) -> None:
    for pool in ("max", "mean"):
        target = tmp_path / f"{pool}.h5"
        embedded = made.rnafm("embed", made.fasta, "-m", made.model, "--pool", pool, "--h5", target)
        assert embedded.returncode == 0, embedded.stderr
    mapped = made.rnafm("atlas", "--map-onto", made.folder, tmp_path / "mean.h5")
    assert mapped.returncode == 0, mapped.stderr
    other = made.rnafm("atlas", "--map-onto", made.folder, tmp_path / "max.h5")
    assert other.returncode == 4 and "pooling mean" in other.stderr and "pooling max" in other.stderr
    mixed = made.rnafm("atlas", tmp_path / "max.h5", made.folder / "embeddings.h5", "-o", tmp_path / "o")
    assert mixed.returncode == 3 and "was made with pooling" in mixed.stderr


def test_a_map_of_embeddings_gives_no_confidence(made: Made, tmp_path: Path) -> None:
    (tmp_path / "labels.tsv").write_text("".join(f"{kind}_{k}\t{kind}\n" for kind in TYPES for k in range(8)))
    arguments = ("--labels", tmp_path / "labels.tsv", "-o", tmp_path / "o", "--method", "pca", "--no-page")
    built = made.rnafm("atlas", made.folder / "embeddings.h5", *arguments)
    assert built.returncode == 0 and "--map-onto will give no confidence" in built.stderr, built.stderr
    result = made.rnafm("atlas", "--map-onto", tmp_path / "o", "-m", made.model, stdin=fasta(3))
    assert result.returncode == 0 and "its calls have no confidence" in result.stderr, result.stderr
    lines = [line.split("\t") for line in result.stdout.splitlines()[1:]]
    assert len(lines) == 9 and all(line[2] == "" and line[4] == "false" for line in lines)


def test_force_replaces_embeddings_of_the_run_and_never_those_of_the_user(made: Made, tmp_path: Path) -> None:
    arguments = ("-m", made.model, "--method", "pca", "--no-page")
    assert made.rnafm("atlas", "-o", tmp_path / "o", *arguments, stdin=fasta(6)).returncode == 0
    lines = fasta(6).split("\n")
    lines[1] = lines[1][:-1] + ("C" if lines[1][-1] != "C" else "G")
    corrected = "\n".join(lines)
    again = made.rnafm("atlas", "-o", tmp_path / "o", *arguments, "--force", stdin=corrected)
    assert again.returncode == 0, again.stderr
    mine = tmp_path / "mine.h5"
    assert made.rnafm("embed", "-m", made.model, "--h5", mine, stdin=fasta(6)).returncode == 0
    before = mine.read_bytes()
    refused = made.rnafm("atlas", "-o", tmp_path / "o", *arguments, "--force", "--h5", mine, stdin=fasta(6))
    assert refused.returncode == 2 and mine.read_bytes() == before, refused.stderr
