"""Secondary structures in files: the formats, told apart by content."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rnafm_cli.errors import InputError, Reject, raise_rejected
from rnafm_cli.io import structure_readers as readers
from rnafm_cli.io.coordinate_pairs import read_coordinate_pairs
from rnafm_cli.io.names import PACKED
from rnafm_cli.io.streams import STDIO, input_name, open_text
from rnafm_cli.io.tables import cells_of, column_names
from rnafm_cli.rna.records import StructureRecord


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
    """

    name: str
    suffixes: tuple[str, ...]
    fits: Callable[[list[str]], bool]
    read: Reader


def _is_table(lines: list[str]) -> bool:
    return {"sequence", "structure"} <= set(column_names(next(cells_of(lines), (0, []))[1]))


def _begins(*marks: str) -> Callable[[list[str]], bool]:
    return lambda lines: lines[0].lower().startswith(marks)


def _is_mmcif(lines: list[str]) -> bool:
    return next((line for line in lines if line[0] != "#"), "").lower().startswith("data_")


_PDB_RECORDS = """
    header obslte title split caveat compnd source keywds expdta nummdl mdltyp author revdat sprsde jrnl remark dbref
    seqadv seqres modres het hetnam formul helix sheet ssbond link cispep site cryst1 origx1 scale1 mtrix1 model atom
    hetatm user
""".split()

STRUCTURE_FORMATS: dict[str, StructureFormat] = {
    entry.name: entry
    for entry in (
        StructureFormat(
            "stockholm", (".sto", ".stk", ".stockholm"), _begins("# stockholm", "#=g"), readers.read_stockholm_rows
        ),
        StructureFormat("jsonl", (".jsonl",), _begins("{"), readers.read_jsonl),
        StructureFormat("cif", (".cif", ".mmcif"), _is_mmcif, read_coordinate_pairs),
        StructureFormat(
            "pdb", (".pdb", ".ent"), _begins(*(f"{word:6}" for word in _PDB_RECORDS)), read_coordinate_pairs
        ),
        StructureFormat("st", (".st",), _begins("#name:"), readers.read_st),
        StructureFormat("tsv", (".tsv",), _is_table, readers.read_structure_table),
        StructureFormat("csv", (".csv",), _is_table, readers.read_structure_table),
        StructureFormat("ct", (".ct",), readers.is_ct, readers.read_ct),
        StructureFormat("bpseq", (".bpseq",), readers.is_bpseq, readers.read_bpseq),
        StructureFormat(
            "dbn",
            (".dbn", ".db", ".dot", ".fold", ".vienna", ".fa", ".fasta"),
            readers.is_dotbracket,
            readers.read_dotbracket,
        ),
    )
}
"""In the order in which a text is asked for its format."""
_HEAD_LINES = 100


def read_structures(source: str | Path, *, reject: Reject | None = None) -> Iterator[StructureRecord]:
    """Yield the structures of a file, of stdin (``-``), or of all structure files in a folder by name.

    Files may be compressed; their formats are told apart by content.

    Args:
        reject: called with the error of a record that cannot be used; when it returns, reading goes on with the next
            record where the format allows it, with the next file otherwise. Errors are raised without it.

    Raises:
        InputError: for an unreadable or unknown input, one without a record, or a bad record.
    """
    if str(source) != STDIO and Path(source).is_dir():
        files = _structure_files(Path(source))
        if not files:
            known = ", ".join(entry.suffixes[0] for entry in STRUCTURE_FORMATS.values())
            raise InputError(f"{source}: holds no structure file", hint=f"their names end in {known}")
        for file in files:
            yield from read_structures(file, reject=reject)
        return
    name = input_name(source)
    try:
        yield from _records(source, name, reject or raise_rejected)
    except InputError as error:
        if reject is None:
            raise
        reject(InputError(f"{error.message}, with all that follows in {name}", hint=error.hint))


def _records(source: str | Path, name: str, reject: Reject) -> Iterator[StructureRecord]:
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

        for record in _format(content, name).read(itertools.chain(head, handle), name, count):
            found += 1
            yield record
        if not found + rejected:
            raise InputError(f"{name}: holds no structure")


def _format(content: list[str], name: str) -> StructureFormat:
    for entry in STRUCTURE_FORMATS.values():
        if entry.fits(content):
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
