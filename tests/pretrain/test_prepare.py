from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.closeness import are_close, kmer_set

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.pretrain import prepare
from rnafm_cli.pretrain.holdout import HoldoutRules
from rnafm_cli.pretrain.prepare import prepare_corpus
from rnafm_cli.pretrain.shards import Corpus, Split, verify_corpus
from rnafm_cli.rna.alphabet import NUCLEOTIDE

RULES = HoldoutRules(sequences=10, groups=2, group_size=(4, 20), max_outside=40)


def prepared(fasta: Path, folder: Path, rules: HoldoutRules = RULES, **options: Any) -> dict[str, Any]:
    return prepare_corpus([fasta], folder, rules, shard_tokens=5_000, **options)


def text(codes: np.ndarray) -> str:
    return "".join("ACGU"[code] for code in codes)


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """Ten families of six near copies, a stranger beside each family that is close to it, 80 other strangers."""
    rng = np.random.default_rng(1)
    lines = []
    for family in range(10):
        ancestor = rng.integers(0, 4, size=90)
        for member in range(6):
            letters = np.where(rng.random(90) < 0.04, rng.integers(0, 4, size=90), ancestor)
            lines.append(f">f{family}.{member} type=tRNA family=RF{family}\n{text(letters)}")
        flank = rng.integers(0, 4, size=60)
        lines.append(f">near{family} type=lncRNA\n{text(flank)}{text(ancestor[10:80])}")
    lines += [f">s{k} type=lncRNA\n{text(rng.integers(0, 4, size=rng.integers(60, 200)))}" for k in range(80)]
    lines += [">short\nACGU", ">bad\n" + "ACGUJ" * 9, ">n\n" + "N" * 40, ">copy\n" + lines[0].split("\n")[1].lower()]
    path = tmp_path / "in.fa"
    path.write_text("\n".join(lines) + "\n")
    return path


def letters(corpus: Corpus, index: int) -> str:
    return NUCLEOTIDE.decode(corpus.tokens(index))


def ids(corpus: Corpus) -> list[str]:
    return [name.decode() for stem in corpus.stems for name in corpus.ids(stem)]


def test_a_corpus_holds_every_sequence_once(tmp_path: Path, fasta: Path) -> None:
    manifest = prepared(fasta, tmp_path / "c")
    corpus = Corpus(tmp_path / "c")
    assert len(corpus) == manifest["sequences"] == 150
    assert len(corpus.stems) > 1
    names = ids(corpus)
    sequence = fasta.read_text().split("\n")[1]
    assert letters(corpus, names.index("f0.0")) == sequence
    assert "copy" not in names
    counts = manifest["counts"]
    assert counts["dropped: identical"] == counts["dropped: too short"] == counts["dropped: foreign letters"] == 1
    assert counts["dropped: mostly N"] == 1
    assert manifest["types"]["tRNA"]["train"]["sequences"] + manifest["types"]["tRNA"]["group"]["sequences"] <= 60
    assert sum(manifest["letters"].values()) == manifest["tokens"] == int(corpus.lengths.sum())
    assert sum(manifest["lengths"].values()) == 150
    left = [path.name for path in (tmp_path / "c").iterdir()]
    assert not [name for name in left if name.endswith((".tmp", "progress.json"))]


def test_whole_families_are_held_out_with_what_is_close_to_them(tmp_path: Path, fasta: Path) -> None:
    manifest = prepared(fasta, tmp_path / "c")
    corpus = Corpus(tmp_path / "c")
    held = corpus.members(Split.GROUP)
    assert len(manifest["held_out_groups"]) == 2 and len(held) == 12
    assert {manifest["group_names"][g] for g in corpus.groups[held]} == set(manifest["held_out_groups"])
    names = ids(corpus)
    for family in manifest["held_out_groups"]:
        assert corpus.splits[names.index(f"near{family[2:]}")] == Split.NEAR
    # By the independent definition, nothing that is trained on is close to a held-out family.
    train = [letters(corpus, i) for i in corpus.members(Split.TRAIN)]
    assert not any(are_close(letters(corpus, i), other) for i in held for other in train)


def test_random_hold_out_has_no_near_copy_in_training(tmp_path: Path, fasta: Path) -> None:
    prepared(fasta, tmp_path / "c")
    corpus = Corpus(tmp_path / "c")
    held = corpus.members(Split.RANDOM)
    assert len(held) >= 10
    train = [kmer_set(letters(corpus, i)) for i in corpus.members(Split.TRAIN)]
    for index in held:
        own = kmer_set(letters(corpus, index))
        for other in train:
            chance = len(own) * len(other) / 65536
            assert len(own & other) <= max(0.2 * min(len(own), len(other)), 11) + chance


