"""Records that travel between readers, models and writers: a sequence, and a sequence with its pairs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rnafm_cli.rna.pairs import Pairs, as_pairs, no_pairs, to_dot_bracket, validate


class _Named:
    """What records have in common."""

    __slots__ = ()
    id: str
    sequence: str
    description: str
    source: str
    line: int

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def header(self) -> str:
        """The header line without ``>``: the id, then the description if there is one."""
        return f"{self.id} {self.description}" if self.description else self.id

    @property
    def attributes(self) -> dict[str, str]:
        """The ``key=value`` words of the description; others are left out."""
        pairs = (word.partition("=") for word in self.description.split())
        return {key: value for key, sign, value in pairs if key and sign and value}

    @property
    def where(self) -> str:
        """How messages point at the record: ``file:line: record 'id'``, as much of it as is known."""
        line = f":{self.line}" if self.line else ""
        return f"{self.source}{line}: record '{self.id}'" if self.source else f"record '{self.id}'"


@dataclass(frozen=True, slots=True)
class SequenceRecord(_Named):
    """One RNA: ``sequence`` in upper-case RNA letters (IUPAC ambiguity codes included).

    ``source`` and ``line`` (1-based, 0 when unknown) say where the record came from.
    """

    id: str
    sequence: str
    description: str = ""
    source: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class StructureRecord(_Named):
    """One RNA with its base pairs.

    Args:
        pairs: (n, 2) integers, 0-based; brought to i < j in ascending order of i.
        family: family or type the RNA belongs to, ``""`` when unknown.
        breaks: of a complex of several strands, the first base (0-based) of each strand but the first.

    Raises:
        InputError: when a base has two partners or a position lies outside the sequence.
    """

    id: str
    sequence: str
    pairs: Pairs = field(default_factory=no_pairs)
    description: str = ""
    family: str = ""
    source: str = ""
    line: int = 0
    breaks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        pairs = as_pairs(self.pairs)
        validate(pairs, len(self.sequence))
        object.__setattr__(self, "pairs", pairs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StructureRecord):
            return NotImplemented
        mine = (self.id, self.sequence, self.description, self.family, self.breaks)
        theirs = (other.id, other.sequence, other.description, other.family, other.breaks)
        return mine == theirs and np.array_equal(self.pairs, other.pairs)

    def __hash__(self) -> int:
        return hash((self.id, self.sequence, self.pairs.tobytes()))

    @property
    def dot_bracket(self) -> str:
        """The pairs as dot-bracket text of up to four layers, ``()[]{}<>``."""
        return to_dot_bracket(self.pairs, len(self.sequence))
