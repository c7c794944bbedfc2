"""Structures, contacts and distances as 3D modelling programs take them, and CASP's format for contacts.

Predictions are about the nearest heavy atoms of two nucleotides; Rosetta's restraints hold between C1' atoms. From C1'
to the farthest heavy atom of its nucleotide it is 6 to 7 Å, so that two C1' are d to d + 13 Å apart when the nearest
atoms are d.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.io.names import file_stem
from rnafm_cli.rna.chains import CONTACT_DISTANCE
from rnafm_cli.rna.pairs import are_canonical, to_dot_bracket
from rnafm_cli.rna.records import SequenceRecord, StructureRecord

__all__ = [
    "PairRow",
    "check_bases",
    "format_3drna",
    "format_3drna_contacts",
    "format_3drna_distances",
    "format_casprr",
    "format_rosetta",
    "format_secstruct",
    "pair_rows",
    "read_casprr",
    "rosetta_files",
]


class PairRow(NamedTuple):
    """A pair i < j (1-based), its letters, its contact probability, and its distance with deviation (Å)."""

    i: int
    j: int
    base_i: str
    base_j: str
    p: float | None = None
    distance: float | None = None
    sd: float | None = None


def pair_rows(
    record: SequenceRecord, pairs: NDArray[np.int64], maps: Mapping[str, NDArray[np.floating]]
) -> list[PairRow]:
    """The rows of chosen pairs, (N, 2) and 0-based, from what there is of ``contact``, ``distance``, ``sd``."""
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


_BASES = frozenset("ACGU")


def format_3drna(record: StructureRecord) -> str:
    """3dRNA's input: a line of A, C, G, U and a line of ``.()[]``, without header.

    Pairs that would need a third kind of bracket are left out.

    Raises:
        InputError: when the sequence has another letter, which 3dRNA cannot build.
    """
    check_bases(record, "3dRNA")
    return f"{record.sequence}\n{to_dot_bracket(record.pairs, len(record), max_layers=2)}\n"


def format_secstruct(record: StructureRecord) -> str:
    """Rosetta's ``-secstruct_file``: the structure first, in ``.()[]{}``, then the sequence, which Rosetta skips.

    Pairs that would need a fourth kind of bracket are left out, and so are non-canonical ones: Rosetta
    takes those through ``-obligate_pair``.

    Raises:
        InputError: when the sequence has letters other than A, C, G, U.
    """
    check_bases(record, "Rosetta")
    pairs = record.pairs[are_canonical(record.pairs, record.sequence)]
    return f"{to_dot_bracket(pairs, len(record), max_layers=3)}\n{record.sequence.lower()}\n"


def rosetta_files(record: StructureRecord) -> dict[str, str]:
    """The two files of ``rna_denovo``, by name: ``ID.fasta`` (lower case) and ``ID.secstruct``.

    Raises:
        InputError: when the sequence has letters other than A, C, G, U.
    """
    stem = file_stem(record.id)
    return {
        f"{stem}.secstruct": format_secstruct(record),
        f"{stem}.fasta": f">{stem}\n{record.sequence.lower()}\n",
    }


def check_bases(record: SequenceRecord | StructureRecord, program: str) -> None:
    """Make sure that a program can build a sequence.

    Raises:
        InputError: when it has letters other than A, C, G, U.
    """
    for position, letter in enumerate(record.sequence, start=1):
        if letter not in _BASES:
            raise InputError(
                f"{record.where}: '{letter}' at position {position}; {program} takes A, C, G and U only",
                hint="replace or cut out unknown bases first",
            )


_FULL, _NONE = 14.0, 22.0
"""Å between C1': up to the first a contact is rewarded fully, from the second on not at all."""
_MIDDLE, _TOLERANCE, _LEAST_SD = 6.5, 4.0, 1.0
"""Å: C1' are about this much farther apart than the nearest atoms, give or take the second number."""
_LINE = 50


def format_casprr(record: SequenceRecord, rows: Sequence[PairRow]) -> str:
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


def format_3drna_contacts(record: SequenceRecord, rows: Sequence[PairRow]) -> str:
    """3dRNA's restraints of the kind DCA: ``i j p`` a line, the most probable first.

    Raises:
        InputError: when the sequence has letters other than A, C, G, U.
    """
    check_bases(record, "3dRNA")
    return "".join(f"{row.i} {row.j} {row.p:.4f}\n" for row in rows)


def format_3drna_distances(record: SequenceRecord, rows: Sequence[PairRow]) -> str:
    """3dRNA's restraints of the kind Distances: ``i j d`` a line, d in Å.

    Raises:
        InputError: when the sequence has letters other than A, C, G, U.
    """
    check_bases(record, "3dRNA")
    return "".join(f"{row.i} {row.j} {row.distance:.2f}\n" for row in rows)


def format_rosetta(record: SequenceRecord, rows: Sequence[PairRow]) -> str:
    """Rosetta's constraint file: one ``AtomPair`` between C1' atoms for each pair, in pose numbering.

    A distance d gives ``FLAT_HARMONIC`` around d + 6.5 Å, free within 4 Å, with the prediction's deviation (1 Å at
    least). A contact without a distance gives ``FADE``: its probability is the reward up to 14 Å, falling to nothing at
    22 Å.

    Raises:
        InputError: when the sequence has letters other than A, C, G, U.
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
