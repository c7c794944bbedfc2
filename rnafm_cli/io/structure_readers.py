"""Readers of secondary structures, one for each way of writing them: lines in, records out.

A reader that can go on after a bad record calls ``reject`` with its error; the others raise it.
"""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from rnafm_cli.errors import InputError, Reject, RnafmWarning, raise_rejected
from rnafm_cli.io.names import source_stem
from rnafm_cli.io.stockholm import Alignment, read_alignments, wuss_pairs
from rnafm_cli.io.tables import table_rows
from rnafm_cli.rna.pairs import Pairs, from_dot_bracket
from rnafm_cli.rna.records import StructureRecord

_TO_RNA = str.maketrans("Tt", "UU")
_KEPT = set("ACGURYKMSWBDHVN")

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
    if sequence and not (sequence.isalpha() and sequence.isascii()):
        foreign = next(letter for letter in sequence if not (letter.isalpha() and letter.isascii()))
        raise ValueError(f"'{foreign}' is not a base" + ", the sequence is gapped" * (foreign in "-."))
    return sequence if set(sequence) <= _KEPT else "".join(x if x in _KEPT else "N" for x in sequence)


def _base(symbol: str, source: str) -> str:
    """The letter of a base in CT and BPSEQ, where a symbol may be a modified or an unknown one: its parent, else N."""
    if symbol.isalpha() and symbol.upper() in "ACGUTRYKMSWBDHVNX":
        return symbol
    if symbol.upper() not in _MODIFIED:
        # Python shows the same warning once.
        warnings.warn(f"{source}: symbols of unknown bases are read as N", RnafmWarning, stacklevel=2)
    return _MODIFIED.get(symbol.upper(), "N")


def _record(
    identifier: str,
    letters: str,
    structure: str | Pairs | list[tuple[int, int]],
    *,
    source: str,
    line: int,
    description: str = "",
    family: str = "",
) -> StructureRecord:
    """A record with its letters cleaned and its structure (brackets, ``&`` between strands, or pairs) checked.

    Raises:
        InputError: naming file, line and record.
    """
    where = f"{source}:{line}: record '{identifier}'"
    if not letters:
        raise InputError(f"{where}: has no sequence")
    strands = letters.split("&")
    try:
        if isinstance(structure, str):
            if len(structure) != len(letters):
                raise InputError(f"sequence of {len(letters)}, structure of {len(structure)} symbols")
            if list(map(len, strands)) != list(map(len, structure.split("&"))):
                raise InputError("the strand breaks (&) of sequence and structure differ")
            if not all(strands):
                raise InputError("a strand break (&) with no base on one side")
            structure = from_dot_bracket(structure.replace("&", ""), unpaired=_UNPAIRED)
        return StructureRecord(
            identifier,
            rna_letters("".join(strands)),
            structure,  # type: ignore[arg-type]
            description,
            family,
            source,
            line,
            tuple(itertools.accumulate(map(len, strands[:-1]))),
        )
    except InputError as error:
        raise InputError(f"{where}: {error.message}", hint=error.hint) from error
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


@dataclass
class _Rows:
    """The rows of one RNA in CT or BPSEQ as they come in.

    Args:
        length: bases announced above the rows; None in BPSEQ.
    """

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
        self.letters.append(_base(cells[1], self.source))
        self.partners.append(int(cells[column]))
        self.lines.append(number)

    def record(self) -> StructureRecord:
        """The record.

        Raises:
            InputError: naming the line where the partner of a base lies outside, is the base itself, or does not
                point back.
        """
        pairs = []
        for base, (partner, line) in enumerate(zip(self.partners, self.lines, strict=True), start=1):
            where, count = f"{self.source}:{line}: base {base} pairs with", len(self.partners)
            if partner <= 0:
                continue
            if partner > count:
                raise InputError(f"{where} {partner}, there are {count} bases")
            if partner == base:
                raise InputError(f"{where} itself")
            if (back := self.partners[partner - 1]) != base:
                told = f"pairs with {back}" if back > 0 else "is unpaired"
                raise InputError(f"{where} {partner}, but base {partner} {told}")
            if base < partner:
                pairs.append((base - 1, partner - 1))
        letters = "".join(self.letters)
        return _record(self.name, letters, pairs, description=self.description, source=self.source, line=self.line)


_BPSEQ_ROW = re.compile(r"^\s*1\s+\S\s+-?\d+(\s|$)")
_CT_ROW = re.compile(r"^\s*1\s+\S\s+0\s+-?\d+\s+-?\d+(\s|$)")
OWN_MARK = "# rnafm "
"""What comes before id and description in a BPSEQ file that rnafm wrote."""
_ENERGY = re.compile(r"^(?:ENERGY|dG)\s*=\s*\S+\s*(?:\[\s*initially[^]]*\]\s*)?", re.IGNORECASE)
_UFOLD = re.compile(r"^>\s*seq length:\s*(\d+)\s*(?:seq name:\s*)?(.*)$", re.IGNORECASE)


