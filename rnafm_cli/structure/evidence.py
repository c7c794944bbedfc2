"""What is known of an RNA's structure before it is folded: constraints and SHAPE reactivities, and their files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.io.names import file_stem, source_stem
from rnafm_cli.io.streams import STDIO, input_name, open_text
from rnafm_cli.io.structures import rna_letters
from rnafm_cli.rna.decode import Constraints, DecodeOptions, parse_constraints
from rnafm_cli.rna.pairs import are_canonical
from rnafm_cli.rna.records import SequenceRecord


@dataclass(frozen=True, eq=False)
class Evidence:
    """Knowledge of one RNA of L bases.

    Args:
        constraint: L of RNAfold's symbols, see :func:`rnafm_cli.rna.decode.parse_constraints`.
        reactivities: (L,) SHAPE reactivities, NaN where there is none.
        place: file and line of the constraint, for messages.
    """

    constraint: str | None = None
    reactivities: NDArray[np.float64] | None = None
    place: str = ""

    def __bool__(self) -> bool:
        return self.constraint is not None or self.reactivities is not None

    @property
    def constraints(self) -> Constraints | None:
        """The constraint as the decoder takes it."""
        return None if self.constraint is None else parse_constraints(self.constraint)

    def nested(self, sequence: str) -> str | None:
        """The constraint as far as a nested ensemble of canonical pairs can meet it, for the prior.

        Pairs in ``[]`` and ``{}``, which are there to cross others, and non-canonical ones keep their bases
        unpaired instead: those pairs are the decoder's.
        """
        if self.constraint is None:
            return None
        symbols = ["x" if symbol in "[]{}" else symbol for symbol in self.constraint]
        pairs = parse_constraints(self.constraint).forced_pairs
        for i, j in pairs[~are_canonical(pairs, sequence)].tolist():
            symbols[i] = symbols[j] = "x"
        return "".join(symbols)

    def check(self, record: SequenceRecord, options: DecodeOptions) -> None:
        """Refuse evidence that no structure of the record can meet.

        Raises:
            InputError: naming the record.
        """
        length = len(record.sequence)
        try:
            if constraints := self.constraints:
                constraints.check(length, min_loop=options.least_loop, max_layers=options.most_layers)
        except InputError as error:
            where = f"{self.place}: constraint of record '{record.id}'" if self.place else record.where
            raise InputError(f"{where}: {error.message}", hint=error.hint) from error
        if self.reactivities is not None and len(self.reactivities) != length:
            raise InputError(f"{record.where}: {len(self.reactivities)} reactivities for {length} bases")


EvidenceOf = Callable[[SequenceRecord], Evidence]


def no_evidence(record: SequenceRecord) -> Evidence:
    """The default: nothing is known."""
    return Evidence()


_COMMENTS = ("#", ";")
_SYMBOLS = frozenset(".|x<>()[]{}")
_NO_GAPS = str.maketrans("", "", "-.~_")
_MISSING = {"na", "nan", "-", "."}


class Knowledge:
    """What the files of constraints and of reactivities of a run say of its records."""

    def __init__(self, constraints: Path | None = None, reactivities: Path | None = None) -> None:
        self._constraints = ConstraintLines(constraints) if constraints else None
        self._profiles = ReactivityProfiles(reactivities) if reactivities else None

    def of(self, record: SequenceRecord) -> Evidence:
        """What is known of a record.

        Raises:
            InputError: when it does not fit the record.
        """
        known = self._constraints.of(record) if self._constraints else Evidence()
        return replace(known, reactivities=self._profiles.of(record)) if self._profiles else known

    def unused(self) -> Iterator[str]:
        """A message for each file that tells of RNAs that no record is."""
        for what, file in (("constraints", self._constraints), ("reactivities", self._profiles)):
            if file is not None and (names := file.unused()):
                shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
                yield f"{file.name}: {what} of RNAs that are not in the input: {shown}"


class _HasName(Protocol):
    name: str | None
    source: str
    line: int


Entry = TypeVar("Entry", bound=_HasName)


class _ByRecord(Generic[Entry]):
    """What a file holds, by the id of its records; what stands under no id is about the only record of the run."""

    kind: str

    def __init__(self, name: str, entries: Iterable[Entry]) -> None:
        self.name = name
        self._entries: dict[str | None, Entry] = {}
        self._used: set[str] = set()
        self._owner: SequenceRecord | None = None
        for entry in entries:
            if (first := self._entries.setdefault(entry.name, entry)) is not entry:
                whose = f"of '{entry.name}'" if entry.name else "without a header"
                beside = f" beside {first.source}" if first.source != entry.source else ""
                raise InputError(f"{entry.source}:{entry.line}: a second {self.kind} {whose}{beside}")

    def unused(self) -> list[str]:
        """Ids in the file that no record has asked for."""
        return [name for name in self._entries if name is not None and name not in self._used]

    def _entry(self, record: SequenceRecord, key: str) -> Entry | None:
        if key in self._entries:
            self._used.add(key)
            return self._entries[key]
        entry = self._entries.get(None)
        if entry is not None and self._owner not in (None, record):
            raise InputError(
                f"{entry.source}:{entry.line}: a {self.kind} without a header, and more than one record",
                hint="put the line '>id' above what belongs to each record",
            )
        self._owner = record
        return entry


@dataclass
class _Draft:
    """A record of a file of constraints; ``name`` is None where there is no header."""

    name: str | None
    source: str
    line: int
    sequence: str = ""
    constraint: str = ""

    def takes(self, word: str) -> bool:
        """Whether a word continues the constraint."""
        wanted = len(self.constraint) < len(self.sequence) if self.sequence else self.name is None
        return wanted and set(word) <= _SYMBOLS

    def checked(self) -> _Draft:
        """The same, if it is whole."""
        where = f"{self.source}:{self.line}: " + (f"record '{self.name}'" if self.name else "record without a header")
        if not self.sequence and self.name is None and self.constraint:
            return self
        if not self.sequence:
            raise InputError(f"{where}: has no sequence")
        if not self.constraint:
            raise InputError(f"{where}: has no constraint below its sequence")
        if len(self.constraint) != len(self.sequence):
            bases, symbols = len(self.sequence), len(self.constraint)
            raise InputError(f"{where}: sequence of {bases}, constraint of {symbols} symbols")
        try:
            rna_letters(self.sequence)
        except ValueError as error:
            raise InputError(f"{where}: {error}") from error
        return self


class ConstraintLines(_ByRecord[_Draft]):
    """The constraints of a run's records, by id.

    A line of symbols alone holds for every record, as in ``RNAfold --batch -C``.

    Raises:
        InputError: for an unreadable file, a record without a constraint, or two of one id.
    """

    kind = "constraint"

    def __init__(self, path: str | Path) -> None:
        name = input_name(path)
        with open_text(path) as lines:
            super().__init__(name, _constraints(lines, name))
        if not self._entries:
            raise InputError(f"{name}: holds no constraints", hint="expected: header, sequence, constraint line")

    def of(self, record: SequenceRecord) -> Evidence:
        """A record's constraint, if it has one.

        Raises:
            InputError: when the constraint stands under another sequence, or names no record and there are several.
        """
        for_all = self._entries.get(None)
        if for_all is not None and not for_all.sequence and record.id not in self._entries:
            draft: _Draft | None = for_all
        else:
            draft = self._entry(record, record.id)
        if draft is None:
            return Evidence()
        place = f"{self.name}:{draft.line}"
        if draft.sequence and _acgun(rna_letters(draft.sequence)) != _acgun(record.sequence):
            raise InputError(f"{place}: the sequence is not that of record '{record.id}'")
        return Evidence(draft.constraint, place=place)


def _constraints(lines: Iterable[str], source: str) -> Iterator[_Draft]:
    """The records of a file of constraints; sequence and constraint may be wrapped."""
    draft: _Draft | None = None
    for number, text in enumerate(lines, start=1):
        if not text.strip() or text.startswith(_COMMENTS):
            continue
        # A number after the constraint is an energy or a score.
        word = text.split()[0]
        if draft is None and set(word) <= _SYMBOLS and word != ">":
            draft = _Draft(None, source, number)
        if draft is not None and draft.takes(word):
            draft.constraint += word
        elif text.startswith(">"):
            if draft is not None:
                yield draft.checked()
            draft = _Draft(next(iter(text[1:].split()), None), source, number)
        elif word.isalpha():
            if draft is None or draft.constraint:
                if draft is not None:
                    yield draft.checked()
                draft = _Draft(None, source, number)
            draft.sequence += "".join(text.split())
        else:
            letters = word.translate(_NO_GAPS)
            if letters.isalpha() and letters != word:
                raise InputError(
                    f"{source}:{number}: the sequence is gapped", hint="take its gaps out, and their symbols"
                )
            foreign = next((symbol for symbol in word if symbol not in _SYMBOLS), word[0])
            raise InputError(
                f"{source}:{number}: '{foreign}' does not fit here",
                hint="a constraint has one of . | x < > ( ) [ ] { } for each base",
            )
    if draft is not None:
        yield draft.checked()


def _acgun(sequence: str) -> str:
    return "".join(letter if letter in "ACGU" else "N" for letter in sequence)


@dataclass
class _Profile:
    """Values by position (1-based), as they stand in a file."""

    name: str | None
    source: str
    line: int
    values: dict[int, float] = field(default_factory=dict)
    letters: dict[int, str] = field(default_factory=dict)

    def array(self, record: SequenceRecord) -> NDArray[np.float64]:
        """(L,) reactivities, NaN where there is none.

        Raises:
            InputError: for a position beyond the sequence, or a letter that is not the sequence's.
        """
        length = len(record.sequence)
        where = f"{self.source}:{self.line}: reactivities of record '{record.id}'"
        if self.values and max(self.values) > length:
            raise InputError(f"{where}: position {max(self.values)} in a sequence of {length} nt")
        for position, letter in self.letters.items():
            there = record.sequence[position - 1]
            if letter != there:
                raise InputError(f"{where}: '{letter}' at position {position}, the sequence has '{there}'")
        reactivities = np.full(length, np.nan)
        for position, value in self.values.items():
            reactivities[position - 1] = value
        return reactivities

    def add(self, cells: list[str], where: str) -> None:
        """Take in a row."""
        if not cells[0].isdigit() or int(cells[0]) < 1:
            raise InputError(f"{where}: '{cells[0]}' is no position", hint="rows are: position (from 1), value")
        position = int(cells[0])
        if position in self.values:
            raise InputError(f"{where}: position {position} appears twice")
        rest = cells[1:]
        if len(rest) == 3 and len(rest[2]) == 1 and rest[2].isalpha():
            # ShapeMapper's .map: position, reactivity, standard error, letter; -999 for none.
            rest = [rest[2], rest[0]]
        if rest and len(rest[0]) == 1 and rest[0].isalpha():
            self.letters[position] = rest.pop(0).upper().replace("T", "U")
        if len(rest) > 1:
            raise InputError(f"{where}: {len(cells)} columns", hint="rows are: position (from 1), value")
        value = math.nan
        if rest and rest[0].lower() not in _MISSING:
            if not _is_number(rest[0]):
                raise InputError(
                    f"{where}: '{rest[0]}' is no reactivity", hint="give a number, or NA where there is none"
                )
            value = float(rest[0])
        self.values[position] = value if value >= 0 and math.isfinite(value) else math.nan

    def checked(self) -> _Profile:
        """The same, if it has rows."""
        if not self.values:
            whose = f" of '{self.name}'" if self.name else ""
            raise InputError(
                f"{self.source}:{self.line}: holds no reactivities{whose}", hint="rows are: position (from 1), value"
            )
        return self


class ReactivityProfiles(_ByRecord[_Profile]):
    """The reactivities of a run's records, by id.

    A file has one row per base, ``position value``, ``position letter value``, or ``position value error letter`` as
    in ShapeMapper's ``.map`` (positions from 1). Values that
    are missing, negative or ``NA`` say nothing, as do positions that do not appear. A line ``>id`` begins the
    profile of that record; rows without such a line belong to the only record of the run. In a folder the
    file ``ID.*`` holds the profile of the record with that id.

    Raises:
        InputError: for an unreadable file or row, or two profiles of one record.
    """

    kind = "profile"

    def __init__(self, path: str | Path) -> None:
        name = input_name(path)
        self._folder = str(path) != STDIO and Path(path).is_dir()
        if self._folder:
            super().__init__(name, _folder_profiles(Path(path)))
        else:
            with open_text(path) as lines:
                super().__init__(name, _profiles(lines, name))
        if not self._entries:
            hint = "files ID.shape with rows of position and value" if self._folder else "rows are: position, value"
            raise InputError(f"{name}: holds no reactivities", hint=hint)

    def of(self, record: SequenceRecord) -> NDArray[np.float64] | None:
        """A record's reactivities, (L,) with NaN where there is none; None for a record without a profile.

        Raises:
            InputError: when the profile does not fit the sequence, or names no record and there are several.
        """
        profile = self._entry(record, file_stem(record.id) if self._folder else record.id)
        return None if profile is None else profile.array(record)


def _profiles(lines: Iterable[str], source: str) -> Iterator[_Profile]:
    """The profiles of a text; the first has no name when rows come before any ``>id`` line."""
    profile: _Profile | None = None
    titled = False
    for number, text in enumerate(lines, start=1):
        line = text.strip()
        if not line or line.startswith(_COMMENTS):
            continue
        if line.startswith(">"):
            if profile is not None:
                yield profile.checked()
            words = line[1:].split()
            if not words:
                raise InputError(f"{source}:{number}: a header without an id")
            profile, titled = _Profile(words[0], source, number), False
            continue
        if profile is None:
            profile = _Profile(None, source, number)
        cells = line.replace(",", " ").split()
        # The first line may name the columns.
        if titled or len(cells) < 2 or any(map(_is_number, cells)):
            profile.add(cells, f"{source}:{number}")
        titled = True
    if profile is not None:
        yield profile.checked()


def _folder_profiles(folder: Path) -> Iterator[_Profile]:
    """The profiles of the files of a folder, named by their files."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            with open_text(path) as lines:
                profiles = list(_profiles(lines, str(path)))
            if len(profiles) != 1:
                raise InputError(f"{path}: holds {len(profiles)} profiles", hint="a folder has one file per record")
            yield replace(profiles[0], name=source_stem(path))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
