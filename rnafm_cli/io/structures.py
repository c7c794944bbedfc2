"""Secondary structures in files: the formats, and a reader that tells them apart by content."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rnafm_cli.errors import InputError, Reject, RnafmWarning, UsageError, raise_rejected
from rnafm_cli.io.names import PACKED, source_stem
from rnafm_cli.io.streams import STDIO, input_name, open_text
from rnafm_cli.rna.pairs import Pairs, pairs_to_partners
from rnafm_cli.rna.pseudoknots import from_dot_bracket, to_dot_bracket
from rnafm_cli.rna.records import StructureRecord

__all__ = [
    "FIRST_ROW",
    "STRUCTURE_FORMATS",
    "StructureFormat",
    "TSV_COLUMNS",
    "format_bpseq",
    "format_ct",
    "format_dotbracket",
    "format_tsv",
    "pairs_of_partners",
    "plain_letters",
    "read_bpseq",
    "read_ct",
    "read_dotbracket",
    "read_st",
    "read_structures",
    "read_tsv",
    "rna_letters",
    "sniff",
    "structure_record",
]


_TO_RNA = str.maketrans("Tt", "UU")
_KEPT = set("ACGURYKMSWBDHVN")
_SURE = set("ACGU")


_MODIFIED = {
    "P": "U",
    "I": "G",
    "7": "G",
    "L": "G",
    "#": "G",
    "=": "A",
    '"': "A",
    "+": "A",
    "!": "U",
    "4": "U",
    "J": "U",
}
"""One-letter codes of modified bases by their parents (Sprinzl's and Modomics'): pseudouridine, inosine, m7G ..."""


def _base(symbol: str, source: str) -> str:
    """The letter of a base in CT and BPSEQ, where a symbol may be a modified or an unknown one: its parent, else N."""
    if symbol.isalpha() and symbol.upper() in "ACGUTRYKMSWBDHVNX":
        return symbol
    if symbol.upper() not in _MODIFIED:
        # Python shows the same warning once.
        warnings.warn(f"{source}: symbols of unknown bases are read as N", RnafmWarning, stacklevel=2)
    return _MODIFIED.get(symbol.upper(), "N")


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
        raise ValueError(f"'{foreign}' is not a base")
    return sequence if set(sequence) <= _KEPT else "".join(x if x in _KEPT else "N" for x in sequence)


def plain_letters(sequence: str) -> str:
    """A sequence for programs that know A, C, G, U and N: every ambiguity code becomes N."""
    return sequence if set(sequence) <= _SURE else "".join(x if x in _SURE else "N" for x in sequence)


def pairs_of_partners(partners: Sequence[int], lines: Sequence[int], source: str) -> list[tuple[int, int]]:
    """Pairs (0-based) from the 1-based partner column of CT or BPSEQ rows, 0 or less for unpaired.

    Args:
        partners: entry k is the partner of base k + 1.
        lines: the line number of each row, for messages.

    Raises:
        InputError: when a partner lies outside, is the base itself, or does not point back.
    """
    pairs = []
    for base, (partner, line) in enumerate(zip(partners, lines, strict=True), start=1):
        if partner <= 0:
            continue
        if partner > len(partners):
            raise InputError(f"{source}:{line}: base {base} pairs with {partner}, there are {len(partners)} bases")
        if partner == base:
            raise InputError(f"{source}:{line}: base {base} pairs with itself")
        if partners[partner - 1] != base:
            back = max(partners[partner - 1], 0)
            told = f"base {partner} pairs with {back}" if back else f"base {partner} is unpaired"
            raise InputError(f"{source}:{line}: base {base} pairs with {partner}, but {told}")
        if base < partner:
            pairs.append((base - 1, partner - 1))
    return pairs


def structure_record(
    identifier: str,
    letters: str,
    pairs: Pairs | list[tuple[int, int]],
    *,
    description: str = "",
    family: str = "",
    source: str = "",
    line: int = 0,
    breaks: tuple[int, ...] = (),
) -> StructureRecord:
    """A record with its letters cleaned and its pairs checked.

    Raises:
        InputError: naming file, line and record.
    """
    where = f"{source}:{line}: record '{identifier}'"
    if not letters:
        raise InputError(f"{where}: has no sequence")
    try:
        return StructureRecord(
            identifier,
            rna_letters(letters),
            pairs,  # type: ignore[arg-type]
            description,
            family,
            source,
            line,
            breaks,
        )
    except (InputError, ValueError) as error:
        raise InputError(f"{where}: {error}") from error


FIRST_ROW = re.compile(r"^\s*1\s+\S\s+-?\d+(\s|$)")
"""Where the rows start, after whatever header there is."""

_MARK = "# rnafm "


def format_bpseq(record: StructureRecord) -> str:
    """A comment with id and description, then ``i base j`` per base; bases count from 1, 0 is unpaired."""
    partners = pairs_to_partners(record.pairs, len(record)) + 1
    letters = plain_letters(record.sequence)
    rows = [f"{i} {base} {j}" for i, (base, j) in enumerate(zip(letters, partners.tolist(), strict=True), start=1)]
    return "\n".join([_MARK + record.header, *rows]) + "\n"


def read_bpseq(lines: Iterable[str], source: str) -> Iterator[StructureRecord]:
    """Yield the record of a BPSEQ text, or several where base 1 comes again.

    ``#`` lines and any header before base 1 are passed over, as are columns after the third.

    Raises:
        InputError: naming the line with a missing base or an impossible partner.
    """
    stem = source_stem(source)
    header, next_header, count = "", "", 0
    rows: list[tuple[int, str, int]] = []
    for number, text in enumerate(lines, start=1):
        if text.startswith(_MARK):
            next_header = text[len(_MARK) :].strip()
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        if FIRST_ROW.match(text):
            if rows:
                count += 1
                yield _record(rows, header, stem, count, source)
            header, next_header, rows = next_header, "", []
        elif not rows:
            continue
        rows.append(_row(text, number, len(rows) + 1, source))
    if rows:
        yield _record(rows, header, stem, count + 1, source)


def _row(text: str, number: int, expected: int, source: str) -> tuple[int, str, int]:
    cells = text.split()
    if len(cells) < 3 or not cells[0].isdigit() or not cells[2].lstrip("-").isdigit() or len(cells[1]) != 1:
        hint = "BPSEQ lines read: index, base, partner (0: unpaired)"
        raise InputError(f"{source}:{number}: base {expected} is expected here", hint=hint)
    if int(cells[0]) != expected:
        raise InputError(f"{source}:{number}: index {cells[0]} where {expected} is expected")
    return number, _base(cells[1], source), int(cells[2])


def _record(rows: list[tuple[int, str, int]], header: str, stem: str, count: int, source: str) -> StructureRecord:
    lines, letters, partners = zip(*rows, strict=True)
    words = header.split(None, 1)
    return structure_record(
        words[0] if words else stem if count == 1 else f"{stem}_{count}",
        "".join(letters),
        pairs_of_partners(partners, lines, source),
        description=words[1] if len(words) > 1 else "",
        source=source,
        line=lines[0],
    )


_ENERGY = re.compile(r"^(?:ENERGY|dG)\s*=\s*\S+\s*(?:\[\s*initially[^]]*\]\s*)?", re.IGNORECASE)
_PREAMBLE = re.compile(r"^[A-Za-z][\w ]*:")
"""Lines such as ``Filename: ...`` above the header, as CRW and sfold write them."""
_UFOLD = re.compile(r"^>\s*seq length:\s*(\d+)\s*(?:seq name:\s*)?(.*)$", re.IGNORECASE)


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


def read_ct(lines: Iterable[str], source: str) -> Iterator[StructureRecord]:
    """Yield the records of a CT text, one after another.

    Neighbour columns and natural numbering are not looked at, so files that end with N+1 or lack the
    last column are fine, as are tabs, ``#`` comments, blank lines, a missing title and UFold's header.

    Raises:
        InputError: naming the line with a wrong index, too few columns or an impossible partner.
    """
    draft: _CtDraft | None = None
    count = 0
    for number, text in enumerate(lines, start=1):
        line = text.strip()
        if not line or line[0] == "#":
            continue
        if draft is None:
            if not count and _PREAMBLE.match(line):
                continue
            count += 1
            draft = _header(line, number, source, count)
        else:
            draft.take(line, number, source)
        if len(draft.partners) == draft.length:
            yield draft.record(source)
            draft = None
    if draft:
        raise InputError(f"{source}:{draft.line}: {draft.length} bases announced, {len(draft.partners)} found")


@dataclass
class _CtDraft:
    line: int
    length: int
    name: str
    description: str
    letters: list[str] = field(default_factory=list)
    partners: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def take(self, line: str, number: int, source: str) -> None:
        cells = line.split()
        expected = len(self.partners) + 1
        if len(cells) < 5 or not cells[0].isdigit() or not cells[4].lstrip("-").isdigit():
            raise InputError(
                f"{source}:{number}: base {expected} of {self.length} is expected here",
                hint="CT lines read: index, base, index - 1, index + 1, partner, number",
            )
        if int(cells[0]) != expected:
            raise InputError(f"{source}:{number}: index {cells[0]} where {expected} is expected")
        if len(cells[1]) != 1:
            raise InputError(f"{source}:{number}: '{cells[1]}' is not a base")
        self.letters.append(_base(cells[1], source))
        self.partners.append(int(cells[4]))
        self.lines.append(number)

    def record(self, source: str) -> StructureRecord:
        pairs = pairs_of_partners(self.partners, self.lines, source)
        letters = "".join(self.letters)
        return structure_record(self.name, letters, pairs, description=self.description, source=source, line=self.line)


def _header(line: str, number: int, source: str, count: int) -> _CtDraft:
    if match := _UFOLD.match(line):
        length, title = match.groups()
    else:
        length, title = (*line.split(None, 1), "")[:2]
    if not length.isdigit() or not int(length):
        raise InputError(
            f"{source}:{number}: the number of bases is expected here", hint="CT records start with a line 'N title'"
        )
    words = _ENERGY.sub("", title.strip()).split(None, 1)
    stem = source_stem(source)
    name = words[0] if words else stem if count == 1 else f"{stem}_{count}"
    return _CtDraft(number, int(length), name, words[1] if len(words) > 1 else "")


_BRACKETS = set("()[]{}<>")
_UNPAIRED = "."
_LENIENT = ".:_-,~"
_UNPAIRED_ONLY = set(_LENIENT + "&|")


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


def read_dotbracket(
    lines: Iterable[str], source: str, *, lenient: bool = False, reject: Reject = raise_rejected
) -> Iterator[StructureRecord]:
    """Yield the records of a dot-bracket text.

    Headers may be missing, sequence and structure wrapped, and energies or remarks follow the structure.
    Lines of ``#`` or ``;`` are comments; further structures of a record (RNAfold -p) are passed over;
    strand breaks (``&``) become :attr:`StructureRecord.breaks`.

    Args:
        lenient: take ``:``, ``_``, ``-``, ``,`` and ``~`` for unpaired, as in WUSS text.
        reject: called with the error of a record that cannot be used; when it returns, the record is left out.

    Raises:
        InputError: for an unbalanced structure, one of another length than its sequence, or none.
    """
    draft: _Draft | None = None
    count = 0
    for number, text in enumerate(lines, start=1):
        line = text.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == ">" and not (draft and draft.structure and draft.takes(line)):
            if draft:
                yield from draft.records(source, count, lenient, reject)
            count += 1
            draft = _Draft(number, line[1:].strip())
        elif draft and draft.letters and draft.takes(line):
            draft.structure.append(line.split(None, 1)[0])
        elif draft and draft.complete and (_is_structure(line) or text[0].isspace()):
            continue
        elif _is_structure(line):
            reject(InputError(f"{source}:{number}: a structure without a sequence above it"))
        else:
            if draft and draft.structure:
                yield from draft.records(source, count, lenient, reject)
                draft = None
            if draft is None:
                count += 1
                draft = _Draft(number, "")
            draft.letters.append("".join(line.split()))
    if draft:
        yield from draft.records(source, count, lenient, reject)


def read_st(lines: Iterable[str], source: str) -> Iterator[StructureRecord]:
    """Yield the record of a bpRNA ``.st`` text: ``#`` lines, sequence, dot-bracket, annotation passed over.

    Raises:
        InputError: for an unbalanced structure or one of another length.
    """
    name, content, start = "", list[str](), 0
    for number, text in enumerate(lines, start=1):
        if text.startswith("#"):
            key, _, value = text[1:].partition(":")
            name = value.strip() if key.strip().lower() == "name" else name
        elif text.strip() and len(content) < 2:
            content.append(text.strip())
            start = start or number
    if len(content) == 2:
        yield _Draft(start, name, [content[0]], [content[1]]).record(source, 1, lenient=False)


@dataclass
class _Draft:
    """A record whose lines are still being gathered."""

    line: int
    header: str
    letters: list[str] = field(default_factory=list)
    structure: list[str] = field(default_factory=list)

    @property
    def length(self) -> int:
        return sum(map(len, self.letters))

    @property
    def found(self) -> int:
        return sum(map(len, self.structure))

    @property
    def complete(self) -> bool:
        return bool(self.letters) and self.found == self.length

    def takes(self, line: str) -> bool:
        """Whether a line is (the next part of) the structure."""
        if not self.structure:
            return _is_structure(line)
        # A header after a short structure is a header; a wrapped structure may begin with '>', too.
        return self.found < self.length and not (line[0] == ">" and any(x.isalnum() for x in line))

    def records(self, source: str, count: int, lenient: bool, reject: Reject) -> Iterator[StructureRecord]:
        """The record, or none if it is rejected."""
        try:
            record = self.record(source, count, lenient)
        except InputError as error:
            reject(error)
        else:
            yield record

    def record(self, source: str, count: int, lenient: bool) -> StructureRecord:
        words = self.header.split(None, 1)
        name = words[0] if words else f"seq{count}"
        letters, structure = "".join(self.letters), "".join(self.structure)
        where = f"{source}:{self.line}: record '{name}'"
        if not letters:
            raise InputError(f"{where}: has no sequence")
        if not structure:
            raise InputError(f"{where}: has no structure", hint="a line of dots and brackets is expected")
        if len(letters) != len(structure):
            raise self.misfit(source)
        strands = letters.split("&")
        if list(map(len, strands)) != list(map(len, structure.split("&"))):
            raise InputError(f"{where}: the strand breaks (&) of sequence and structure differ")
        try:
            pairs = from_dot_bracket(structure.replace("&", ""), unpaired=_LENIENT if lenient else _UNPAIRED)
        except InputError as error:
            raise InputError(f"{where}: {error.message}", hint=error.hint) from error
        description = words[1] if len(words) > 1 else ""
        if not all(strands):
            raise InputError(f"{where}: a strand break (&) with no base on one side")
        return structure_record(
            name,
            "".join(strands),
            pairs,
            description=description,
            source=source,
            line=self.line,
            breaks=tuple(itertools.accumulate(map(len, strands[:-1]))),
        )

    def misfit(self, source: str) -> InputError:
        name = (self.header.split(None, 1) or [""])[0]
        return InputError(
            f"{source}:{self.line}: record '{name}': sequence of {self.length}, structure of {self.found} symbols"
        )


def _is_structure(line: str) -> bool:
    first = line.split(None, 1)[0]
    return not _BRACKETS.isdisjoint(first) or _UNPAIRED_ONLY.issuperset(first)


Formatter = Callable[[StructureRecord], str]

TSV_COLUMNS = ("name", "family", "sequence", "pairs")
_HEAD_LINES = 100
_CT_ROW = re.compile(r"^\s*1\s+\S\s+0\s+-?\d+\s+-?\d+(\s|$)")
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
        for path in folder.rglob("*")
        if path.is_file()
        and not path.name.startswith(".")
        and (path.with_suffix("") if path.suffix in PACKED else path).suffix in known
    )
