"""Predicted contacts and distances as restraints of 3D modelling programs, and in CASP's format for contacts.

Predictions are about the nearest heavy atoms of two nucleotides; Rosetta's restraints hold between C1' atoms. From C1'
to the farthest heavy atom of its nucleotide it is 6 to 7 Å, so that two C1' are d to d + 13 Å apart when the nearest
atoms are d.
"""

from __future__ import annotations

from collections.abc import Sequence

from rnafm_cli.io.modelling import check_bases
from rnafm_cli.io.pair_rows import PairRow
from rnafm_cli.rna.chains import CONTACT_DISTANCE
from rnafm_cli.rna.records import SequenceRecord

__all__ = ["format_3drna_contacts", "format_3drna_distances", "format_casprr", "format_rosetta"]

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
