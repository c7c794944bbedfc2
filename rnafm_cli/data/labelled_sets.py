"""Several labelled tables, one a protein or an assay: found, split and filtered together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rnafm_cli.data.labelled_rows import LabelledRows, cluster_split, read_labelled, without_leaks
from rnafm_cli.errors import InputError, UsageError

__all__ = ["read_sets", "split_sets"]

Report = Callable[[str], None]


def read_sets(paths: Sequence[Path], column: str, *, binary: bool) -> list[LabelledRows]:
    """The tables of all files; a folder stands for the ``.tsv`` files in it, compressed or not.

    Raises:
        UsageError: for two files that give one name.
        InputError: for an unreadable table or an empty folder.
    """
    files: list[Path] = []
    for path in paths:
        found = sorted(k for k in path.iterdir() if ".tsv" in k.suffixes) if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path}: holds no .tsv files")
        files += found
    sets = [read_labelled(path, column, binary=binary) for path in files]
    names = [rows.name for rows in sets]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two files are called '{name}'", hint="a file's name without suffix is its set's name")
    return sets


def split_sets(
    sets: Sequence[LabelledRows],
    *,
    dev_share: float = 0.1,
    filter_leaks: bool = True,
    seed: int = 0,
    report: Report = lambda line: None,
) -> tuple[list[LabelledRows], list[LabelledRows], dict[str, int]]:
    """Training and development parts of each set, and how many rows were left out of training.

    A set without a split is split by groups of rows that share a 20-mer. Training rows that share a 30-mer with a
    development row of any set go, unless ``filter_leaks`` is off.

    Raises:
        InputError: for a set without training or development rows, before or after that.
    """
    split: list[LabelledRows] = []
    for rows in sets:
        if not (rows.splits == "").all():
            split.append(rows)
            continue
        split.append(cluster_split(rows, share=dev_share, seed=seed))
        dev = int((split[-1].splits == "dev").sum())
        report(f"{rows.name}: no column 'split'; {dev} of {len(rows)} rows held out, near-copies kept together")
    train, dev_sets = [rows.part("train") for rows in split], [rows.part("dev") for rows in split]
    for part, name in [(part, "train") for part in train] + [(part, "dev") for part in dev_sets]:
        if not len(part):
            raise InputError(f"{part.name}: has no {name} rows", hint="the column 'split' holds train and dev")
    given, held = sum(map(len, train)), sum(map(len, dev_sets))
    counts = {"read": sum(map(len, split)), "of another split": sum(map(len, split)) - given - held}
    if filter_leaks:
        before, train = train, without_leaks(train, dev_sets)
        for whole, kept in zip(before, train, strict=True):
            if not len(kept):
                raise InputError(
                    f"{whole.name}: each of its {len(whole)} training rows shares a 30-mer with a development row",
                    hint="cut off ends that all rows share, or --set data.filter_leaks=false",
                )
        counts["share a 30-mer with a development row"] = given - sum(map(len, train))
    counts["train"] = sum(map(len, train))
    counts["dev"] = sum(map(len, dev_sets))
    return train, dev_sets, counts
