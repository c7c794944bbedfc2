"""BPSEQ files: one line ``i base j`` per base, as the Comparative RNA Web Site has them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rnafm_cli.errors import InputError
from rnafm_cli.io.assembly import pairs_of_partners, plain_letters, structure_record
from rnafm_cli.io.names import source_stem
from rnafm_cli.rna.pairs import pairs_to_partners
from rnafm_cli.rna.records import StructureRecord

__all__ = ["FIRST_ROW", "format_bpseq", "read_bpseq"]

FIRST_ROW = re.compile(r"^\s*1\s+[A-Za-z]\s+-?\d+(\s|$)")
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
    return number, cells[1], int(cells[2])


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
