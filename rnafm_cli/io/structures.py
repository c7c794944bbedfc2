"""Secondary structures in files: the formats, told apart by content, and a reader for each.

A reader takes lines, the name of their source and what is to be called with the error of a record that cannot be used,
and yields records. One that cannot go on after such a record raises the error instead.
"""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnafm_cli.errors import InputError, Reject, RnafmWarning, raise_rejected
from rnafm_cli.io.coordinate_pairs import read_coordinate_pairs
from rnafm_cli.io.names import PACKED, source_stem
from rnafm_cli.io.stockholm import Alignment, read_alignments, wuss_pairs
from rnafm_cli.io.streams import STDIO, input_name, open_text
from rnafm_cli.io.tables import cells_of, column_names, table_rows
from rnafm_cli.rna.pairs import Pairs, from_dot_bracket
from rnafm_cli.rna.records import StructureRecord

_TO_RNA = str.maketrans("Tt", "UU")
_UNSURE = re.compile("[^ACGURYKMSWBDHVN]")
_MODIFIED = dict(zip('PI7L#="+!4J', "UGGGGAAAUUU", strict=True))
"""One-letter codes of modified bases by their parents (Sprinzl's and Modomics'): pseudouridine, inosine, m7G ..."""


def rna_letters(text: str) -> str:
    """The letters of a structure file as upper-case RNA: T is U, IUPAC codes stay, other letters are N.

    >>> rna_letters("acgTXn")
    'ACGUNN'

    Raises:
        ValueError: for a character that is no letter.
    """
    sequence = text.translate(_TO_RNA).upper()
    if foreign := re.search("[^A-Z]", sequence):
        raise ValueError(f"'{foreign[0]}' is not a base" + ", the sequence is gapped" * (foreign[0] in "-."))
    return _UNSURE.sub("N", sequence)


def _checked(
    identifier: str,
    letters: str,
    structure: str | Pairs | list[tuple[int, int]],
    source: str,
    line: int,
    *,
    reject: Reject = raise_rejected,
    description: str = "",
    family: str = "",
) -> Iterator[StructureRecord]:
    """The record of letters and a structure (brackets, ``&`` between strands, or pairs), unless it is rejected."""
    strands = letters.split("&")
    try:
        if not letters:
            raise ValueError("has no sequence")
        if isinstance(structure, str):
            if len(structure) != len(letters):
                raise ValueError(f"sequence of {len(letters)}, structure of {len(structure)} symbols")
            if list(map(len, strands)) != list(map(len, structure.split("&"))):
                raise ValueError("the strand breaks (&) of sequence and structure differ")
            if not all(strands):
                raise ValueError("a strand break (&) with no base on one side")
            structure = from_dot_bracket(structure.replace("&", ""), unpaired=_UNPAIRED)
        yield StructureRecord(
            identifier,
            rna_letters("".join(strands)),
            structure,  # type: ignore[arg-type]
            description,
            family,
            source,
            line,
            tuple(itertools.accumulate(map(len, strands[:-1]))),
        )
    except (InputError, ValueError) as error:
        reject(InputError(f"{source}:{line}: record '{identifier}': {error}"))


