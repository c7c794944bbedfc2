"""Tables of sequences with a measured value: found, read, split, and kept apart from what they are scored on."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.streams import input_name, open_output, open_text
from rnafm_cli.io.tables import TableWriter, table_rows
from rnafm_cli.rna.alphabet import IUPAC_LETTERS
from rnafm_cli.rna.kmers import groups_by_words, shares_word
from rnafm_cli.training.recipes import RowData


def drawn_groups(group_N: NDArray[np.integer], *, share: float, seed: int) -> NDArray[np.bool_]:
    """(N,) which members are drawn: groups at random, until ``share`` of the members (one at least) is reached.

    A group too large for what is missing is passed over, so it may be that none is drawn.

    Args:
        group_N: number of the group of each member, from 0 without gaps.
    """
    sizes = np.bincount(group_N)
    wanted, taken = max(1, round(share * len(group_N))), 0
    chosen = np.zeros(len(sizes), dtype=np.bool_)
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        if taken + sizes[group] <= wanted:
            chosen[group] = True
            taken += int(sizes[group])
    return chosen[group_N]


_LEAK_WORD = 30
"""A training row that shares a word of this length with a development row of any set is left out."""
_CLUSTER_WORD = 20
"""Rows of a table without a split that share a word of this length stay on one side."""
_CLEAN = str.maketrans("acgutrykmswbdhvnT", "ACGUURYKMSWBDHVNU")
_REST = str.maketrans(dict.fromkeys(IUPAC_LETTERS))


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """The rows of one set.

    Args:
        name: of the set: its file's stem.
        sequences: clean upper-case RNA.
        values: (n,) float: label 0 or 1, or a measured number.
        splits: (n,) ``train``, ``dev`` or another word; empty where the table has no such column.
        ids: names of the rows, or empty strings.
    """

    name: str
    sequences: list[str]
    values: NDArray[np.float64]
    splits: NDArray[np.str_]
    ids: list[str]

    def __len__(self) -> int:
        return len(self.sequences)

    def part(self, split: str) -> LabelledRows:
        """The rows of one split."""
        return self.take(np.flatnonzero(self.splits == split))

    def take(self, rows: NDArray[np.integer]) -> LabelledRows:
        """Some rows, by number."""
        return LabelledRows(
            self.name,
            [self.sequences[k] for k in rows],
            self.values[rows],
            self.splits[rows],
            [self.ids[k] for k in rows],
        )


def set_name(path: Path) -> str:
    """What a set is called: its file's name without suffixes."""
    return path.name.split(".")[0]


def read_labelled(path: Path, column: str, *, binary: bool = False) -> LabelledRows:
    """Read a table (TSV or CSV) with the columns ``sequence`` and ``column``; ``split`` and ``id`` may be there.

    Args:
        binary: values must be 0 or 1.

    Raises:
        InputError: for a missing column or an unusable row, naming its line.
    """
    rows = list(_rows(path, ("sequence", column)))
    if not rows:
        raise InputError(f"{input_name(path)}: holds no rows")
    values = []
    for where, cells in rows:
        try:
            value = float(cells[column])
        except ValueError:
            value = np.nan
        if not np.isfinite(value) or (binary and value not in (0.0, 1.0)):
            wanted = "0 or 1" if binary else "a number"
            raise InputError(f"{where}: {column} '{cells[column]}' is not {wanted}")
        values.append(value)
    return LabelledRows(
        set_name(path),
        [cells["sequence"] for _, cells in rows],
        np.array(values),
        np.array([cells.get("split", "") for _, cells in rows]),
        [cells.get("id", "") for _, cells in rows],
    )


def read_classes(path: Path, column: str) -> list[tuple[str, str, str]]:
    """Clean upper-case RNA, class and split of the rows of a table: columns ``sequence``, ``column`` and ``split``.

    Raises:
        InputError: for a missing column or an unusable row, naming its line.
    """
    rows = _rows(path, ("sequence", column, "split"))
    return [(cells["sequence"], cells[column], cells["split"]) for _, cells in rows]


def _rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """File and line of each row, and its cells by column, the sequence as clean upper-case RNA."""
    where = input_name(path)
    with open_text(path) as lines:
        for number, cells in table_rows(lines, where, needed):
            cells["sequence"] = cells["sequence"].translate(_CLEAN)
            if not cells["sequence"]:
                raise InputError(f"{where}:{number}: an empty sequence")
            if rest := cells["sequence"].translate(_REST):
                raise InputError(f"{where}:{number}: '{rest[0]}' is no nucleotide")
            yield f"{where}:{number}", cells


