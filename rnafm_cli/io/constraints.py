"""Files of structure constraints: header, sequence and a line of RNAfold's symbols for each record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rnafm_cli.errors import InputError
from rnafm_cli.io.assembly import rna_letters
from rnafm_cli.io.streams import input_name, open_text
from rnafm_cli.rna.records import SequenceRecord

__all__ = ["ConstraintLines", "read_constraints"]

_SYMBOLS = frozenset(".|x<>()[]{}")
_COMMENTS = ("#", ";")


@dataclass
class _Draft:
    """A record while its lines are gathered; ``name`` is None where there is no header."""

    name: str | None
    line: int
    letters: list[str] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)

    @property
    def sequence(self) -> str:
        return "".join(self.letters)

    @property
    def constraint(self) -> str:
        return "".join(self.symbols)

    def takes(self, word: str) -> bool:
        """Whether a word continues the constraint."""
        return bool(self.letters) and len(self.constraint) < len(self.sequence) and set(word) <= _SYMBOLS


class ConstraintLines:
    """The constraints of a run's records, by id; a record without a header is the only one of the run.

    Raises:
        InputError: for an unreadable file, a record without a constraint, or two of one id.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = input_name(path)
        self._drafts: dict[str | None, _Draft] = {}
        self._owner: SequenceRecord | None = None
        self._used: set[str | None] = set()
        with open_text(path) as lines:
            for draft in read_constraints(lines, self.name):
                if draft.name in self._drafts:
                    whose = "without a header" if draft.name is None else f"of '{draft.name}'"
                    raise InputError(f"{self.name}:{draft.line}: a second constraint {whose}")
                self._drafts[draft.name] = draft
        if not self._drafts:
            raise InputError(f"{self.name}: holds no constraints", hint="expected: header, sequence, constraint line")

    def of(self, record: SequenceRecord) -> str | None:
        """A record's constraint, one symbol a base; None for a record without one.

        Raises:
            InputError: when the constraint stands under another sequence, or names no record and there are several.
        """
        draft = self._drafts.get(record.id)
        if draft is None:
            draft = self._drafts.get(None)
            if draft is None:
                return None
            if self._owner is not None and self._owner != record:
                raise InputError(
                    f"{self.name}:{draft.line}: a constraint without a header, and more than one record",
                    hint="put the line '>id' above each sequence",
                )
            self._owner = record
        self._used.add(draft.name)
        if _acgun(rna_letters(draft.sequence)) != _acgun(record.sequence):
            raise InputError(f"{self.name}:{draft.line}: the sequence is not that of record '{record.id}'")
        return draft.constraint

    def unused(self) -> list[str]:
        """Ids in the file that no record has asked for."""
        return [name for name in self._drafts if name is not None and name not in self._used]


def read_constraints(lines: Iterable[str], source: str) -> Iterator[_Draft]:
    """Yield the records of a constraint file; sequence and constraint may be wrapped.

    Raises:
        InputError: for a record whose constraint is missing or has another length, or a line that is neither.
    """
    draft: _Draft | None = None
    for number, text in enumerate(lines, start=1):
        if not text.strip() or text.startswith(_COMMENTS):
            continue
        # A number after the constraint is an energy or a score.
        word = text.split()[0]
        if draft is not None and draft.takes(word):
            draft.symbols.append(word)
        elif text.startswith(">"):
            if draft is not None:
                yield _checked(draft, source)
            words = text[1:].split()
            draft = _Draft(words[0] if words else None, number)
        elif word.isalpha():
            if draft is None or draft.symbols:
                if draft is not None:
                    yield _checked(draft, source)
                draft = _Draft(None, number)
            draft.letters.append("".join(text.split()))
        else:
            foreign = next((symbol for symbol in word if symbol not in _SYMBOLS), word[0])
            raise InputError(
                f"{source}:{number}: '{foreign}' does not fit here",
                hint="a constraint has one of . | x < > ( ) [ ] { } for each base",
            )
    if draft is not None:
        yield _checked(draft, source)


def _checked(draft: _Draft, source: str) -> _Draft:
    where = f"{source}:{draft.line}: " + (f"record '{draft.name}'" if draft.name else "record without a header")
    if not draft.letters:
        raise InputError(f"{where}: has no sequence")
    if not draft.symbols:
        raise InputError(f"{where}: has no constraint below its sequence")
    if len(draft.constraint) != len(draft.sequence):
        raise InputError(f"{where}: sequence of {len(draft.sequence)}, constraint of {len(draft.constraint)} symbols")
    try:
        rna_letters(draft.sequence)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    return draft


def _acgun(sequence: str) -> str:
    return "".join(letter if letter in "ACGU" else "N" for letter in sequence)
