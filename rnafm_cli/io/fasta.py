"""Sequences in and out: FASTA, or a table with a column of sequences; cleaned to upper-case RNA, every complaint with
file, line and record.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rnafm_cli.errors import InputError, Reject, raise_rejected
from rnafm_cli.io.streams import STDIO, input_name, open_text, text_blocks
from rnafm_cli.io.tables import cells_of, column_names, table_rows
from rnafm_cli.rna.alphabet import IUPAC_LETTERS
from rnafm_cli.rna.records import SequenceRecord

Records = str | Path | Iterable[SequenceRecord | str | tuple[str, str]]
"""A FASTA path or one bare sequence, or records, (id, sequence) tuples or bare sequences."""


_SPACE = " \t\r\n\v\f"
_GAPS = "-."
_FIRST_LINE = 1 << 16
"""Characters read to see whether an input is FASTA at all, before a line of any length is trusted."""

_CLEAN = str.maketrans(
    {letter.lower(): letter for letter in IUPAC_LETTERS} | {"T": "U", "t": "U"} | dict.fromkeys(_SPACE + _GAPS)
)
_LETTERS = str.maketrans(dict.fromkeys(IUPAC_LETTERS))
_ALLOWED = set(IUPAC_LETTERS + IUPAC_LETTERS.lower() + "Tt" + _SPACE + _GAPS)
_PROTEIN_ONLY = "EFILPQ"
_PROTEIN_SHARE = 0.1
"""Amino acids that are no nucleotide codes make up a third of most proteins; tRNA with I and P for modified
bases stays below this."""
_BRACKETS = set("()[]{}<>")
_CONVERT = "convert it first, e.g. with seqret of EMBOSS, or Biopython"
_OTHERS = {
    "LOCUS ": ("GenBank", _CONVERT),
    "ID   ": ("EMBL", _CONVERT),
    "CLUSTAL": ("a Clustal alignment", _CONVERT),
    "# STOCKHOLM": ("a Stockholm alignment", _CONVERT),
    "##gff": ("GFF", "it has places of sequences: give the sequences themselves"),
    "{": ("JSON", "give FASTA, or a table that names a column 'sequence'"),
    "[": ("JSON", "give FASTA, or a table that names a column 'sequence'"),
    "@HD\t": ("SAM", "convert it first, e.g. with samtools fasta"),
    "@SQ\t": ("SAM", "convert it first, e.g. with samtools fasta"),
    "@": ("FASTQ", "convert it first, e.g. with seqkit fq2fa"),
}
"""What files of other formats begin with."""
_TELLING = tuple(mark for mark in _OTHERS if mark[0] == "#")


@dataclass
class IntakeReport:
    """What reading changed or left out; the fields count records, ``gap_letters`` letters; ``tell`` gets warnings."""

    tell: Callable[[str], None] = field(default=lambda message: None, compare=False)
    records: int = 0
    t_to_u: int = 0
    lower: int = 0
    gapped: int = 0
    gap_letters: int = 0
    undecoded: int = 0

    def summary(self) -> str:
        """One line on the conversions, empty if every record was clean upper-case RNA."""
        parts = [
            f"T read as U in {self.t_to_u}" if self.t_to_u else "",
            f"lower case raised in {self.lower}" if self.lower else "",
            f"{self.gap_letters} gap{'s' * (self.gap_letters > 1)} removed from {self.gapped}" if self.gapped else "",
        ]
        told = ", ".join(filter(None, parts))
        return f"{self.records} record{'s' * (self.records != 1)} read: {told}" if told else ""


def read_fasta(
    paths: Sequence[str | Path] | str | Path = (STDIO,),
    *,
    reject: Reject = raise_rejected,
    report: IntakeReport | None = None,
) -> Iterator[SequenceRecord]:
    """Yield the records of FASTA inputs one by one, as upper-case RNA with the IUPAC letters kept.

    T becomes U, lower case upper case; white space goes silently, gaps (``-`` and ``.``) with one
    warning. Files may be compressed; ``-`` (or no path) is stdin. Memory holds one record. A table (TSV or CSV) with a
    column ``sequence`` is read as well; ids are in a column ``id``, or ``seq1``, ``seq2``, ...

    Args:
        paths: one input or several, read in turn; all are looked at before the first is read.
        reject: called with the error of a bad record, or of one of several inputs that is empty; when it returns,
            that is left out. An input that is unreadable, damaged or no FASTA raises in either case, after its
            complete records.
        report: filled while reading.

    Raises:
        InputError: naming file, line and record; also when there is no record at all.
    """
    sources = [paths] if isinstance(paths, str | Path) else list(paths) or [STDIO]
    report = report or IntakeReport()
    for source in sources:
        _check_readable(source)
    for source in sources:
        empty = True
        for raw in _raw_records(source):
            empty = False
            try:
                record = _clean(raw, report)
            except InputError as error:
                reject(error)
            else:
                report.records += 1
                yield record
        if empty:
            nothing = InputError(f"{input_name(source)}: is empty", hint="FASTA records are expected")
            if len(sources) == 1:
                raise nothing
            reject(nothing)


def count_records(paths: Iterable[str | Path], *, patience: float = 2.0) -> int | None:
    """How many headers FASTA files have; None for what can be read only once, is no FASTA or cannot be read, or if
    counting takes longer than ``patience`` seconds.
    """
    total, until = 0, time.monotonic() + patience
    for path in paths:
        if str(path) == STDIO or not os.path.isfile(path):
            return None
        try:
            with open(path, "rb") as raw:
                before, last = total, b"\n"
                for block in text_blocks(raw, str(path)):
                    total += (last + block).replace(b"\r", b"\n").count(b"\n>")
                    last = block[-1:]
                    if total == before or time.monotonic() > until:
                        return None
        except (InputError, OSError):
            return None
    return total


def as_records(source: Records, *, reject: Reject = raise_rejected) -> Iterator[SequenceRecord]:
    """Clean records from any of the accepted forms; a text of nothing but bases is a sequence, not a path.

    Args:
        reject: called with the error of a sequence that cannot be used; when it returns, that one is left out.

    Raises:
        InputError: for unreadable files, and what ``reject`` raises.
    """
    if isinstance(source, str) and set(source) <= _ALLOWED - set(".") and not (source and Path(source).exists()):
        source = [source]
    if isinstance(source, str | Path):
        yield from read_fasta([source], reject=reject)
        return
    for number, item in enumerate(source, start=1):
        if isinstance(item, SequenceRecord):
            yield item
            continue
        name, sequence = item if isinstance(item, tuple) else (f"seq{number}", item)
        try:
            if not isinstance(sequence, str):
                raise InputError(f"record '{name}': {sequence!r} is no sequence", hint="a missing value?")
            yield _clean(_Raw(str(name), [sequence]), IntakeReport())
        except InputError as error:
            reject(error)


@dataclass(slots=True)
class _Raw:
    """A record as it stands in its source; the sequence begins so many lines below the header's."""

    header: str
    lines: list[str]
    source: str = ""
    line: int = 0
    below: int = 1

    @property
    def name(self) -> str:
        return next(iter(self.header.split(None, 1)), "")

    @property
    def where(self) -> str:
        place = f"{self.source}:{self.line}: " if self.source else ""
        return f"{place}record '{self.name}'"