@dataclass
class _Rows:
    """The rows of one RNA in CT or BPSEQ as they come in; ``length`` bases were announced above those of CT."""

    source: str
    line: int
    name: str
    description: str = ""
    length: int | None = None
    letters: list[str] = field(default_factory=list)
    partners: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def take(self, line: str, number: int, column: int, hint: str) -> None:
        """Add the row of the next base, whose partner stands in a column (from 0)."""
        cells, expected = line.split(), len(self.partners) + 1
        if len(cells) <= column or not cells[0].isdigit() or not cells[column].lstrip("-").isdigit():
            of = f" of {self.length}" if self.length else ""
            raise InputError(f"{self.source}:{number}: base {expected}{of} is expected here", hint=hint)
        if int(cells[0]) != expected:
            raise InputError(f"{self.source}:{number}: index {cells[0]} where {expected} is expected")
        if len(cells[1]) != 1:
            raise InputError(f"{self.source}:{number}: '{cells[1]}' is not a base")
        self.letters.append(self._base(cells[1]))
        self.partners.append(int(cells[column]))
        self.lines.append(number)

    def _base(self, symbol: str) -> str:
        """The letter of a base, whose symbol may be a modified or an unknown one: its parent, else N."""
        if symbol.isalpha() and symbol.upper() in "ACGUTRYKMSWBDHVNX":
            return symbol
        if symbol.upper() not in _MODIFIED:
            # Python shows the same warning once.
            warnings.warn(f"{self.source}: symbols of unknown bases are read as N", RnafmWarning, stacklevel=2)
        return _MODIFIED.get(symbol.upper(), "N")

    def records(self) -> Iterator[StructureRecord]:
        """The record; an error names the line of a base whose partner cannot be."""
        count = len(self.partners)
        for base, (partner, line) in enumerate(zip(self.partners, self.lines, strict=True), start=1):
            where = f"{self.source}:{line}: base {base} pairs with"
            if partner > count:
                raise InputError(f"{where} {partner}, there are {count} bases")
            if partner == base:
                raise InputError(f"{where} itself")
            if partner > 0 and (back := self.partners[partner - 1]) != base:
                told = f"pairs with {back}" if back > 0 else "is unpaired"
                raise InputError(f"{where} {partner}, but base {partner} {told}")
        pairs = [(base, partner - 1) for base, partner in enumerate(self.partners) if base < partner - 1]
        letters = "".join(self.letters)
        return _checked(self.name, letters, pairs, self.source, self.line, description=self.description)


_BPSEQ_ROW = re.compile(r"^\s*1\s+\S\s+-?\d+(\s|$)")
_CT_ROW = re.compile(r"^\s*1\s+\S\s+0\s+-?\d+\s+-?\d+(\s|$)")
OWN_MARK = "# rnafm "
"""What comes before id and description in a BPSEQ file that rnafm wrote."""
_ENERGY = re.compile(r"^(?:ENERGY|dG)\s*=\s*\S+\s*(?:\[\s*initially[^]]*\]\s*)?", re.IGNORECASE)
_UFOLD = re.compile(r"^>\s*seq length:\s*(\d+)\s*(?:seq name:\s*)?(.*)$", re.IGNORECASE)


