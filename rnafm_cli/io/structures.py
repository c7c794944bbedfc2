"""Secondary structures in files: the formats, told apart by content, and the texts that they are written as."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rnafm_cli.errors import InputError, Reject, UsageError, raise_rejected
from rnafm_cli.io import structure_readers as readers
from rnafm_cli.io.names import PACKED
from rnafm_cli.io.streams import STDIO, input_name, open_text
from rnafm_cli.io.tables import cells_of, column_names
from rnafm_cli.rna.pairs import pairs_to_partners, to_dot_bracket
from rnafm_cli.rna.records import StructureRecord

__all__ = [
    "STRUCTURE_FORMATS",
    "StructureFormat",
    "TSV_COLUMNS",
    "format_bpseq",
    "format_ct",
    "format_dotbracket",
    "format_tsv",
    "plain_letters",
    "read_structures",
]


TSV_COLUMNS = ("name", "family", "sequence", "pairs")
_SURE = set("ACGU")


def plain_letters(sequence: str) -> str:
    """A sequence for programs that know A, C, G, U and N: every ambiguity code becomes N."""
    return sequence if set(sequence) <= _SURE else "".join(x if x in _SURE else "N" for x in sequence)


def format_bpseq(record: StructureRecord) -> str:
    """A comment with id and description, then ``i base j`` per base; bases count from 1, 0 is unpaired."""
    partners = pairs_to_partners(record.pairs, len(record)) + 1
    letters = plain_letters(record.sequence)
    rows = [f"{i} {base} {j}" for i, (base, j) in enumerate(zip(letters, partners.tolist(), strict=True), start=1)]
    return "\n".join([readers.OWN_MARK + record.header, *rows]) + "\n"


def format_ct(record: StructureRecord, *, energy: float | None = None) -> str:
    """A CT record: a line with length and title, then one line per base; bases count from 1.

    Args:
        energy: a computed free energy in kcal/mol for the title line; never a network's score.
    """
    length = len(record)
    told = f"ENERGY = {energy:.1f}  " if energy is not None else ""
    partners = pairs_to_partners(record.pairs, length) + 1
    rows = [f"{length:>5}  {told}{record.header}"]
    for i, (base, j) in enumerate(zip(plain_letters(record.sequence), partners.tolist(), strict=True), start=1):
        rows.append(f"{i:>5} {base} {i - 1:>7} {i + 1 if i < length else 0:>4} {j:>4} {i:>4}")
    return "\n".join(rows) + "\n"


def format_dotbracket(record: StructureRecord, *, letters: bool = False) -> str:
    """The three lines that RNAeval, RNAplot, ``RNAfold -C`` and forgi read; ``&`` between strands.

    Args:
        letters: write pseudoknot layers beyond the fourth as ``Aa``, ``Bb``; otherwise they become dots.
    """
    structure = to_dot_bracket(record.pairs, len(record), letters=letters)
    sequence = plain_letters(record.sequence)
    for place in reversed(record.breaks):
        sequence, structure = f"{sequence[:place]}&{sequence[place:]}", f"{structure[:place]}&{structure[place:]}"
    return f">{record.header}\n{sequence}\n{structure}\n"


def format_tsv(record: StructureRecord) -> str:
    """A line of the columns ``name family sequence pairs``; ``-`` for no family, brackets and letters for pairs."""
    pairs = to_dot_bracket(record.pairs, len(record), letters=True)
    return f"{record.id}\t{record.family or '-'}\t{record.sequence}\t{pairs}\n"


class Reader(Protocol):
    """Reads the records of a text; calls ``reject`` where it can go on with the next one."""

    def __call__(
        self, lines: Iterable[str], source: str, reject: Reject = raise_rejected
    ) -> Iterator[StructureRecord]: ...


@dataclass(frozen=True)
class StructureFormat:
    """A text format.

    Args:
        suffixes: of files in a folder that are read.
        fits: whether a text that begins with these lines (the first is not blank) is one.
        read: its reader.
        format: a record's text; None for formats that are only read.
    """

    name: str
    suffixes: tuple[str, ...]
    fits: Callable[[list[str]], bool]
    read: Reader
    format: Callable[[StructureRecord], str] | None = None


def _is_table(lines: list[str]) -> bool:
    return {"sequence", "structure"} <= set(column_names(next(cells_of(lines), (0, []))[1]))


def _begins(*marks: str) -> Callable[[list[str]], bool]:
    return lambda lines: lines[0].lower().startswith(marks)


_PDB_RECORDS = tuple(f"{word:6}" for word in ("header", "atom", "hetatm", "model", "remark", "cryst1", "title"))

STRUCTURE_FORMATS: dict[str, StructureFormat] = {
    entry.name: entry
    for entry in (
        StructureFormat(
            "stockholm", (".sto", ".stk", ".stockholm"), _begins("# stockholm", "#=g"), readers.read_stockholm_rows
        ),
        StructureFormat("jsonl", (".jsonl",), _begins("{"), readers.read_jsonl),
        StructureFormat("cif", (".cif", ".mmcif"), _begins("data_"), readers.read_pairs_of_coordinates),
        StructureFormat("pdb", (".pdb", ".ent"), _begins(*_PDB_RECORDS), readers.read_pairs_of_coordinates),
        StructureFormat("st", (".st",), _begins("#name:"), readers.read_st),
        StructureFormat("tsv", (".tsv",), _is_table, readers.read_structure_table, format_tsv),
        StructureFormat("csv", (".csv",), _is_table, readers.read_structure_table),
        StructureFormat("ct", (".ct",), readers.is_ct, readers.read_ct, format_ct),
        StructureFormat("bpseq", (".bpseq",), readers.is_bpseq, readers.read_bpseq, format_bpseq),
        StructureFormat(
            "dbn",
            (".dbn", ".db", ".dot", ".fold", ".vienna", ".fa", ".fasta"),
            readers.is_dotbracket,
            readers.read_dotbracket,
            format_dotbracket,
        ),
    )
}
"""In the order in which a text is asked for its format."""
_HEAD_LINES = 100


def read_structures(
    source: str | Path, *, format: str | None = None, reject: Reject | None = None
) -> Iterator[StructureRecord]:
    """Yield the structures of a file, of stdin (``-``), or of all structure files in a folder by name.

    Files may be compressed; their formats are told apart by content unless ``format`` says which it is.

    Args:
        reject: called with the error of a record that cannot be used; when it returns, reading goes on with the next
            record where the format allows it, with the next file otherwise. Errors are raised without it.

    Raises:
        InputError: for an unreadable or unknown input, one without a record, or a bad record.
        UsageError: for an unknown format.
    """
    if format is not None and format not in STRUCTURE_FORMATS:
        raise UsageError(f"unknown structure format '{format}'", hint=f"known are {', '.join(STRUCTURE_FORMATS)}")
    if str(source) != STDIO and Path(source).is_dir():
        files = _structure_files(Path(source))
        if not files:
            known = ", ".join(entry.suffixes[0] for entry in STRUCTURE_FORMATS.values())
            raise InputError(f"{source}: holds no structure file", hint=f"their names end in {known}")
        for file in files:
            yield from read_structures(file, format=format, reject=reject)
        return
    name = input_name(source)
    try:
        yield from _records(source, name, format, reject or raise_rejected)
    except InputError as error:
        if reject is None:
            raise
        reject(InputError(f"{error.message}, with all that follows in {name}", hint=error.hint))


def _records(source: str | Path, name: str, format: str | None, reject: Reject) -> Iterator[StructureRecord]:
    with open_text(source) as handle:
        head = list(itertools.islice(handle, _HEAD_LINES))
        content = [line for line in head if line.strip()]
        if not content:
            raise InputError(f"{name}: is empty", hint="secondary structures are expected")
        found = rejected = 0

        def count(error: InputError) -> None:
            nonlocal rejected
            reject(error)
            rejected += 1

        for record in _format(content, name, format).read(itertools.chain(head, handle), name, count):
            found += 1
            yield record
        if not found + rejected:
            raise InputError(f"{name}: holds no structure")


def _format(content: list[str], name: str, wanted: str | None) -> StructureFormat:
    for entry in STRUCTURE_FORMATS.values():
        if entry.name == wanted or (wanted is None and entry.fits(content)):
            return entry
    raise InputError(
        f"{name}: is no secondary structure file",
        hint="known are dot-bracket, CT, BPSEQ, ST, Stockholm, JSON Lines, PDB, mmCIF, "
        "and tables with sequence and structure",
    )


def _structure_files(folder: Path) -> list[Path]:
    known = {suffix for entry in STRUCTURE_FORMATS.values() for suffix in entry.suffixes}
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (path.with_suffix("") if path.suffix in PACKED else path).suffix.lower() in known
    )