def test_cluster_files_keep_clusters_whole(tmp_path: Path, fasta: Path) -> None:
    clusters = tmp_path / "clusters.tsv"
    rows = [f"f{family}.0\tf{family}.{member}" for family in range(10) for member in range(6)]
    clusters.write_text("\n".join(rows) + "\n")
    rules = HoldoutRules(sequences=12, groups=0, filter_near=False)
    manifest = prepared(fasta, tmp_path / "c", rules, clusters=clusters)
    corpus = Corpus(tmp_path / "c")
    names = np.asarray(ids(corpus))
    held = set(names[corpus.members(Split.RANDOM)])
    assert len(held) >= 12
    for family in range(10):
        members = {f"f{family}.{member}" for member in range(6)}
        assert members <= held or not members & held
    assert manifest["counts"]["without cluster"] == 90
    none = dataclasses.replace(rules, sequences=0)
    assert prepared(fasta, tmp_path / "none", none, clusters=clusters)["splits"]["train"]["sequences"] == 150


@pytest.mark.parametrize("near", [True, False])
def test_a_small_corpus_keeps_most_to_train_on(tmp_path: Path, fasta: Path, near: bool) -> None:
    splits = prepared(fasta, tmp_path / "c", HoldoutRules(groups=0, filter_near=near))["splits"]
    assert 15 <= splits["random"]["sequences"] <= 22
    assert splits["train"]["sequences"] >= 115


def test_a_corpus_with_nothing_left_to_train_on_is_refused(tmp_path: Path, fasta: Path) -> None:
    with pytest.raises(InputError, match="nothing is left to train on, all 150 sequences"):
        prepared(fasta, tmp_path / "c", HoldoutRules(sequences=150, groups=0))


def test_the_same_request_gives_the_same_corpus(tmp_path: Path, fasta: Path) -> None:
    first = prepared(fasta, tmp_path / "a")
    assert prepared(fasta, tmp_path / "b")["fingerprint"] == first["fingerprint"]
    assert prepared(fasta, tmp_path / "d", dataclasses.replace(RULES, seed=5))["fingerprint"] != first["fingerprint"]


def test_an_interrupted_preparation_goes_on(tmp_path: Path, fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prepared(fasta, tmp_path / "whole")
    monkeypatch.setattr(prepare, "_LOOK", 8)
    said: list[str] = []

    class Stop(Exception):
        pass

    def stop_after_two(what: str, done: int, total: int) -> None:
        if "2 shards" in what:
            raise Stop

    with pytest.raises(Stop):
        prepared(fasta, tmp_path / "parts", progress=stop_after_two)
    assert (tmp_path / "parts" / "progress.json").exists()
    (tmp_path / "parts" / "shard_00002.tokens.bin.0000.tmp").write_text("of a process that was killed")
    with pytest.raises(InputError, match="also resumes"):
        Corpus(tmp_path / "parts")
    resumed = prepared(fasta, tmp_path / "parts", progress=lambda what, *_: said.append(what))
    assert "2 shards" in said[0], "it goes on after the shards that are there"
    assert not list((tmp_path / "parts").glob("*.tmp"))
    assert resumed["tokens"] == whole["tokens"] and resumed["counts"] == whole["counts"]
    a, b = Corpus(tmp_path / "whole"), Corpus(tmp_path / "parts")
    assert ids(a) == ids(b)
    assert all((a.tokens(i) == b.tokens(i)).all() for i in range(len(a)))
    assert (a.splits == b.splits).all()


def test_a_folder_with_another_corpus_is_left_alone(tmp_path: Path, fasta: Path) -> None:
    prepared(fasta, tmp_path / "c")
    before = (tmp_path / "c" / "manifest.json").read_bytes()
    with pytest.raises(UsageError, match="--force"):
        prepared(fasta, tmp_path / "c", keys=("kind", "family"))
    assert prepared(fasta, tmp_path / "c")["sequences"] == 150
    assert (tmp_path / "c" / "manifest.json").read_bytes() == before
    assert prepared(fasta, tmp_path / "c", keys=("kind", "family"), force=True)["type_names"] == ["unknown"]
    text = fasta.read_text()
    fasta.write_text(text.replace("A", "x", 1).replace("C", "A", 1).replace("x", "C", 1))
    assert fasta.stat().st_size == len(text)
    with pytest.raises(UsageError, match="from other files"):
        prepared(fasta, tmp_path / "c", keys=("kind", "family"))


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">a\nACG\n")
    with pytest.raises(InputError, match="no usable sequence"):
        prepared(path, tmp_path / "c")


@pytest.mark.parametrize("name", ["shard_00000.tokens.bin", "shard_00000.types.npy", "splits.npy"])
def test_a_changed_or_missing_file_is_refused(tmp_path: Path, fasta: Path, name: str) -> None:
    prepared(fasta, tmp_path / "c")
    path = tmp_path / "c" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: changed after"):
        verify_corpus(tmp_path / "c")
    path.unlink()
    with pytest.raises(InputError, match=f"{name}: missing"):
        verify_corpus(tmp_path / "c")


def test_a_damaged_manifest_is_told(tmp_path: Path, fasta: Path) -> None:
    prepared(fasta, tmp_path / "c")
    path = tmp_path / "c" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(path.read_text()[:100])
    with pytest.raises(InputError, match="damaged"):
        Corpus(tmp_path / "c")
    path.write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(InputError, match="format version"):
        Corpus(tmp_path / "c")
