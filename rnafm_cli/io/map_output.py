"""Where predicted contacts and distances go: text for all RNAs or a file for each, or HDF5 laid out like files of
known chains.

``/<id>/contact`` probabilities of a contact, ``/<id>/distance`` and ``/<id>/sd`` in Å; each (L, L), symmetric. The
group's attribute ``sequence`` is the RNA. Shape suffix: L bases.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import UsageError
from rnafm_cli.io.columns import TABLES
from rnafm_cli.io.modelling import PairRow, format_3drna_contacts, format_3drna_distances, format_casprr, format_rosetta
from rnafm_cli.io.names import file_stem, refuse_suffix
from rnafm_cli.io.pair_probabilities import PairProbabilityWriter
from rnafm_cli.io.provenance import Provenance
from rnafm_cli.io.streams import STDIO, TextSink
from rnafm_cli.io.structure_output import RecordFolder
from rnafm_cli.rna.records import SequenceRecord

__all__ = [
    "FORMAT",
    "MAP_FORMATS",
    "MapFolder",
    "MapFormat",
    "MapOutput",
    "MapStream",
    "TertiaryMapWriter",
    "columns_of",
    "map_format",
]


FORMAT = "rnafm-tertiary-maps"


class TertiaryMapWriter(PairProbabilityWriter):
    """Writes maps to an HDF5 file that takes its name when it is complete; used as :class:`PairProbabilityWriter`."""

    def __init__(self, path: str | Path, *, provenance: Provenance, half: bool = False, force: bool = False) -> None:
        if str(path) == STDIO:
            raise UsageError("HDF5 cannot be written to stdout", hint="name a file, --h5 FILE.h5")
        super().__init__(path, provenance=provenance, half=half, force=force)
        self._attributes |= {"format": FORMAT, "distance_unit": "angstrom"}

    def add_maps(self, record: SequenceRecord, maps: Mapping[str, NDArray[np.floating]]) -> None:
        """Store an RNA's maps by name (``contact``, ``distance``, ``sd``), each (L, L) symmetric.

        Raises:
            InputError: when an earlier record has its name and it was not claimed.
            RnafmError: when the disk is full.
        """
        if self._file is None:
            raise ValueError("a TertiaryMapWriter is used inside its with block")
        key = self._names.name(record)
        if key not in self._names:
            self._names.claim(record)
        group = self._file.create_group(key)
        for name, map_LL in maps.items():
            stored = np.asarray(map_LL).astype(self._dtype)
            group.create_dataset(name, data=stored, compression="gzip", compression_opts=1, shuffle=True)
        self._describe(group, record)


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
