"""Labelled tables: reading, splitting, and what is kept out of training."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.training.labelled_rows import (
    cluster_split,
    read_labelled,
    read_sets,
    split_sets,
    without_leaks,
    write_labelled,
)
from rnafm_cli.training.recipes import RowData


def rna(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(list("ACGU"), length))


def write(path: Path, rows: list[tuple[str, ...]], header: str = "sequence\tlabel\tsplit") -> Path:
    text = header + "\n" + "".join("\t".join(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_rows_are_cleaned_and_named(tmp_path: Path) -> None:
    path = write(tmp_path / "RBP31_X.tsv.gz", [("acgtN", "1", "train"), ("GGU", "0", "dev")])
    rows = read_labelled(path, "label", binary=True)
    assert rows.name == "RBP31_X" and rows.sequences == ["ACGUN", "GGU"]
    assert rows.part("dev").sequences == ["GGU"] and rows.part("train").values.tolist() == [1.0]


@pytest.mark.parametrize(
    ("header", "row", "problem"),
    [
        ("sequence\tsplit", ("ACGU", "train"), "no column 'label'"),
        ("sequence\tlabel", ("ACXU", "1"), ":2: 'X' is no nucleotide"),
        ("sequence\tlabel", ("ACGU", "0.5"), ":2: label '0.5' is not 0 or 1"),
        ("sequence\tlabel", ("ACGU", "1", "train"), ":2: 3 cells under 2 columns"),
        ("sequence\tlabel", ("", "1"), ":2: an empty sequence"),
    ],
)
def test_bad_tables_name_their_line(tmp_path: Path, header: str, row: tuple[str, ...], problem: str) -> None:
    path = write(tmp_path / "t.tsv", [row], header)
    with pytest.raises(InputError, match=problem):
        read_labelled(path, "label", binary=True)


def test_leaks_leave_training_whatever_set_they_are_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    site = rna(rng, 101)
    rows = {name: [(rna(rng, 101), str(k % 2), "train") for k in range(6)] for name in ("A", "B")}
    rows["A"].append((site, "1", "dev"))
    rows["B"] += [(site[50:] + rna(rng, 50), "1", "train"), (site[75:] + rna(rng, 75), "1", "train")]
    rows["B"].append((rna(rng, 101), "0", "dev"))
    sets = read_sets([write(tmp_path / f"{name}.tsv", of_set) for name, of_set in rows.items()], "label", binary=True)
    train, dev, counts = split_sets(sets, RowData())
    # 51 nt in common are too many, 26 are not.
    assert [len(part) for part in train] == [6, 7] and counts["share a 30-mer with a development row"] == 1
    assert [len(part) for part in split_sets(sets, RowData(filter_leaks=False))[0]] == [6, 8]
    assert without_leaks(dev, dev)[0].sequences == []


def test_near_copies_stay_on_one_side(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = []
    for _ in range(60):
        base = rna(rng, 60)
        rows += [(base, "1"), (base[:30] + "A" + base[31:], "0"), (base[20:] + rna(rng, 10), "1")]
    table = read_labelled(write(tmp_path / "t.tsv", rows, "sequence\tlabel"), "label")
    split = cluster_split(table, share=0.2, seed=0)
    by_family = split.splits.reshape(60, 3)
    assert (by_family == by_family[:, :1]).all()
    assert 0.1 < (split.splits == "dev").mean() <= 0.2
    assert (split.splits == cluster_split(table, share=0.2, seed=0).splits).all()
    one = read_labelled(write(tmp_path / "one.tsv", rows[:3], "sequence\tlabel"), "label")
    with pytest.raises(InputError, match="cannot be split"):
        cluster_split(one, share=0.3, seed=0)


def test_sets_are_told_apart_by_name(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    first = write(tmp_path / "A.tsv", [("ACGU", "1", "train")])
    second = write(tmp_path / "more" / "A.tsv.gz", [("ACGU", "1", "train")])
    assert [rows.name for rows in read_sets([tmp_path / "more"], "label", binary=True)] == ["A"]
    with pytest.raises(UsageError, match="two files are called 'A'"):
        read_sets([first, second], "label", binary=True)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no .tsv"):
        read_sets([tmp_path / "none"], "label", binary=True)


def test_rows_of_other_splits_are_counted_and_common_ends_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["".join(rng.choice(list("ACGU"), 40)) for _ in range(12)]
    splits = [" train"] * 6 + ["dev"] * 3 + ["valid", "Train", "test"]

    def written(end: str) -> Path:
        path = tmp_path / "s.tsv"
        table = "".join(
            f"{end}{row}\t{k % 2}\t{split}\n" for k, (row, split) in enumerate(zip(rows, splits, strict=True))
        )
        path.write_text("sequence\tlabel\tsplit\n" + table)
        return path

    train, dev, counts = split_sets(read_sets([written("")], "label", binary=True), RowData())
    assert (len(train[0]), len(dev[0])) == (6, 3)
    assert counts == {
        "read": 12,
        "of another split": 3,
        "share a 30-mer with a development row": 0,
        "train": 6,
        "dev": 3,
    }
    with pytest.raises(InputError, match="s: each of its 6 training rows shares a 30-mer"):
        split_sets(read_sets([written("ACGU" * 8)], "label", binary=True), RowData())


def test_rows_by_split_are_kept_and_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    lines = [f"{rna(rng, 60)},{k % 2}" for k in range(40)]
    (tmp_path / "set.csv").write_text("\n".join(["utr,rl", *lines]) + "\n")
    (rows,) = read_sets([tmp_path], "mrl", binary=False)
    train, dev, _ = split_sets([rows], RowData())
    write_labelled(tmp_path / "kept.tsv.gz", [train[0], dev[0]], "mrl")
    kept = read_labelled(tmp_path / "kept.tsv.gz", "mrl")
    assert sorted(kept.sequences) == sorted(rows.sequences)
    assert kept.part("dev").sequences == dev[0].sequences and kept.part("dev").values.tolist() == dev[0].values.tolist()
    assert len(kept.part("train")) == 36