def is_ct(lines: Iterable[str]) -> bool:
    """Whether a text has the first row of a CT record."""
    return any(_CT_ROW.match(line) for line in lines)


def is_bpseq(lines: Iterable[str]) -> bool:
    """Whether a text has the first row of a BPSEQ record."""
    return any(_BPSEQ_ROW.match(line) for line in lines)


def read_bpseq(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    """Yield the record of a BPSEQ text, or several where base 1 comes again.

    ``#`` lines and any header before base 1 are passed over, as are columns after the third.

    Raises:
        InputError: naming the line with a missing base or an impossible partner.
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
                yield rows.record()
            count += 1
            name, description = _titled(header)
            rows = _Rows(source, number, name or _numbered(stem, count), description)
            header = ""
        if rows:
            rows.take(text, number, 2, "BPSEQ lines read: index, base, partner (0: unpaired)")
    if rows:
        yield rows.record()


def read_ct(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    """Yield the records of a CT text, one after another.

    The last line above base 1 has the number of bases and the title; what stands above it (``Filename: ...``, as CRW
    and sfold write) is passed over. Neighbour columns and natural numbering are not looked at, so files that end with
    N+1 or lack the last column are fine, as are tabs, ``#`` comments, a missing title and UFold's header.

    Raises:
        InputError: naming the line with a wrong index, too few columns or an impossible partner.
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
            yield rows.record()
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


def is_structure(line: str) -> bool:
    """Whether a line is a structure, energies and remarks after it apart."""
    first = line.split(None, 1)[0]
    return not _BRACKETS.isdisjoint(first) or _UNPAIRED_ONLY.issuperset(first)


def is_dotbracket(lines: Sequence[str]) -> bool:
    """Whether a text is dot-bracket; a long wrapped sequence may fill its first lines, so a header is enough."""
    return lines[0].startswith(">") or any(_WHOLE_LINE.match(line) for line in lines)


def read_dotbracket(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    """Yield the records of a dot-bracket text.

    Headers may be missing, sequence and structure wrapped, and energies or remarks follow the structure. Unpaired
    bases may be WUSS symbols. Lines of ``#`` or ``;`` are comments; ``>structure`` may stand above the structure, as
    CONTRAfold and EternaFold write. Further structures of a record (RNAfold -p) are passed over; of those with
    energies, as RNAsubopt writes them, the lowest is taken. Strand breaks (``&``) become ``StructureRecord.breaks``.

    Args:
        reject: called with the error of a record that cannot be used; when it returns, the record is left out.

    Raises:
        InputError: for an unbalanced structure, one of another length than its sequence, or none.
    """
    draft: _Draft | None = None
    count = 0

    def finished() -> Iterator[StructureRecord]:
        if draft is not None:
            try:
                yield draft.record(source)
            except InputError as error:
                reject(error)

    for number, text in enumerate(lines, start=1):
        line = text.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == ">" and not (draft and draft.structure and draft.takes(line)):
            if draft and draft.letters and not draft.structure and line.lower() == ">structure":
                continue
            yield from finished()
            count += 1
            draft = _Draft(number, line[1:].strip(), f"seq{count}")
        elif draft and draft.letters and draft.takes(line):
            draft.add(line)
        elif draft and draft.complete and (is_structure(line) or text[0].isspace()):
            draft.compare(line)
        elif is_structure(line):
            reject(InputError(f"{source}:{number}: a structure without a sequence above it"))
        else:
            if draft is None or draft.structure:
                yield from finished()
                count += 1
                draft = _Draft(number, "", f"seq{count}")
            # RNAsubopt puts the lowest energy and the range after the sequence.
            draft.letters.append("".join(word for word in line.split() if _number(word) is None))
    yield from finished()


@dataclass
class _Draft:
    """A dot-bracket record whose lines are still being gathered."""

    line: int
    header: str
    default: str
    letters: list[str] = field(default_factory=list)
    structure: list[str] = field(default_factory=list)
    energy: float | None = None

    @property
    def missing(self) -> int:
        """Symbols by which the structure is shorter than the sequence."""
        return sum(map(len, self.letters)) - sum(map(len, self.structure))

    @property
    def complete(self) -> bool:
        return bool(self.letters) and not self.missing

    def takes(self, line: str) -> bool:
        """Whether a line is (the next part of) the structure."""
        if not self.structure:
            return is_structure(line)
        # A header after a short structure is a header; a wrapped structure may begin with '>', too.
        return self.missing > 0 and not (line[0] == ">" and any(x.isalnum() for x in line))

    def add(self, line: str) -> None:
        first, *rest = line.split()
        self.structure.append(first)
        self.energy = _number(rest[0]) if rest else None

    def compare(self, line: str) -> None:
        """Take a further structure instead if its energy is lower."""
        first, *rest = line.split()
        energy = _number(rest[0]) if rest else None
        if self.energy is not None and energy is not None and energy < self.energy:
            self.structure, self.energy = [first], energy

    def record(self, source: str) -> StructureRecord:
        # RNAstructure's ct2dot keeps the energy of a CT file's title.
        name, description = _titled(_ENERGY.sub("", self.header))
        name = name or self.default
        if self.letters and not self.structure:
            where = f"{source}:{self.line}: record '{name}'"
            raise InputError(f"{where}: has no structure", hint="a line of dots and brackets is expected")
        letters, structure = "".join(self.letters), "".join(self.structure)
        return _record(name, letters, structure, description=description, source=source, line=self.line)


_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?", re.IGNORECASE)


def _number(word: str) -> float | None:
    return float(word) if _NUMBER.fullmatch(word) else None


def read_st(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    """Yield the record of a bpRNA ``.st`` text: ``#`` lines, sequence, dot-bracket, annotation passed over.

    Raises:
        InputError: for an unbalanced structure or one of another length.
    """
    draft = _Draft(0, "", "seq1")
    for number, text in enumerate(lines, start=1):
        if text.startswith("#"):
            key, _, value = text[1:].partition(":")
            draft.header = value.strip() if key.strip().lower() == "name" else draft.header
        elif text.strip() and not draft.structure:
            draft.line = draft.line or number
            (draft.structure if draft.letters else draft.letters).append(text.strip())
    if draft.structure:
        yield draft.record(source)


def read_structure_table(
    lines: Iterable[str], source: str, reject: Reject = raise_rejected
) -> Iterator[StructureRecord]:
    """Yield the rows of a table with the columns sequence, structure (or pairs, dotbracket) and, if known, id, family.

    Args:
        reject: called with the error of a row that cannot be used; when it returns, the row is left out.

    Raises:
        InputError: for a missing column or a row of another width, or naming the line with a bad row.
    """
    for count, (number, row) in enumerate(table_rows(lines, source, ("sequence", "structure"), reject), start=1):
        family = row.get("family", "-")
        family = "" if family == "-" else family
        try:
            name = row.get("id") or f"seq{count}"
            record = _record(name, row["sequence"], row["structure"], family=family, source=source, line=number)
        except InputError as error:
            reject(error)
        else:
            yield record


def read_jsonl(lines: Iterable[str], source: str, reject: Reject = raise_rejected) -> Iterator[StructureRecord]:
    """Yield the records of JSON Lines: objects with ``sequence``, ``pairs`` (from 1) or ``structure``, and an ``id``.

    Raises:
        InputError: for a line that is no such object.
    """
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        where = f"{source}:{number}"
        try:
            row = json.loads(text)
            letters, pairs = row["sequence"], row.get("pairs")
            structure = row["structure"] if pairs is None else [(int(i) - 1, int(j) - 1) for i, j in pairs]
            name = str(row.get("id") or f"seq{number}")
            described = {"description": str(row.get("description") or ""), "family": str(row.get("family") or "")}
            record = _record(name, str(letters), structure, source=source, line=number, **described)
        except InputError as error:
            reject(error)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            told = "an object with 'sequence' and 'pairs' or 'structure' is expected on each line"
            reject(InputError(f"{where}: is no structure in JSON ({type(error).__name__}: {error})", hint=told))
        else:
            yield record


def read_stockholm_rows(
    lines: Iterable[str], source: str, reject: Reject = raise_rejected
) -> Iterator[StructureRecord]:
    """Yield each row of the alignments of a Stockholm text without its gaps, and the pairs of two bases that it has.

    Pairs are those of its own structure (``#=GR <row> SS``), else of the consensus.

    Raises:
        InputError: for a row without either, and what else is wrong with one.
    """
    for alignment in read_alignments(lines, source, reject):
        if "SS_cons" not in alignment.columns and not alignment.structures:
            reject(InputError(f"{alignment.where}: has no consensus structure", hint="a line '#=GC SS_cons' has it"))
            continue
        for name, row in zip(alignment.names, alignment.rows, strict=True):
            try:
                yield _stockholm_row(alignment, name, row)
            except InputError as error:
                reject(error)


def _stockholm_row(alignment: Alignment, name: str, row: str) -> StructureRecord:
    family = alignment.tags.get("AC", "").split(".")[0]
    structure = alignment.structures.get(name) or alignment.columns.get("SS_cons")
    if structure is None:
        raise InputError(
            f"{alignment.where}: row {name} has no structure", hint=f"a line '#=GR {name} SS' or '#=GC SS_cons' has it"
        )
    try:
        pairs = wuss_pairs(structure)
    except (InputError, ValueError) as error:
        raise InputError(f"{alignment.where}: structure of row {name}: {error}") from error
    is_base_C = np.frombuffer(row.encode(), dtype=np.uint8) != ord("-")
    own = np.cumsum(is_base_C)[pairs[is_base_C[pairs].all(axis=1)]] - 1
    return _record(name, row.replace("-", ""), own, family=family, source=alignment.source, line=alignment.line)
