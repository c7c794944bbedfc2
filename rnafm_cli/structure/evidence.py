"""What is known of an RNA's structure before it is folded: constraints and SHAPE reactivities, and their files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.io.names import file_stem, source_stem
from rnafm_cli.io.streams import STDIO, input_name, open_text
from rnafm_cli.io.structure_readers import rna_letters
from rnafm_cli.rna.decode import Constraints, DecodeOptions, parse_constraints
from rnafm_cli.rna.pairs import are_canonical
from rnafm_cli.rna.records import SequenceRecord

__all__ = [
    "ConstraintLines",
    "Evidence",
    "EvidenceOf",
    "ReactivityProfiles",
    "no_evidence",
    "read_constraints",
    "read_profiles",
]


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


_SYMBOLS = frozenset(".|x<>()[]{}")
_NO_GAPS = str.maketrans("", "", "-.~_")
_COMMENT_MARKS = ("#", ";")


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
        wanted = len(self.constraint) < len(self.sequence) if self.letters else self.name is None
        return wanted and set(word) <= _SYMBOLS


class ConstraintLines:
    """The constraints of a run's records, by id; a record without a header is the only one of the run.

    A line of symbols alone holds for every record, as in ``RNAfold --batch -C``.

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

    def of(self, record: SequenceRecord) -> Evidence:
        """A record's constraint, if it has one.

        Raises:
            InputError: when the constraint stands under another sequence, or names no record and there are several.
        """
        draft = self._drafts.get(record.id)
        if draft is None:
            draft = self._drafts.get(None)
            if draft is None:
                return Evidence()
            if not draft.letters:
                return Evidence(draft.constraint, place=f"{self.name}:{draft.line}")
            if self._owner is not None and self._owner != record:
                raise InputError(
                    f"{self.name}:{draft.line}: a constraint without a header, and more than one record",
                    hint="put the line '>id' above each sequence",
                )
            self._owner = record
        self._used.add(draft.name)
        if _acgun(rna_letters(draft.sequence)) != _acgun(record.sequence):
            raise InputError(f"{self.name}:{draft.line}: the sequence is not that of record '{record.id}'")
        return Evidence(draft.constraint, place=f"{self.name}:{draft.line}")

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
        if not text.strip() or text.startswith(_COMMENT_MARKS):
            continue
        # A number after the constraint is an energy or a score.
        word = text.split()[0]
        if draft is None and set(word) <= _SYMBOLS and word != ">":
            draft = _Draft(None, number)
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
        yield _checked(draft, source)


def _checked(draft: _Draft, source: str) -> _Draft:
    where = f"{source}:{draft.line}: " + (f"record '{draft.name}'" if draft.name else "record without a header")
    if not draft.letters and draft.name is None and draft.symbols:
        return draft
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


_COMMENTS = ("#", ";")
_MISSING = {"na", "nan", "-", "."}


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
            if letter != record.sequence[position - 1]:
                raise InputError(
                    f"{where}: '{letter}' at position {position}, the sequence has '{record.sequence[position - 1]}'"
                )
        reactivities = np.full(length, np.nan)
        for position, value in self.values.items():
            reactivities[position - 1] = value
        return reactivities


