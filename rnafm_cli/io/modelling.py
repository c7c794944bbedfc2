"""Secondary structures as 3D modelling programs take them: 3dRNA and Rosetta's FARFAR2."""

from __future__ import annotations

from rnafm_cli.errors import InputError
from rnafm_cli.io.names import file_stem
from rnafm_cli.rna.pairs import are_canonical
from rnafm_cli.rna.pseudoknots import to_dot_bracket
from rnafm_cli.rna.records import SequenceRecord, StructureRecord

__all__ = ["check_bases", "format_3drna", "format_secstruct", "rosetta_files"]

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
