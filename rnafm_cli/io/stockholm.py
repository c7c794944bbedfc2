"""Stockholm alignments: many families a file, as Rfam distributes them, with the consensus structure in WUSS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

from rnafm_cli.errors import InputError, Reject, raise_rejected
from rnafm_cli.io.streams import input_name, open_text
from rnafm_cli.rna.pairs import Pairs, from_dot_bracket, layers

GAPS = "-._~"
_MEND = "mend it, or go on without it by --on-error skip"
_TO_RNA = str.maketrans("Tt._~", "UU---")
_UNPAIRED = str.maketrans(",_-:~", ".....")
_FOREIGN = {letter for letter in map(chr, range(128)) if not letter.isalpha() and letter not in GAPS}


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
        except (InputError, ValueError) as error:
            raise InputError(f"{self.where}: SS_cons: {error}", hint=_MEND) from error


def wuss_pairs(text: str) -> Pairs:
    """Pairs of a structure line in WUSS notation: ``<>()[]{}`` nest, letters ``Aa Bb`` are pseudoknots.

    Raises:
        InputError: when brackets do not match, naming the column.
    """
    return from_dot_bracket(text.translate(_UNPAIRED))


def wuss(pairs: Pairs, length: int) -> str:
    """The structure line of pairs: ``<>`` for nested ones, ``Aa``, ``Bb``, ... for layers of pseudoknots."""
    text = ["."] * length
    for opening, closing, layer in zip("<" + ascii_uppercase, ">" + ascii_lowercase, layers(pairs), strict=False):
        for i, j in layer.tolist():
            text[i], text[j] = opening, closing
    return "".join(text)


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
    draft: _Draft | None = None
    found = 0
    for number, raw in enumerate(lines, start=1):
        line = raw.rstrip()
        if draft is None and line:
            if not line.startswith(("# STOCKHOLM", "#=G")) and found == 0:
                raise InputError(
                    f"{name}:{number}: {_what(line)}, not a Stockholm alignment",
                    hint="the first line of such a file is '# STOCKHOLM 1.0'",
                )
            draft = _Draft(name, number)
        if draft is None:
            continue
        if line == "//":
            found += 1
            yield from draft.finish(reject)
            draft = None
        else:
            draft.add(line, number)
    if draft is not None:
        found += 1
        reject(InputError(f"{draft.where}: ends without '//'", hint="the file may be cut short; get it again"))
    if not found:
        raise InputError(f"{name}: holds no alignment", hint="give a Stockholm file, as Rfam's Rfam.seed.gz")


class _Draft:
    """An alignment while its lines come in; the first fault is kept until its end is reached."""

    def __init__(self, source: str, line: int) -> None:
        self.source, self.line = source, line
        self.rows: dict[str, list[str]] = {}
        self.tags: dict[str, list[str]] = {}
        self.columns: dict[str, list[str]] = {}
        self.structures: dict[str, list[str]] = {}
        self.error: InputError | None = None

    @property
    def where(self) -> str:
        names = self.tags.get("AC") or self.tags.get("ID") or ["-"]
        return f"{self.source}:{self.line}: family {names[0].split('.')[0]}"

    def add(self, line: str, number: int) -> None:
        parts = line.split(None, 2)
        if line.startswith("#=GF") and len(parts) == 3:
            self.tags.setdefault(parts[1], []).append(parts[2])
        elif line.startswith("#=GC") and len(parts) == 3:
            self.columns.setdefault(parts[1], []).append(parts[2])
        elif line.startswith("#=GR") and len(parts := line.split()) == 4 and parts[2] == "SS":
            self.structures.setdefault(parts[1], []).append(parts[3])
        elif line and not line.startswith("#"):
            if len(parts) != 2:
                self._fault(number, f"'{line[:40]}' is no row of name and aligned sequence")
                return
            foreign = next((letter for letter in parts[1] if letter in _FOREIGN or ord(letter) > 127), None)
            if foreign is not None:
                self._fault(number, f"row {parts[0]} holds '{foreign}'")
            self.rows.setdefault(parts[0], []).append(parts[1])

    def _fault(self, number: int, problem: str) -> None:
        if self.error is None:
            where = self.where.replace(f":{self.line}:", f":{number}:", 1)
            self.error = InputError(f"{where}: {problem}", hint=_MEND)

    def finish(self, reject: Reject) -> Iterator[Alignment]:
        rows = {name: "".join(parts) for name, parts in self.rows.items()}
        columns = {tag: "".join(parts) for tag, parts in self.columns.items()}
        structures = {name: "".join(parts) for name, parts in self.structures.items()}
        if self.error is None:
            self._check(rows, columns, structures)
        if self.error is not None:
            reject(self.error)
            return
        letters = [row.translate(_TO_RNA).upper() for row in rows.values()]
        tags = {tag: " ".join(parts) for tag, parts in self.tags.items()}
        alignment = Alignment(list(rows), letters, tags, columns, structures, self.source, self.line)
        try:
            _ = alignment.pairs
        except InputError as error:
            reject(error)
            return
        yield alignment

    def _check(self, rows: dict[str, str], columns: dict[str, str], structures: dict[str, str]) -> None:
        if not rows:
            self._fault(self.line, "has no rows")
            return
        width = len(next(iter(rows.values())))
        for kind, lines in (("row", rows), ("#=GC", columns), ("#=GR SS of", structures)):
            for name, text in lines.items():
                if len(text) != width:
                    self._fault(self.line, f"{kind} {name} has {len(text)} columns and the first row {width}")


def _what(line: str) -> str:
    if line.startswith(">"):
        return "this is FASTA"
    return f"this begins with '{line[:30]}'"