def read_bpseq(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    """The record of a BPSEQ text, or several where base 1 comes again.

    ``#`` lines and any header before base 1 are passed over, as are columns after the third.
    """
    rows: _Rows | None = None
    header, count, stem = "", 0, source_stem(source)
    for number, text in enumerate(lines, start=1):
        if text.startswith(OWN_MARK):
            header = text[len(OWN_MARK) :].strip()
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        if rows is None and text.split()[0] == "0" and len(text.split()) == 3:
            raise InputError(f"{source}:{number}: base 0, bases count from 1 in BPSEQ", hint="add 1 to both numbers")
        if _BPSEQ_ROW.match(text):
            if rows:
                yield from rows.records()
            count += 1
            name, description = _titled(header)
            rows = _Rows(source, number, name or _numbered(stem, count), description)
            header = ""
        if rows:
            rows.take(text, number, 2, "BPSEQ lines read: index, base, partner (0: unpaired)")
    if rows:
        yield from rows.records()


def read_ct(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    """The records of a CT text, one after another.

    The last line above base 1 has the number of bases and the title; what stands above it (``Filename: ...``, as CRW
    and sfold write) is passed over. Neighbour columns and natural numbering are not looked at, so files that end with
    N+1 or lack the last column are fine, as are tabs, ``#`` comments, a missing title and UFold's header.
    """
    rows: _Rows | None = None
    count, above = 0, (0, "")
    for number, text in enumerate(lines, start=1):
        line = text.strip()
        if not line or line[0] == "#":
            continue
        if rows is None:
            if not _CT_ROW.match(line):
                above = (number, line)
                continue
            count += 1
            rows, above = _announced(*above, source, count), (0, "")
        rows.take(line, number, 4, "CT lines read: index, base, index - 1, index + 1, partner, number")
        if len(rows.partners) == rows.length:
            yield from rows.records()
            rows = None
    if rows:
        raise InputError(f"{source}:{rows.line}: {rows.length} bases announced, {len(rows.partners)} found")
    if above[0]:
        told = above[1].split()[0]
        raise InputError(f"{source}:{above[0]}: no base 1 follows on '{told}'", hint="the file may be cut short")


def _announced(number: int, line: str, source: str, count: int) -> _Rows:
    """What the line above the rows of a CT record says."""
    length, title = match.groups() if (match := _UFOLD.match(line)) else (*line.split(None, 1), "", "")[:2]
    if not length.isdigit() or not int(length):
        raise InputError(
            f"{source}:{number}: the number of bases is expected here", hint="CT records start with a line 'N title'"
        )
    name, description = _titled(_ENERGY.sub("", title.strip()))
    return _Rows(source, number, name or _numbered(source_stem(source), count), description, int(length))


def _titled(title: str) -> tuple[str, str]:
    """Id and description."""
    name, description = (*title.split(None, 1), "", "")[:2]
    return name, description.strip()


def _numbered(stem: str, count: int) -> str:
    return stem if count == 1 else f"{stem}_{count}"


_BRACKETS = set("()[]{}<>")
_UNPAIRED = ".:_-,~"
"""Symbols of dot-bracket and of WUSS."""
_UNPAIRED_ONLY = set(_UNPAIRED + "&|")
_WHOLE_LINE = re.compile(r"^[.()\[\]{}<>&:_,~-]+(\s|$)")
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?", re.IGNORECASE)


def _is_structure(line: str) -> bool:
    """Whether a line is a structure, energies and remarks after it apart."""
    first = line.split(None, 1)[0]
    return not _BRACKETS.isdisjoint(first) or _UNPAIRED_ONLY.issuperset(first)


def _number(word: str) -> float | None:
    return float(word) if _NUMBER.fullmatch(word) else None


def read_dotbracket(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    """The records of a dot-bracket text.

    Headers may be missing, sequence and structure wrapped, and energies or remarks follow the structure. Unpaired
    bases may be WUSS symbols. Lines of ``#`` or ``;`` are comments; ``>structure`` may stand above the structure, as
    CONTRAfold and EternaFold write. Further structures of a record (RNAfold -p) are passed over; of those with
    energies, as RNAsubopt writes them, the lowest is taken. Strand breaks (``&``) become ``StructureRecord.breaks``.
    """
    draft: _Draft | None = None
    count = 0
    for number, text in enumerate(lines, start=1):
        line = text.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == ">" and not (draft and draft.structure and draft.takes(line)):
            if draft and draft.letters and not draft.structure and line.lower() == ">structure":
                continue
            if draft:
                yield from draft.records(source, reject)
            count += 1
            draft = _Draft(number, line[1:].strip(), f"seq{count}")
        elif draft and draft.letters and draft.takes(line):
            draft.add(line)
        elif draft and draft.letters and not draft.missing and (_is_structure(line) or text[0].isspace()):
            draft.compare(line)
        elif _is_structure(line):
            reject(InputError(f"{source}:{number}: a structure without a sequence above it"))
        else:
            if draft is None or draft.structure:
                if draft:
                    yield from draft.records(source, reject)
                count += 1
                draft = _Draft(number, "", f"seq{count}")
            # RNAsubopt puts the lowest energy and the range after the sequence.
            draft.letters += "".join(word for word in line.split() if _number(word) is None)
    if draft:
        yield from draft.records(source, reject)


@dataclass
class _Draft:
    """A dot-bracket record whose lines are still being gathered."""

    line: int
    header: str
    default: str
    letters: str = ""
    structure: str = ""
    energy: float | None = None

    @property
    def missing(self) -> int:
        """Symbols by which the structure is shorter than the sequence."""
        return len(self.letters) - len(self.structure)

    def takes(self, line: str) -> bool:
        """Whether a line is (the next part of) the structure."""
        if not self.structure:
            return _is_structure(line)
        # A header after a short structure is a header; a wrapped structure may begin with '>', too.
        return self.missing > 0 and not (line[0] == ">" and any(x.isalnum() for x in line))

    def add(self, line: str) -> None:
        first, *rest = line.split()
        self.structure += first
        self.energy = _number(rest[0]) if rest else None

    def compare(self, line: str) -> None:
        """Take a further structure instead if its energy is lower."""
        first, *rest = line.split()
        energy = _number(rest[0]) if rest else None
        if self.energy is not None and energy is not None and energy < self.energy:
            self.structure, self.energy = first, energy

    def records(self, source: str, reject: Reject) -> Iterator[StructureRecord]:
        """The record, unless it is rejected."""
        # RNAstructure's ct2dot keeps the energy of a CT file's title.
        name, description = _titled(_ENERGY.sub("", self.header))
        name = name or self.default
        if self.letters and not self.structure:
            where = f"{source}:{self.line}: record '{name}'"
            reject(InputError(f"{where}: has no structure", hint="a line of dots and brackets is expected"))
            return
        yield from _checked(
            name, self.letters, self.structure, source, self.line, reject=reject, description=description
        )


def _read_st(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    """The record of a bpRNA ``.st`` text: ``#`` lines, sequence, dot-bracket, annotation passed over."""
    draft = _Draft(0, "", "seq1")
    for number, text in enumerate(lines, start=1):
        if text.startswith("#"):
            key, _, value = text[1:].partition(":")
            draft.header = value.strip() if key.strip().lower() == "name" else draft.header
        elif text.strip() and not draft.letters:
            draft.line, draft.letters = number, text.strip()
        elif text.strip():
            draft.structure = text.strip()
            yield from draft.records(source, reject)
            return


def _read_table(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    """The rows of a table with the columns sequence, structure (or pairs, dotbracket) and, if known, id, family."""
    for count, (number, row) in enumerate(table_rows(lines, source, ("sequence", "structure"), reject), start=1):
        name, family = row.get("id") or f"seq{count}", row.get("family", "-")
        family = "" if family == "-" else family
        yield from _checked(name, row["sequence"], row["structure"], source, number, reject=reject, family=family)


def _read_jsonl(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    """The records of JSON Lines: objects with ``sequence``, ``pairs`` (from 1) or ``structure``, and an ``id``."""
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            letters, pairs = str(row["sequence"]), row.get("pairs")
            structure = str(row["structure"]) if pairs is None else [(int(i) - 1, int(j) - 1) for i, j in pairs]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            told = "an object with 'sequence' and 'pairs' or 'structure' is expected on each line"
            problem = f"is no structure in JSON ({type(error).__name__}: {error})"
            reject(InputError(f"{source}:{number}: {problem}", hint=told))
            continue
        name = str(row.get("id") or f"seq{number}")
        described = {"description": str(row.get("description") or ""), "family": str(row.get("family") or "")}
        yield from _checked(name, letters, structure, source, number, reject=reject, **described)


def _read_stockholm(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    """Each row of the alignments of a Stockholm text without its gaps, and the pairs of two bases that it has.

    Pairs are those of its own structure (``#=GR <row> SS``), else of the consensus.
    """
    for alignment in read_alignments(lines, source, reject):
        if "SS_cons" not in alignment.columns and not alignment.structures:
            reject(InputError(f"{alignment.where}: has no consensus structure", hint="a line '#=GC SS_cons' has it"))
            continue
        for name, row in zip(alignment.names, alignment.rows, strict=True):
            try:
                pairs = _pairs_of_row(alignment, name, row)
            except InputError as error:
                reject(error)
                continue
            family = alignment.tags.get("AC", "").split(".")[0]
            yield from _checked(name, row.replace("-", ""), pairs, source, alignment.line, reject=reject, family=family)


def _pairs_of_row(alignment: Alignment, name: str, row: str) -> Pairs:
    structure = alignment.structures.get(name) or alignment.columns.get("SS_cons")
    if structure is None:
        raise InputError(
            f"{alignment.where}: row {name} has no structure", hint=f"a line '#=GR {name} SS' or '#=GC SS_cons' has it"
        )
    try:
        pairs = wuss_pairs(structure)
    except InputError as error:
        raise InputError(f"{alignment.where}: structure of row {name}: {error}") from error
    is_base_C = np.frombuffer(row.encode(), dtype=np.uint8) != ord("-")
    return np.cumsum(is_base_C)[pairs[is_base_C[pairs].all(axis=1)]] - 1


class StructureFormat(NamedTuple):
    """Suffixes of files in a folder, whether a text that begins so (not with a blank line) is one, and its reader."""

    suffixes: tuple[str, ...]
    fits: Callable[[list[str]], bool]
    read: Callable[..., Iterator[StructureRecord]]


def _begins(*marks: str) -> Callable[[list[str]], bool]:
    return lambda lines: lines[0].lower().startswith(marks)


def _has(row: re.Pattern[str]) -> Callable[[list[str]], bool]:
    return lambda lines: any(map(row.match, lines))


def _is_mmcif(lines: list[str]) -> bool:
    return next((line for line in lines if line[0] != "#"), "").lower().startswith("data_")


def _is_table(lines: list[str]) -> bool:
    return {"sequence", "structure"} <= set(column_names(next(cells_of(lines), (0, []))[1]))


def _is_dotbracket(lines: list[str]) -> bool:
    """A long wrapped sequence may fill the first lines, so a header is enough."""
    return lines[0].startswith(">") or any(map(_WHOLE_LINE.match, lines))


_PDB_RECORDS = """
    header obslte title split caveat compnd source keywds expdta nummdl mdltyp author revdat sprsde jrnl remark dbref
    seqadv seqres modres het hetnam formul helix sheet ssbond link cispep site cryst1 origx1 scale1 mtrix1 model atom
    hetatm user
""".split()

STRUCTURE_FORMATS = {
    "stockholm": StructureFormat((".sto", ".stk", ".stockholm"), _begins("# stockholm", "#=g"), _read_stockholm),
    "jsonl": StructureFormat((".jsonl",), _begins("{"), _read_jsonl),
    "cif": StructureFormat((".cif", ".mmcif"), _is_mmcif, read_coordinate_pairs),
    "pdb": StructureFormat((".pdb", ".ent"), _begins(*(f"{word:6}" for word in _PDB_RECORDS)), read_coordinate_pairs),
    "st": StructureFormat((".st",), _begins("#name:"), _read_st),
    "tsv": StructureFormat((".tsv",), _is_table, _read_table),
    "csv": StructureFormat((".csv",), _is_table, _read_table),
    "ct": StructureFormat((".ct",), _has(_CT_ROW), read_ct),
    "bpseq": StructureFormat((".bpseq",), _has(_BPSEQ_ROW), read_bpseq),
    "dbn": StructureFormat(
        (".dbn", ".db", ".dot", ".fold", ".vienna", ".fa", ".fasta"), _is_dotbracket, read_dotbracket
    ),
}
"""In the order in which a text is asked for its format."""
_SUFFIXES = {suffix for entry in STRUCTURE_FORMATS.values() for suffix in entry.suffixes}
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
        form = next((entry for entry in STRUCTURE_FORMATS.values() if entry.fits(content)), None)
        if form is None:
            raise InputError(
                f"{name}: is no secondary structure file",
                hint="known are dot-bracket, CT, BPSEQ, ST, Stockholm, JSON Lines, PDB, mmCIF, "
                "and tables with sequence and structure",
            )
        found = rejected = 0

        def count(error: InputError) -> None:
            nonlocal rejected
            reject(error)
            rejected += 1

        for record in form.read(itertools.chain(head, handle), name, count):
            found += 1
            yield record
        if not found + rejected:
            raise InputError(f"{name}: holds no structure")


def _structure_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (path.with_suffix("") if path.suffix in PACKED else path).suffix.lower() in _SUFFIXES
    )