class ReactivityProfiles:
    """The reactivities of a run's records, by id.

    A file has one row per base, ``position value``, ``position letter value``, or ``position value error letter`` as
    in ShapeMapper's ``.map`` (positions from 1). Values that
    are missing, negative or ``NA`` say nothing, as do positions that do not appear. A line ``>id`` begins the
    profile of that record; rows without such a line belong to the only record of the run. In a folder the
    file ``ID.*`` holds the profile of the record with that id.

    Raises:
        InputError: for an unreadable file or row, or two profiles of one record.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = input_name(path)
        self._folder = str(path) != STDIO and Path(path).is_dir()
        self._profiles: dict[str, _Profile] = {}
        self._single: _Profile | None = None
        self._owner: SequenceRecord | None = None
        self._used: set[str] = set()
        if self._folder:
            self._profiles = _folder_profiles(Path(path))
            return
        with open_text(path) as lines:
            for profile in read_profiles(lines, self.name):
                if profile.name is None:
                    self._single = profile
                elif profile.name in self._profiles:
                    raise InputError(f"{profile.source}:{profile.line}: a second profile of '{profile.name}'")
                else:
                    self._profiles[profile.name] = profile
        if self._single is None and not self._profiles:
            raise InputError(f"{self.name}: holds no reactivities", hint="rows of position and value are expected")

    def of(self, record: SequenceRecord) -> NDArray[np.float64] | None:
        """A record's reactivities, (L,) with NaN where there is none; None for a record without a profile.

        Raises:
            InputError: when the profile does not fit the sequence, or names no record and there are several.
        """
        key = file_stem(record.id) if self._folder else record.id
        if key in self._profiles:
            self._used.add(key)
            return self._profiles[key].array(record)
        if self._single is None:
            return None
        if self._owner is not None and self._owner != record:
            raise InputError(
                f"{self.name}: one profile without an id, and more than one record",
                hint="put a line '>id' above the rows of each record",
            )
        self._owner = record
        return self._single.array(record)

    def unused(self) -> list[str]:
        """Ids of profiles that no record has asked for."""
        return [name for name in self._profiles if name not in self._used]


def read_profiles(lines: Iterable[str], source: str) -> Iterator[_Profile]:
    """Yield the profiles of a text; the first has no name when rows come before any ``>id`` line.

    Raises:
        InputError: for a row that is none, naming its line.
    """
    profile: _Profile | None = None
    titled = False
    for number, text in enumerate(lines, start=1):
        line = text.strip()
        if not line or line.startswith(_COMMENTS):
            continue
        if line.startswith(">"):
            if profile is not None:
                yield _with_rows(profile)
            words = line[1:].split()
            if not words:
                raise InputError(f"{source}:{number}: a header without an id")
            profile, titled = _Profile(words[0], source, number), False
            continue
        if profile is None:
            profile = _Profile(None, source, number)
        if titled or not _is_title(line):
            _add_row(profile, line.replace(",", " ").split(), f"{source}:{number}")
        titled = True
    if profile is not None:
        yield _with_rows(profile)


def _with_rows(profile: _Profile) -> _Profile:
    if not profile.values:
        whose = f" of '{profile.name}'" if profile.name else ""
        raise InputError(
            f"{profile.source}:{profile.line}: holds no reactivities{whose}", hint="rows are: position (from 1), value"
        )
    return profile


def _is_title(line: str) -> bool:
    """Whether a line names columns, as the first of a profile may."""
    cells = line.replace(",", " ").split()
    return len(cells) > 1 and not any(_is_number(cell) for cell in cells)


def _add_row(profile: _Profile, cells: list[str], where: str) -> None:
    if not cells[0].isdigit() or int(cells[0]) < 1:
        raise InputError(f"{where}: '{cells[0]}' is no position", hint="rows are: position (from 1), value")
    position = int(cells[0])
    if position in profile.values:
        raise InputError(f"{where}: position {position} appears twice")
    rest = cells[1:]
    if len(rest) == 3 and len(rest[2]) == 1 and rest[2].isalpha():
        # ShapeMapper's .map: position, reactivity, standard error, letter; -999 for none.
        rest = [rest[2], rest[0]]
    if rest and len(rest[0]) == 1 and rest[0].isalpha():
        profile.letters[position] = rest.pop(0).upper().replace("T", "U")
    if len(rest) > 1:
        raise InputError(f"{where}: {len(cells)} columns", hint="rows are: position (from 1), value")
    profile.values[position] = _value(rest[0], where) if rest else math.nan


def _value(text: str, where: str) -> float:
    if text.lower() in _MISSING:
        return math.nan
    if not _is_number(text):
        raise InputError(f"{where}: '{text}' is no reactivity", hint="give a number, or NA where there is none")
    value = float(text)
    return value if value >= 0 and math.isfinite(value) else math.nan


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _folder_profiles(folder: Path) -> dict[str, _Profile]:
    found: dict[str, _Profile] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        stem = source_stem(path)
        if stem in found:
            raise InputError(f"{path}: a second profile of '{stem}' beside {found[stem].source}")
        with open_text(path) as lines:
            profiles = list(read_profiles(lines, str(path)))
        if len(profiles) != 1:
            raise InputError(f"{path}: holds {len(profiles)} profiles", hint="a folder has one file per record")
        found[stem] = profiles[0]
    if not found:
        raise InputError(f"{folder}: holds no reactivities", hint="files ID.shape with rows of position and value")
    return found
