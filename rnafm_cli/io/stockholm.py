"""Stockholm alignments: many families a file, as Rfam distributes them, with the consensus structure in WUSS."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

from rnafm_cli.errors import InputError, Reject, raise_rejected
from rnafm_cli.io.streams import input_name, open_text
from rnafm_cli.rna.pairs import Pairs, bracketed, from_dot_bracket

_GAPS = "-._~"
_MEND = "mend it, or go on without it by --on-error skip"
_TO_RNA = str.maketrans("Tt._~", "UU---")
_UNPAIRED = str.maketrans(",_-:~", ".....")
_FOREIGN = {letter for letter in map(chr, range(128)) if not letter.isalpha() and letter not in _GAPS}


@dataclass(frozen=True)
class Alignment:
    """One alignment of C columns.

    Args:
        names: of the rows.
        rows: aligned letters, upper-case RNA, ``-`` for every kind of gap.
        tags: ``#=GF`` lines by tag; repeated ones joined by a space.
        columns: ``#=GC`` lines by tag, such as ``SS_cons`` and ``RF``.
        structures: ``#=GR`` lines ``SS`` by row, for rows with a structure of their own.
        source, line: where it begins.
    """

    names: list[str]
    rows: list[str]
    tags: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    structures: dict[str, str] = field(default_factory=dict)
    source: str = ""
    line: int = 0

    @property
    def accession(self) -> str:
        """The accession without its version, else the name, else ``-``."""
        return self.tags.get("AC", "").split(".")[0] or self.tags.get("ID", "") or "-"

    @property
    def where(self) -> str:
        """File, line and family, for messages."""
        return f"{self.source}:{self.line}: family {self.accession}"

    @property
    def pairs(self) -> Pairs:
        """Consensus pairs by column, (n, 2), 0-based; none without ``SS_cons``.

        Raises:
            InputError: when the brackets do not match.
        """
        try:
            return wuss_pairs(self.columns.get("SS_cons", ""))
        except InputError as error:
            raise InputError(f"{self.where}: SS_cons: {error}", hint=_MEND) from error


def wuss_pairs(text: str) -> Pairs:
    """Pairs of a structure line in WUSS notation: ``<>()[]{}`` nest, letters ``Aa Bb`` are pseudoknots.

    Raises:
        InputError: when brackets do not match, naming the column.
    """
    return from_dot_bracket(text.translate(_UNPAIRED))


def wuss(pairs: Pairs, length: int) -> str:
    """The structure line of pairs: ``<>`` for nested ones, ``Aa``, ``Bb``, ... for layers of pseudoknots."""
    return bracketed(pairs, length, "<" + ascii_uppercase, ">" + ascii_lowercase)


def format_stockholm(alignment: Alignment) -> str:
    """An alignment as text, a row a line; rows are written as they are, lower-case insertions and all."""
    columns = {f"#=GC {tag}": text for tag, text in alignment.columns.items()}
    width = max(map(len, [*alignment.names, *columns]))
    lines = ["# STOCKHOLM 1.0", *(f"#=GF {tag} {text}" for tag, text in alignment.tags.items() if text), ""]
    lines += [f"{name:<{width}} {row}" for name, row in zip(alignment.names, alignment.rows, strict=True)]
    lines += [f"{tag:<{width}} {text}" for tag, text in columns.items()]
    return "\n".join([*lines, "//"]) + "\n"


def read_stockholm(source: str | Path, reject: Reject = raise_rejected) -> Iterator[Alignment]:
    """Alignments of a Stockholm file (plain or compressed, ``-`` is stdin), as :func:`read_alignments` reads them."""
    with open_text(source) as handle:
        yield from read_alignments(handle, input_name(source), reject)


def read_alignments(lines: Iterable[str], name: str, reject: Reject = raise_rejected) -> Iterator[Alignment]:
    """Alignments of a Stockholm text, in blocks or one line a row.

    Args:
        reject: called with the error of an alignment that cannot be used; the next one is read.

    Raises:
        InputError: for a text that holds no alignment at all, and what ``reject`` raises.
    """
    found = 0
    for gathered in _lines_of_alignments(lines):
        (number, first), *_ = gathered.items()
        if not found and not first.startswith(("# STOCKHOLM", "#=G")):
            what = "is FASTA" if first.startswith(">") else f"begins with '{first[:30]}'"
            raise InputError(
                f"{name}:{number}: this {what}, not a Stockholm alignment",
                hint="the first line of such a file is '# STOCKHOLM 1.0'",
            )
        found += 1
        try:
            yield _alignment(gathered, name)
        except InputError as error:
            reject(error)
    if not found:
        raise InputError(f"{name}: holds no alignment", hint="give a Stockholm file, as Rfam's Rfam.seed.gz")


def _lines_of_alignments(lines: Iterable[str]) -> Iterator[dict[int, str]]:
    """The lines of each alignment by number (from 1), its end ``//`` included; blank ones are left out."""
    gathered: dict[int, str] = {}
    for number, raw in enumerate(lines, start=1):
        if line := raw.rstrip():
            gathered[number] = line
        if line == "//":
            yield gathered
            gathered = {}
    if gathered:
        yield gathered


def _alignment(lines: Mapping[int, str], source: str) -> Alignment:
    """The alignment of some lines.

    Raises:
        InputError: for the first fault.
    """
    tags, rows, columns, structures = (defaultdict[str, list[str]](list) for _ in range(4))
    faults: dict[int, str] = {}
    for number, line in lines.items():
        parts = line.split(None, 2)
        if line.startswith("#=GF") and len(parts) == 3:
            tags[parts[1]].append(parts[2])
        elif line.startswith("#=GC") and len(parts) == 3:
            columns[parts[1]].append(parts[2])
        elif line.startswith("#=GR") and len(cells := line.split()) == 4 and cells[2] == "SS":
            structures[cells[1]].append(cells[3])
        elif line[0] != "#" and line != "//":
            if len(parts) != 2:
                faults[number] = f"'{line[:40]}' is no row of name and aligned sequence"
                continue
            rows[parts[0]].append(parts[1])
            foreign = next((letter for letter in parts[1] if letter in _FOREIGN or ord(letter) > 127), None)
            if foreign is not None:
                faults[number] = f"row {parts[0]} holds '{foreign}'"
    whole = {name: "".join(parts) for name, parts in rows.items()}
    letters = [row.translate(_TO_RNA).upper() for row in whole.values()]
    found = Alignment(
        list(whole),
        letters,
        {tag: " ".join(parts) for tag, parts in tags.items()},
        {tag: "".join(parts) for tag, parts in columns.items()},
        {name: "".join(parts) for name, parts in structures.items()},
        source,
        min(lines),
    )
    if "//" not in lines.values():
        raise InputError(f"{found.where}: ends without '//'", hint="the file may be cut short; get it again")
    if faults:
        number, problem = next(iter(faults.items()))
        raise InputError(f"{replace(found, line=number).where}: {problem}", hint=_MEND)
    if not whole:
        raise InputError(f"{found.where}: has no rows", hint=_MEND)
    width = len(letters[0])
    for kind, texts in (("row", whole), ("#=GC", found.columns), ("#=GR SS of", found.structures)):
        for name, text in texts.items():
            if len(text) != width:
                problem = f"{kind} {name} has {len(text)} columns and the first row {width}"
                raise InputError(f"{found.where}: {problem}", hint=_MEND)
    _ = found.pairs
    return found
