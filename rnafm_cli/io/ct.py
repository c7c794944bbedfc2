"""Connectivity tables (CT) of RNAstructure, mfold and their imitators."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rnafm_cli.errors import InputError
from rnafm_cli.io.assembly import pairs_of_partners, plain_letters, structure_record
from rnafm_cli.io.names import source_stem
from rnafm_cli.rna.pairs import pairs_to_partners
from rnafm_cli.rna.records import StructureRecord

__all__ = ["format_ct", "read_ct"]

_ENERGY = re.compile(r"^(?:ENERGY|dG)\s*=\s*\S+\s*", re.IGNORECASE)
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
    draft: _Draft | None = None
    count = 0
    for number, text in enumerate(lines, start=1):
        line = text.strip()
        if not line or line[0] == "#":
            continue
        if draft is None:
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
class _Draft:
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
        self.letters.append(cells[1])
        self.partners.append(int(cells[4]))
        self.lines.append(number)

    def record(self, source: str) -> StructureRecord:
        pairs = pairs_of_partners(self.partners, self.lines, source)
        letters = "".join(self.letters)
        return structure_record(self.name, letters, pairs, description=self.description, source=source, line=self.line)


def _header(line: str, number: int, source: str, count: int) -> _Draft:
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
    return _Draft(number, int(length), name, words[1] if len(words) > 1 else "")
