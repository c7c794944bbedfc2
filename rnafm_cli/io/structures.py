"""Secondary structures in files: the formats, and a reader that tells them apart by content."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rnafm_cli.errors import InputError, Reject, UsageError, raise_rejected
from rnafm_cli.io.assembly import structure_record
from rnafm_cli.io.bpseq import FIRST_ROW, format_bpseq, read_bpseq
from rnafm_cli.io.ct import format_ct, read_ct
from rnafm_cli.io.dotbracket import format_dotbracket, read_dotbracket, read_st
from rnafm_cli.io.names import PACKED
from rnafm_cli.io.streams import STDIO, input_name, open_text
from rnafm_cli.rna.pseudoknots import from_dot_bracket, to_dot_bracket
from rnafm_cli.rna.records import StructureRecord

__all__ = ["STRUCTURE_FORMATS", "TSV_COLUMNS", "StructureFormat", "format_tsv", "read_structures", "read_tsv", "sniff"]

Formatter = Callable[[StructureRecord], str]

TSV_COLUMNS = ("name", "family", "sequence", "pairs")
_HEAD_LINES = 100
_CT_ROW = re.compile(r"^\s*1\s+[A-Za-z]\s+0\s+-?\d+\s+-?\d+(\s|$)")
_STRUCTURE = re.compile(r"^[.()\[\]{}<>&:_,~-]+(\s|$)")


class Reader(Protocol):
    """Reads the records of a text; calls ``reject`` where it can go on with the next one."""

    def __call__(
        self, lines: Iterable[str], source: str, reject: Reject = raise_rejected
    ) -> Iterator[StructureRecord]: ...


@dataclass(frozen=True)
class StructureFormat:
    """A text format: its reader (None: only written) and its formatter, one record at a time (None: only read)."""

    name: str
    suffixes: tuple[str, ...]
    read: Reader | None = None
    format: Formatter | None = None


def format_tsv(record: StructureRecord) -> str:
    """A line of the columns ``name family sequence pairs``; ``-`` for no family, brackets and letters for pairs."""
    pairs = to_dot_bracket(record.pairs, len(record), letters=True)
    return f"{record.id}\t{record.family or '-'}\t{record.sequence}\t{pairs}\n"


def read_tsv(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    """Yield the rows of a table with the columns name, sequence, pairs (dot-bracket) and, if known, family.

    Args:
        reject: called with the error of a row that cannot be used; when it returns, the row is left out.

    Raises:
        InputError: for a missing column, or naming the line with a bad row.
    """
    numbered = enumerate(lines, start=1)
    columns = next(numbered, (1, ""))[1].rstrip("\n").split("\t")
    if missing := [name for name in TSV_COLUMNS if name not in columns and name != "family"]:
        raise InputError(f"{source}:1: has no column {' or '.join(missing)}", hint=f"expected: {' '.join(TSV_COLUMNS)}")
    for number, line in numbered:
        if not line.strip():
            continue
        try:
            record = _tsv_record(line.rstrip("\n").split("\t"), columns, source, number)
        except InputError as error:
            reject(error)
        else:
            yield record


def _tsv_record(cells: list[str], columns: list[str], source: str, number: int) -> StructureRecord:
    if len(cells) != len(columns):
        raise InputError(f"{source}:{number}: {len(cells)} columns, the header has {len(columns)}")
    row = dict(zip(columns, cells, strict=True))
    where = f"{source}:{number}: record '{row['name']}'"
    if len(row["sequence"]) != len(row["pairs"]):
        raise InputError(f"{where}: sequence of {len(row['sequence'])}, structure of {len(row['pairs'])} symbols")
    try:
        pairs = from_dot_bracket(row["pairs"])
    except InputError as error:
        raise InputError(f"{where}: {error.message}") from error
    family = row.get("family", "-")
    return structure_record(
        row["name"], row["sequence"], pairs, family="" if family == "-" else family, source=source, line=number
    )


def _whole(read: Callable[[Iterable[str], str], Iterator[StructureRecord]]) -> Reader:
    """A reader that cannot find the next record after a bad one."""

    def reader(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
        return read(lines, source)

    return reader


def _read_dbn(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    return read_dotbracket(lines, source, reject=reject)


STRUCTURE_FORMATS: dict[str, StructureFormat] = {
    entry.name: entry
    for entry in (
        StructureFormat("dbn", (".dbn", ".db", ".fold", ".vienna", ".fa", ".fasta"), _read_dbn, format_dotbracket),
        StructureFormat("ct", (".ct",), _whole(read_ct), format_ct),
        StructureFormat("bpseq", (".bpseq",), _whole(read_bpseq), format_bpseq),
        StructureFormat("tsv", (".tsv",), read_tsv, format_tsv),
        StructureFormat("st", (".st",), _whole(read_st)),
    )
}


def read_structures(
    source: str | Path, *, format: str | None = None, reject: Reject | None = None
) -> Iterator[StructureRecord]:
    """Yield the structures of a file, of stdin (``-``), or of all structure files in a folder by name.

    Files may be compressed. Dot-bracket, CT, BPSEQ, bpRNA's ST and this project's TSV are told apart by
    content unless ``format`` says which it is.

    Args:
        reject: called with the error of a record that cannot be used; when it returns, reading goes on with the next
            record of a dot-bracket text or table, with the next file otherwise. Errors are raised without it.

    Raises:
        InputError: for an unreadable or unknown input, one without a record, or a bad record.
        UsageError: for a format that is not read.
    """
    if str(source) != STDIO and Path(source).is_dir():
        files = _structure_files(Path(source))
        if not files:
            raise InputError(f"{source}: holds no structure file", hint="known are .dbn, .ct, .bpseq, .st and .tsv")
        for file in files:
            yield from read_structures(file, format=format, reject=reject)
        return
    name = input_name(source)
    if reject is None:
        yield from _records(source, name, format, raise_rejected)
        return
    try:
        yield from _records(source, name, format, reject)
    except InputError as error:
        reject(InputError(f"{error.message}, with all that follows in {name}", hint=error.hint))


def _records(source: str | Path, name: str, format: str | None, reject: Reject) -> Iterator[StructureRecord]:
    with open_text(source) as handle:
        head = list(itertools.islice(handle, _HEAD_LINES))
        if not any(line.strip() for line in head):
            raise InputError(f"{name}: is empty", hint="secondary structures are expected")
        read = STRUCTURE_FORMATS[_known(format) if format else sniff(head, name)].read
        if read is None:
            raise UsageError(f"the format {format} is only written")
        found = rejected = 0

        def count(error: InputError) -> None:
            nonlocal rejected
            reject(error)
            rejected += 1

        for record in read(itertools.chain(head, handle), name, count):
            found += 1
            yield record
        if not found + rejected:
            raise InputError(f"{name}: holds no structure")


def sniff(lines: list[str], name: str) -> str:
    """The format of a structure file, from its first lines.

    Raises:
        InputError: when it is none that is known.
    """
    content = [line for line in lines if line.strip()]
    first = content[0] if content else ""
    if {"sequence", "pairs"} <= set(first.rstrip("\n").split("\t")):
        return "tsv"
    if first.lower().startswith("#name:"):
        return "st"
    if any(_CT_ROW.match(line) for line in content) or first.lower().startswith(">seq length:"):
        return "ct"
    if any(FIRST_ROW.match(line) for line in content):
        return "bpseq"
    # A long wrapped sequence may fill the first lines, so a header is enough for dot-bracket.
    if first.startswith(">") or any(_STRUCTURE.match(line) for line in content):
        return "dbn"
    raise InputError(f"{name}: is no secondary structure file", hint="known are dot-bracket, CT, BPSEQ, ST and TSV")


def _known(format: str) -> str:
    if format not in STRUCTURE_FORMATS:
        raise UsageError(f"unknown structure format '{format}'", hint=f"known are {', '.join(STRUCTURE_FORMATS)}")
    return format


def _structure_files(folder: Path) -> list[Path]:
    known = {suffix for entry in STRUCTURE_FORMATS.values() for suffix in entry.suffixes}
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and (path.with_suffix("") if path.suffix in PACKED else path).suffix in known
    )