def _check_readable(source: str | Path) -> None:
    """Complain about a path now rather than when its turn comes, hours later."""
    # Only hopeless paths are opened here: opening and closing a named pipe would empty it.
    if str(source) != STDIO and (os.path.isdir(source) or not os.access(source, os.R_OK)):
        open_text(source).close()


def _raw_records(source: str | Path) -> Iterator[_Raw]:
    """Headers with their sequence lines; blank and ``;`` lines count but carry nothing."""
    name, number = input_name(source), 0
    with open_text(source) as handle:
        first = handle.readline(_FIRST_LINE)
        while first and not first.strip() or first.startswith((";", "#")) and not first.startswith(_TELLING):
            number += first.endswith("\n")
            first = handle.readline(_FIRST_LINE)
        if not first:
            return
        if not first.startswith(">"):
            if "sequence" not in column_names(next(cells_of([first]), (0, []))[1]):
                raise _no_fasta(first, f"{name}:{number + 1}")
            rows = table_rows(itertools.chain([first], handle), name, ("sequence",))
            for count, (below, row) in enumerate(rows, start=1):
                yield _Raw(row.get("id") or f"seq{count}", [row["sequence"]], name, number + below, below=0)
            return
        while not first.endswith("\n") and (more := handle.readline(_FIRST_LINE)):
            first += more
        number += 1
        raw = _Raw(first[1:].strip(), [], name, number)
        try:
            for line in handle:
                number += 1
                # Files with byte-order marks were joined.
                line = line.lstrip("\ufeff") or "\n"
                if line[0] == ">":
                    yield raw
                    raw = _Raw(line[1:].strip(), [], name, number)
                else:
                    raw.lines.append(line if line[0] != ";" else "\n")
        except InputError as error:
            error.message += f"; reading stopped in the record '{raw.name}' of line {raw.line}"
            raise
    yield raw


