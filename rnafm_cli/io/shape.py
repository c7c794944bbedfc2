"""SHAPE reactivities: RNAfold's table of positions and values, for one RNA, many, or a folder of files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.io.names import file_stem, source_stem
from rnafm_cli.io.streams import STDIO, input_name, open_text
from rnafm_cli.rna.records import SequenceRecord

__all__ = ["ReactivityProfiles", "read_profiles"]

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

    A file has one row per base, ``position value`` or ``position letter value`` (positions from 1). Values that
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
    for number, text in enumerate(lines, start=1):
        line = text.strip()
        if not line or line.startswith(_COMMENTS):
            continue
        if line.startswith(">"):
            if profile is not None:
                yield profile
            words = line[1:].split()
            if not words:
                raise InputError(f"{source}:{number}: a header without an id")
            profile = _Profile(words[0], source, number)
            continue
        if profile is None:
            profile = _Profile(None, source, number)
        _add_row(profile, line.replace(",", " ").split(), f"{source}:{number}")
    if profile is not None:
        yield profile


def _add_row(profile: _Profile, cells: list[str], where: str) -> None:
    if not cells[0].isdigit() or int(cells[0]) < 1:
        if not profile.values and not profile.letters and not any(_is_number(cell) for cell in cells):
            return  # a line of column names
        raise InputError(f"{where}: '{cells[0]}' is no position", hint="rows are: position (from 1), value")
    position = int(cells[0])
    if position in profile.values:
        raise InputError(f"{where}: position {position} appears twice")
    rest = cells[1:]
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
