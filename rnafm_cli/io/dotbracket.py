"""Dot-bracket files: header, sequence, structure; three lines per record when written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rnafm_cli.errors import InputError, Reject, raise_rejected
from rnafm_cli.io.assembly import plain_letters, structure_record
from rnafm_cli.rna.pseudoknots import from_dot_bracket, to_dot_bracket
from rnafm_cli.rna.records import StructureRecord

__all__ = ["format_dotbracket", "read_dotbracket", "read_st"]

_BRACKETS = set("()[]{}<>")
_UNPAIRED = "."
_LENIENT = ".:_-,~"
_UNPAIRED_ONLY = set(_LENIENT + "&|")


def format_dotbracket(record: StructureRecord, *, letters: bool = False) -> str:
    """The three lines that RNAeval, RNAplot, ``RNAfold -C`` and forgi read.

    Args:
        letters: write pseudoknot layers beyond the fourth as ``Aa``, ``Bb``; otherwise they become dots.
    """
    structure = to_dot_bracket(record.pairs, len(record), letters=letters)
    return f">{record.header}\n{plain_letters(record.sequence)}\n{structure}\n"


def read_dotbracket(
    lines: Iterable[str], source: str, *, lenient: bool = False, reject: Reject = raise_rejected
) -> Iterator[StructureRecord]:
    """Yield the records of a dot-bracket text.

    Headers may be missing, sequence and structure wrapped, and energies or remarks follow the structure.
    Lines of ``#`` or ``;`` are comments; further structures of a record (RNAfold -p) are passed over;
    strand breaks (``&``) are taken out.

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
        if [k for k, x in enumerate(letters) if x == "&"] != [k for k, x in enumerate(structure) if x == "&"]:
            raise InputError(f"{where}: the strand breaks (&) of sequence and structure differ")
        try:
            pairs = from_dot_bracket(structure.replace("&", ""), unpaired=_LENIENT if lenient else _UNPAIRED)
        except InputError as error:
            raise InputError(f"{where}: {error.message}", hint=error.hint) from error
        description = words[1] if len(words) > 1 else ""
        return structure_record(
            name, letters.replace("&", ""), pairs, description=description, source=source, line=self.line
        )

    def misfit(self, source: str) -> InputError:
        name = (self.header.split(None, 1) or [""])[0]
        return InputError(
            f"{source}:{self.line}: record '{name}': sequence of {self.length}, structure of {self.found} symbols"
        )


def _is_structure(line: str) -> bool:
    first = line.split(None, 1)[0]
    return not _BRACKETS.isdisjoint(first) or _UNPAIRED_ONLY.issuperset(first)