def write_labelled(path: Path, parts: Sequence[LabelledRows], column: str) -> None:
    """Write the parts of a set as a table that :func:`read_labelled` reads."""
    with open_output(path) as sink:
        table = TableWriter(sink, ("id", "sequence", column, "split"), digits=9)
        for rows in parts:
            table.write_all(zip(rows.ids, rows.sequences, rows.values, rows.splits, strict=True))
        table.flush()


def cluster_split(rows: LabelledRows, *, share: float, seed: int) -> LabelledRows:
    """The same rows split into ``train`` and ``dev``; rows that share a long word stay on one side."""
    is_dev = drawn_groups(groups_by_words(rows.sequences, length=_CLUSTER_WORD), share=share, seed=seed)
    if not is_dev.any() or is_dev.all():
        raise InputError(
            f"{rows.name}: its rows cannot be split, they share words of {_CLUSTER_WORD} nt with one another",
            hint="add a column 'split' with train and dev",
        )
    return dataclasses.replace(rows, splits=np.where(is_dev, "dev", "train"))


def without_leaks(train: Sequence[LabelledRows], dev: Sequence[LabelledRows]) -> list[LabelledRows]:
    """The training sets without rows that share a 30-mer with a row of any development set, or equal one."""
    held_out = [sequence for rows in dev for sequence in rows.sequences]
    sequences = [sequence for rows in train for sequence in rows.sequences]
    leaks = shares_word(sequences, held_out, length=_LEAK_WORD)
    parts = np.split(leaks, np.cumsum([len(rows) for rows in train])[:-1])
    return [rows.take(np.flatnonzero(~part)) for rows, part in zip(train, parts, strict=True)]


def read_sets(paths: Sequence[Path], column: str, *, binary: bool) -> list[LabelledRows]:
    """The tables of all files; a folder stands for the ``.tsv`` and ``.csv`` files in it, compressed or not.

    Raises:
        UsageError: for two files that give one name.
        InputError: for an unreadable table or an empty folder.
    """
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else []
        found = [k for k in inside if {".tsv", ".csv"} & set(k.suffixes) and k.name[0] != "."]
        if path.is_dir() and not found:
            raise InputError(f"{path}: holds no .tsv or .csv files")
        files += found or [path]
    sets = [read_labelled(path, column, binary=binary) for path in files]
    for name, count in Counter(rows.name for rows in sets).items():
        if count > 1:
            raise UsageError(f"two files are called '{name}'", hint="a file's name without suffix is its set's name")
    return sets


def split_sets(
    sets: Sequence[LabelledRows], data: RowData, report: Callable[[str], None] = lambda line: None
) -> tuple[list[LabelledRows], list[LabelledRows], dict[str, int]]:
    """Training and development parts of each set, and how many rows were left out of training.

    A set without a split is split by groups of rows that share a 20-mer. Training rows that share a 30-mer with a
    development row of any set go, unless ``data.filter_leaks`` is off.

    Raises:
        InputError: for a set without training or development rows, before or after that.
    """
    train, dev = list[LabelledRows](), list[LabelledRows]()
    for rows in sets:
        if (rows.splits == "").all():
            rows = cluster_split(rows, share=data.dev_share, seed=data.seed)
            held = int((rows.splits == "dev").sum())
            report(f"{rows.name}: no column 'split'; {held} of {len(rows)} rows held out, near-copies kept together")
        for name, parts in (("train", train), ("dev", dev)):
            parts.append(rows.part(name))
            if not len(parts[-1]):
                raise InputError(f"{rows.name}: has no {name} rows", hint="the column 'split' holds train and dev")
    read, given, held = (sum(map(len, parts)) for parts in (sets, train, dev))
    counts = {"read": read, "of another split": read - given - held}
    if data.filter_leaks:
        before, train = train, without_leaks(train, dev)
        for whole, kept in zip(before, train, strict=True):
            if not len(kept):
                raise InputError(
                    f"{whole.name}: each of its {len(whole)} training rows shares a 30-mer with a development row",
                    hint="cut off ends that all rows share, or --set data.filter_leaks=false",
                )
        counts["share a 30-mer with a development row"] = given - sum(map(len, train))
    return train, dev, counts | {"train": sum(map(len, train)), "dev": held}
