"""Files of what is known of RNAs before they are folded: constraints and SHAPE reactivities, by the ids of records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.io.names import file_stem, source_stem
from rnafm_cli.io.streams import STDIO, input_name, open_text
from rnafm_cli.rna.decode import Constraints
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.predict import Query

_COMMENTS = ("#", ";")
_SYMBOLS = frozenset(".|x<>()[]{}")
_MISSING = {"na", "nan", "-", "."}
_ROWS = "rows are: position (from 1), value"


class Knowledge:
    """What the files of constraints and of reactivities of a run say of its records."""

    def __init__(self, constraints: Path | None = None, reactivities: Path | None = None) -> None:
        self._constraints = ConstraintLines(constraints) if constraints else None
        self._profiles = ReactivityProfiles(reactivities) if reactivities else None

    def query(self, record: SequenceRecord) -> Query:
        """A record with what is known of it.

        Raises:
            InputError: when that does not fit the record.
        """
        constraints = self._constraints.of(record) if self._constraints else None
        return Query(record, constraints, self._profiles.of(record) if self._profiles else None)

    def unused(self) -> Iterator[str]:
        """A message for each file that tells of RNAs that no record is."""
        for file in (self._constraints, self._profiles):
            if file is not None and (names := file.unused()):
                shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
                yield f"{file.name}: {file.what} of RNAs that are not in the input: {shown}"


@dataclass
class _Entry:
    """What a file holds of one RNA: constraints below a sequence, or rows of value and letter by position (from 1)."""

    name: str | None
    """None where no header stands above."""
    place: str
    """File and line."""
    sequence: str = ""
    symbols: str = ""
    rows: dict[int, tuple[float, str | None]] = field(default_factory=dict)


class _ByRecord:
    """What a file holds, by the id of its records; what stands under no id is about the only record of the run."""

    what: str

    def __init__(self, name: str, entries: Iterable[_Entry], hint: str) -> None:
        self.name = name
        self._entries: dict[str | None, _Entry] = {}
        self._used: set[str] = set()
        self._owner: SequenceRecord | None = None
        for entry in entries:
            if (first := self._entries.setdefault(entry.name, entry)) is not entry:
                whose = f"'{entry.name}'" if entry.name else "an RNA without a header"
                raise InputError(f"{entry.place}: {self.what} of {whose} again, beside {first.place}")
        if not self._entries:
            raise InputError(f"{name}: holds no {self.what}", hint=hint)

    def unused(self) -> list[str]:
        """Ids in the file that no record has asked for."""
        return [name for name in self._entries if name is not None and name not in self._used]

    def _entry(self, record: SequenceRecord, key: str) -> _Entry | None:
        if key in self._entries:
            self._used.add(key)
            return self._entries[key]
        entry = self._entries.get(None)
        if entry is not None and self._owner not in (None, record):
            raise InputError(
                f"{entry.place}: {self.what} without a header, and more than one record",
                hint="put the line '>id' above what belongs to each record",
            )
        self._owner = record
        return entry


class ConstraintLines(_ByRecord):
    """The constraints of a run's records, by id.

    Each has a header, a sequence and a line of symbols (:class:`rnafm_cli.rna.decode.Constraints`), which may be
    wrapped. A line of symbols alone holds for every record, as in ``RNAfold --batch -C``.

    Raises:
        InputError: for an unreadable file, a record without a constraint, or two of one id.
    """

    what = "constraints"

    def __init__(self, path: str | Path) -> None:
        name = input_name(path)
        with open_text(path) as lines:
            entries = _constraints(lines, name)
        super().__init__(name, map(_whole, entries), "expected: header, sequence, constraint line")

    def of(self, record: SequenceRecord) -> Constraints | None:
        """A record's constraints, if it has any.

        Raises:
            InputError: when they stand under another sequence, or name no record and there are several.
        """
        entry = self._entries.get(None)
        if entry is None or entry.sequence or record.id in self._entries:
            entry = self._entry(record, record.id)
        if entry is None:
            return None
        if entry.sequence and _acgun(entry.sequence) != _acgun(record.sequence):
            raise InputError(f"{entry.place}: the sequence is not that of record '{record.id}'")
        return Constraints(entry.symbols, entry.place)


def _constraints(lines: Iterable[str], source: str) -> list[_Entry]:
    entries: list[_Entry] = []
    for number, text in enumerate(lines, start=1):
        if not text.strip() or text.startswith(_COMMENTS):
            continue
        # A number after the constraint is an energy or a score.
        word, place = text.split()[0], f"{source}:{number}"
        if not entries and set(word) <= _SYMBOLS and word != ">":
            entries.append(_Entry(None, place))
        if entries and _takes(entries[-1], word):
            entries[-1].symbols += word
        elif text.startswith(">"):
            entries.append(_Entry(next(iter(text[1:].split()), None), place))
        elif word.isalpha():
            if not entries or entries[-1].symbols:
                entries.append(_Entry(None, place))
            entries[-1].sequence += "".join(text.split())
        else:
            foreign = next((symbol for symbol in word if symbol not in _SYMBOLS and not symbol.isalpha()), word[0])
            raise InputError(
                f"{place}: '{foreign}' does not fit here",
                hint="a sequence has letters alone, a constraint one of . | x < > ( ) [ ] { } for each base",
            )
    return entries


def _takes(entry: _Entry, word: str) -> bool:
    """Whether a word continues the constraint: its line may look like a header."""
    wanted = len(entry.symbols) < len(entry.sequence) if entry.sequence else entry.name is None
    return wanted and set(word) <= _SYMBOLS


def _whole(entry: _Entry) -> _Entry:
    bases, symbols = len(entry.sequence), len(entry.symbols)
    if not symbols or (bases != symbols and (bases or entry.name)):
        whose = f"record '{entry.name}'" if entry.name else "record without a header"
        raise InputError(f"{entry.place}: {whose}: sequence of {bases}, constraint of {symbols} symbols")
    try:
        Constraints(entry.symbols)
    except InputError as error:
        raise InputError(f"{entry.place}: {error.message}") from error
    return entry


def _acgun(sequence: str) -> str:
    return "".join(letter if letter in "ACGU" else "N" for letter in sequence.upper().replace("T", "U"))


class ReactivityProfiles(_ByRecord):
    """The reactivities of a run's records, by id.

    A file has one row per base, ``position value``, ``position letter value``, or ``position value error letter`` as
    in ShapeMapper's ``.map`` (positions from 1). Values that are missing, negative or ``NA`` say nothing, as do
    positions that do not appear. A line ``>id`` begins the profile of that record; rows without such a line belong to
    the only record of the run. In a folder the file ``ID.*`` holds the profile of the record with that id.

    Raises:
        InputError: for an unreadable file or row, or two profiles of one record.
    """

    what = "reactivities"

    def __init__(self, path: str | Path) -> None:
        self._folder = str(path) != STDIO and Path(path).is_dir()
        entries: Iterable[_Entry] = _folder_profiles(Path(path)) if self._folder else _profiles(path)
        super().__init__(input_name(path), entries, "files ID.shape in a folder, or one file; " + _ROWS)

    def of(self, record: SequenceRecord) -> NDArray[np.float64] | None:
        """A record's reactivities, (L,) with NaN where there is none; None for a record without a profile.

        Raises:
            InputError: when the profile does not fit the sequence, or names no record and there are several.
        """
        entry = self._entry(record, file_stem(record.id) if self._folder else record.id)
        if entry is None:
            return None
        where, sequence = f"{entry.place}: reactivities of record '{record.id}'", record.sequence
        if (last := max(entry.rows)) > len(sequence):
            raise InputError(f"{where}: position {last} in a sequence of {len(sequence)} nt")
        found_L = np.full(len(sequence), np.nan)
        for position, (value, letter) in entry.rows.items():
            if letter not in (None, there := sequence[position - 1]):
                raise InputError(f"{where}: '{letter}' at position {position}, the sequence has '{there}'")
            found_L[position - 1] = value
        return found_L


def _folder_profiles(folder: Path) -> Iterator[_Entry]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            profiles = _profiles(path)
            if len(profiles) != 1:
                raise InputError(f"{path}: holds {len(profiles)} profiles", hint="a folder has one file per record")
            yield replace(profiles[0], name=source_stem(path))


def _profiles(path: str | Path) -> list[_Entry]:
    """The profiles of a file; the first has no name when rows come before any ``>id`` line."""
    source, entries, titled = input_name(path), list[_Entry](), False
    with open_text(path) as lines:
        for number, text in enumerate(lines, start=1):
            line, place = text.strip(), f"{source}:{number}"
            if not line or line.startswith(_COMMENTS):
                continue
            if line.startswith(">"):
                words = line[1:].split()
                if not words:
                    raise InputError(f"{place}: a header without an id")
                entries.append(_Entry(words[0], place))
                titled = False
                continue
            if not entries:
                entries.append(_Entry(None, place))
            cells = line.replace(",", " ").split()
            # The first line may name the columns.
            if titled or len(cells) < 2 or any(map(_is_number, cells)):
                _add_row(entries[-1], cells, place)
            titled = True
    for entry in entries:
        if not entry.rows:
            whose = f" of '{entry.name}'" if entry.name else ""
            raise InputError(f"{entry.place}: holds no reactivities{whose}", hint=_ROWS)
    return entries


def _add_row(entry: _Entry, cells: list[str], place: str) -> None:
    if not cells[0].isdigit() or int(cells[0]) < 1:
        raise InputError(f"{place}: '{cells[0]}' is no position", hint=_ROWS)
    position, letter, rest = int(cells[0]), None, cells[1:]
    if position in entry.rows:
        raise InputError(f"{place}: position {position} appears twice")
    if len(rest) == 3 and len(rest[2]) == 1 and rest[2].isalpha():
        # ShapeMapper's .map: position, reactivity, standard error, letter; -999 for none.
        rest = [rest[2], rest[0]]
    if rest and len(rest[0]) == 1 and rest[0].isalpha():
        letter = rest.pop(0).upper().replace("T", "U")
    if len(rest) > 1:
        raise InputError(f"{place}: {len(cells)} columns", hint=_ROWS)
    value = math.nan
    if rest and rest[0].lower() not in _MISSING:
        if not _is_number(rest[0]):
            raise InputError(f"{place}: '{rest[0]}' is no reactivity", hint="give a number, or NA where there is none")
        value = float(rest[0])
    entry.rows[position] = value if value >= 0 and math.isfinite(value) else math.nan, letter


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
