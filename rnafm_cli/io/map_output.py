"""Pairs of bases with their contacts and distances as text: tables, CASP's format, restraints for modelling programs.

Predictions are about the nearest heavy atoms of two nucleotides; Rosetta's restraints hold between C1' atoms. From C1'
to the farthest heavy atom of its nucleotide it is 6 to 7 Å, so that two C1' are d to d + 13 Å apart when the nearest
atoms are d.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.io.columns import TABLES
from rnafm_cli.io.record_output import TextFormat
from rnafm_cli.io.structure_output import check_bases
from rnafm_cli.rna.chains import CONTACT_DISTANCE
from rnafm_cli.rna.records import SequenceRecord

_DIGITS = 4
_LINE = 50
_FULL, _NONE = 14.0, 22.0
"""Å between C1': up to the first a contact is rewarded fully, from the second on not at all."""
_MIDDLE, _TOLERANCE, _LEAST_SD = 6.5, 4.0, 1.0
"""Å: C1' are about this much farther apart than the nearest atoms, give or take the second number."""


class PairRow(NamedTuple):
    """A pair i < j (1-based), its letters, its contact probability, and its distance with deviation (Å)."""

    i: int
    j: int
    base_i: str
    base_j: str
    p: float | None = None
    distance: float | None = None
    sd: float | None = None


Rows = Sequence[PairRow]


def pair_rows(record: SequenceRecord, pairs: NDArray[np.int64], maps: Mapping[str, NDArray[np.floating]]) -> Rows:
    """Rows for pairs (n, 2), 0-based, i < j, with what the maps ``contact``, ``distance``, ``sd`` (L, L) hold."""
    first, second = pairs[:, 0], pairs[:, 1]
    nothing = [None] * len(pairs)
    columns = [
        maps[name][first, second].tolist() if name in maps else nothing for name in ("contact", "distance", "sd")
    ]
    letters = record.sequence
    return [
        PairRow(i + 1, j + 1, letters[i], letters[j], p, distance, sd)
        for i, j, p, distance, sd in zip(first.tolist(), second.tolist(), *columns, strict=True)
    ]


def map_format(task: str, name: str, *, with_distance: bool = False) -> TextFormat:
    """The format of a name for the pairs (:class:`PairRow`) of ``contact`` or ``distance``."""
    columns = tuple(TABLES[f"{task} --with-distance" if with_distance else task])
    if name == "tsv":
        return TextFormat(name, ".tsv", _table(columns), header="\t".join(columns) + "\n")
    if name == "jsonl":
        return TextFormat(name, ".jsonl", _json_lines(columns), also=(".json",))
    if name == "casprr":
        return TextFormat(name, ".rr", format_casprr)
    if name == "rosetta":
        return TextFormat(name, ".cst", _format_rosetta, single=True)
    if task == "contact":
        return TextFormat(name, ".dca", _for_3drna("p", 4), single=True)
    return TextFormat(name, ".distances", _for_3drna("distance", 2), single=True)


def _table(columns: tuple[str, ...]) -> Callable[[SequenceRecord, Rows], str]:
    # All pairs of a long RNA are a million rows: one format for all columns is five times as fast as a row writer.
    numbers = [PairRow._fields.index(name) for name in columns[5:]]
    line = "%s\t%d\t%d\t%s\t%s" + f"\t%.{_DIGITS}g" * len(numbers) + "\n"

    def text(record: SequenceRecord, rows: Rows) -> str:
        name = " ".join(record.id.split())
        return "".join([line % (name, *row[:4], *(row[k] for k in numbers)) for row in sorted(rows)])

    return text


def _json_lines(columns: tuple[str, ...]) -> Callable[[SequenceRecord, Rows], str]:
    shown = [name for name in columns[1:] if not name.startswith("base")]

    def rounded(row: PairRow) -> list[int | float]:
        return [*row[:2], *(float(f"{getattr(row, name):.{_DIGITS}g}") for name in shown[2:])]

    def text(record: SequenceRecord, rows: Rows) -> str:
        document = {
            "id": record.id,
            "description": record.description,
            "length": len(record),
            "sequence": record.sequence,
            "columns": shown,
            "pairs": [rounded(row) for row in sorted(rows)],
        }
        return json.dumps(document, ensure_ascii=False) + "\n"

    return text


def format_casprr(record: SequenceRecord, rows: Rows) -> str:
    """CASP's RR format: sequence in lines of 50, then ``i j 0 8 p``, the most probable first."""
    lines = [
        "PFRMAT RR",
        f"TARGET {record.id}",
        "AUTHOR rnafm",
        f"REMARK contacts: heavy atoms nearer than {CONTACT_DISTANCE:g} A",
        "METHOD rnafm contact",
        "MODEL 1",
        *(record.sequence[k : k + _LINE] for k in range(0, len(record.sequence), _LINE)),
        *(f"{row.i} {row.j} 0 {CONTACT_DISTANCE:g} {row.p:.4f}" for row in rows),
        "END",
    ]
    return "\n".join(lines) + "\n"


def read_casprr(lines: Iterable[str], source: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells ``id``, ``i``, ``j``, ``p`` of the pairs of a text in CASP's RR format, old or new.

    Of several models of a target the first is read.

    Raises:
        InputError: for a pair without five columns (``i j 0 8 p``) or three (``i j p``), or one before any TARGET.
    """
    target, model = "", "1"
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if words[:1] == ["TARGET"] and len(words) > 1:
            target, model = words[1], "1"
        elif words[:1] == ["MODEL"] and len(words) > 1:
            model = words[1]
        elif words and words[0].isdigit() and model == "1":
            if len(words) not in (3, 5) or not target:
                problem = "no TARGET line stands above" if not target else f"{len(words)} columns"
                raise InputError(f"{source}:{number}: {problem}", hint="pairs of CASP RR read: i j 0 8 probability")
            yield number, {"id": target, "i": words[0], "j": words[1], "p": words[-1]}


def _for_3drna(column: str, digits: int) -> Callable[[SequenceRecord, Rows], str]:
    """3dRNA's restraints: ``i j p`` of the kind DCA, ``i j d`` (Å) of the kind Distances."""

    def text(record: SequenceRecord, rows: Rows) -> str:
        check_bases(record, "3dRNA")
        return "".join(f"{row.i} {row.j} {getattr(row, column):.{digits}f}\n" for row in rows)

    return text


def _format_rosetta(record: SequenceRecord, rows: Rows) -> str:
    """Rosetta's constraint file: one ``AtomPair`` between C1' atoms for each pair, in pose numbering.

    A distance d gives ``FLAT_HARMONIC`` around d + 6.5 Å, free within 4 Å, with the prediction's deviation (1 Å at
    least). A contact without a distance gives ``FADE``: its probability is the reward up to 14 Å, falling to nothing at
    22 Å.
    """
    check_bases(record, "Rosetta")
    lines = []
    for row in rows:
        if row.distance is not None:
            sd = max(row.sd or 0.0, _LEAST_SD)
            function = f"FLAT_HARMONIC {row.distance + _MIDDLE:.2f} {sd:.2f} {_TOLERANCE:.1f}"
        else:
            function = f"FADE -10.0 {_NONE:.1f} {_NONE - _FULL:.1f} {-(row.p or 0.0):.4f} 0.0"
        lines.append(f"AtomPair C1' {row.i} C1' {row.j} {function}\n")
    return "".join(lines)