def _no_fasta(line: str, where: str) -> InputError:
    """The error for a first line that begins neither FASTA nor a table of sequences."""
    if _is_junk(line):
        return InputError(f"{where}: holds binary data, not FASTA text")
    for mark, (kind, hint) in _OTHERS.items():
        if line.startswith(mark):
            return InputError(f"{where}: looks like {kind}, not FASTA", hint=hint)
    if set(line) <= _ALLOWED:
        hint = "put a line such as '>name' above each sequence"
        return InputError(f"{where}: a sequence without a FASTA header", hint=hint)
    return InputError(f"{where}: is not FASTA", hint="FASTA starts with '>', a table names a column 'sequence'")


def _is_junk(text: str) -> bool:
    """Whether text has control characters or bytes that were no UTF-8, as decoded binary data do."""
    return any((letter < " " and letter not in _SPACE) or letter in "\x7f\ufffd" for letter in text)


def _clean(raw: _Raw, report: IntakeReport) -> SequenceRecord:
    name, description = (*raw.header.split(None, 1), "", "")[:2]
    text = "".join(raw.lines)
    sequence = text.translate(_CLEAN)
    if sequence.translate(_LETTERS):
        raise _foreign_letter(raw)
    if not name:
        raise InputError(f"{raw.where}: the header has no name", hint="write '>name' above each sequence")
    if "\ufffd" in raw.header:
        if not report.undecoded:
            report.tell(
                f"{raw.where}: the header is not UTF-8: what it is not is U+FFFD, here and in all later records"
            )
        report.undecoded += 1
    gaps = text.count("-") + text.count(".")
    if not sequence:
        raise InputError(f"{raw.where}: has {'only gaps' if gaps else 'no sequence'}")
    if gaps:
        if not report.gapped:
            report.tell(f"{raw.where}: gaps ('-' and '.') are removed, here and in all later records")
        report.gapped += 1
        report.gap_letters += gaps
    report.t_to_u += "T" in text or "t" in text
    report.lower += not text.isupper()
    return SequenceRecord(name, sequence, description, raw.source, raw.line)


def _foreign_letter(raw: _Raw) -> InputError:
    """The error for the first letter that is no nucleotide, with its line and column (1-based)."""
    row, column, letter = next(
        (row, column, letter)
        for row, line in enumerate(raw.lines)
        for column, letter in enumerate(line)
        if letter not in _ALLOWED
    )
    text = "".join(raw.lines)
    place = f"{raw.source}:{raw.line + raw.below + row}: " if raw.source else ""
    where = f"{place}record '{raw.name}', column {column + 1}"
    if _is_junk(letter):
        return InputError(f"{where}: binary data in a sequence")
    if letter == "&":
        return InputError(
            f"{where}: '&' joins two strands, and complexes are not folded",
            hint="give each strand as a record of its own; RNAcofold folds dimers",
        )
    if letter in _BRACKETS:
        return InputError(f"{where}: '{letter}' in a sequence", hint="a structure line? give sequences alone, as FASTA")
    if sum(map(text.upper().count, _PROTEIN_ONLY)) >= _PROTEIN_SHARE * len(text):
        return InputError(
            f"{where}: '{letter}': this looks like a protein",
            hint="RNA or DNA is expected: give the transcript or the coding sequence instead",
        )
    shown = f"'{letter}'" if letter.isascii() else f"'{letter}' (U+{ord(letter):04X})"
    numbered = "write sequences without position numbers"
    hint = numbered if letter.isdigit() else "write N for an unknown or modified base"
    return InputError(f"{where}: {shown} is not a nucleotide", hint=hint)
