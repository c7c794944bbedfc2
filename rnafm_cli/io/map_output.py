"""Where predicted contacts and distances go as text: one for all RNAs, or a file for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rnafm_cli.errors import UsageError
from rnafm_cli.io.columns import TABLES
from rnafm_cli.io.modelling import PairRow, format_3drna_contacts, format_3drna_distances, format_casprr, format_rosetta
from rnafm_cli.io.names import file_stem, refuse_suffix
from rnafm_cli.io.streams import TextSink
from rnafm_cli.io.structure_output import RecordFolder
from rnafm_cli.rna.records import SequenceRecord

__all__ = [
    "MAP_FORMATS",
    "MapFolder",
    "MapFormat",
    "MapOutput",
    "MapStream",
    "columns_of",
    "map_format",
]


_DIGITS = 4


@dataclass(frozen=True)
class MapFormat:
    """A text format of pairs.

    Args:
        suffix: of an RNA's own file.
        text: an RNA's text; None for the two tables, whose columns depend on what is predicted.
        best_first: whether pairs go by rank instead of by position.
        single: whether a text can hold one RNA only.
    """

    suffix: str
    text: Callable[[SequenceRecord, Sequence[PairRow]], str] | None = None
    best_first: bool = True
    single: bool = True


MAP_FORMATS: dict[str, dict[str, MapFormat]] = {
    "contact": {
        "tsv": MapFormat(".tsv", best_first=False, single=False),
        "jsonl": MapFormat(".jsonl", best_first=False, single=False),
        "casprr": MapFormat(".rr", format_casprr, single=False),
        "3drna": MapFormat(".dca", format_3drna_contacts),
        "rosetta": MapFormat(".cst", format_rosetta),
    },
    "distance": {
        "tsv": MapFormat(".tsv", best_first=False, single=False),
        "jsonl": MapFormat(".jsonl", best_first=False, single=False),
        "3drna": MapFormat(".distances", format_3drna_distances),
        "rosetta": MapFormat(".cst", format_rosetta),
    },
}


def map_format(task: str, name: str) -> MapFormat:
    """A format of ``contact`` or ``distance``.

    Raises:
        UsageError: when the task has no such format.
    """
    formats = MAP_FORMATS[task]
    if name not in formats:
        raise UsageError(f"{task} has no format {name}", hint=f"known are {', '.join(formats)}")
    return formats[name]


def columns_of(task: str, *, with_distance: bool = False) -> tuple[str, ...]:
    """Columns of the table of pairs."""
    return tuple(TABLES[f"{task} --with-distance" if with_distance else task])


class MapOutput(Protocol):
    """Takes the pairs of one RNA after the other."""

    def claim(self, record: SequenceRecord) -> None:
        """Make sure that a record can be written, before anything is predicted for it."""
        ...

    def add(self, record: SequenceRecord, rows: Sequence[PairRow]) -> None:
        """Write the pairs of one RNA.

        Raises:
            InputError: when the format cannot hold the record.
        """
        ...


class _Writer:
    """The text of one RNA after the other in a format."""

    def __init__(self, format: MapFormat, columns: tuple[str, ...]) -> None:
        self._format, self._columns = format, columns

    @property
    def header(self) -> str:
        """What comes once before the RNAs."""
        return "\t".join(self._columns) + "\n" if self._format.suffix == ".tsv" else ""

    def text(self, record: SequenceRecord, rows: Sequence[PairRow]) -> str:
        if self._format.text is not None:
            return self._format.text(record, rows)
        return self._rows(record, sorted(rows)) if self._format.suffix == ".tsv" else self._object(record, sorted(rows))

    def _rows(self, record: SequenceRecord, rows: Sequence[PairRow]) -> str:
        # All pairs of a long RNA are a million rows: one format for all columns is five times as fast as a row writer.
        numbers = [PairRow._fields.index(name) for name in self._columns[5:]]
        line = "%s\t%d\t%d\t%s\t%s" + f"\t%.{_DIGITS}g" * len(numbers) + "\n"
        name = " ".join(record.id.split())
        return "".join([line % (name, *row[:4], *(row[k] for k in numbers)) for row in rows])

    def _object(self, record: SequenceRecord, rows: Sequence[PairRow]) -> str:
        shown = [name for name in self._columns[1:] if not name.startswith("base")]
        document = {
            "id": record.id,
            "description": record.description,
            "length": len(record),
            "sequence": record.sequence,
            "columns": shown,
            "pairs": [[_rounded(getattr(row, name)) for name in shown] for row in rows],
        }
        return json.dumps(document, ensure_ascii=False) + "\n"


class MapStream:
    """All RNAs in one text, flushed after each so that a reader down the pipe sees it."""

    def __init__(self, sink: TextSink, format: MapFormat, columns: tuple[str, ...]) -> None:
        refuse_suffix(
            sink.name,
            (format.suffix, ".json") if format.suffix == ".jsonl" else (format.suffix,),
            f"text of the format {format.suffix[1:]}",
            "--format says what -o gets; --h5 FILE.h5 writes maps, --plot pictures",
        )
        self._sink, self._format = sink, format
        self._writer = _Writer(format, columns)
        if self._writer.header:
            sink.write(self._writer.header)
        self._owner: str | None = None

    def claim(self, record: SequenceRecord) -> None:
        """Refuse a second RNA where the format has no place for it.

        Raises:
            UsageError: for a second RNA.
        """
        if self._format.single and self._owner is not None:
            raise UsageError(
                f"{record.where}: the format has no place for a second RNA beside '{self._owner}'",
                hint="add --out-dir DIR for a file each",
            )
        self._owner = record.id

    def add(self, record: SequenceRecord, rows: Sequence[PairRow]) -> None:
        """Write the pairs of one RNA.

        Raises:
            InputError: when the format cannot hold the record.
        """
        self._sink.write(self._writer.text(record, rows))
        self._sink.flush()


class MapFolder(RecordFolder):
    """A file for each RNA."""

    def __init__(self, folder: str | Path, format: MapFormat, columns: tuple[str, ...], *, force: bool = False) -> None:
        super().__init__(folder, (format.suffix,), force=force)
        self._suffix, self._writer = format.suffix, _Writer(format, columns)

    def add(self, record: SequenceRecord, rows: Sequence[PairRow]) -> None:
        """Write the pairs of one RNA.

        Raises:
            InputError: when the format cannot hold the record.
            RnafmError: when writing fails.
        """
        self.write({file_stem(record.id) + self._suffix: self._writer.header + self._writer.text(record, rows)})


def _rounded(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
