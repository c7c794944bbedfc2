"""Structure records put together from what the various formats hold."""

from __future__ import annotations

from collections.abc import Sequence

from rnafm_cli.errors import InputError
from rnafm_cli.rna.pairs import Pairs
from rnafm_cli.rna.records import StructureRecord

__all__ = ["pairs_of_partners", "plain_letters", "rna_letters", "structure_record"]

_TO_RNA = str.maketrans("Tt", "UU")
_KEPT = set("ACGURYKMSWBDHVN")
_SURE = set("ACGU")


def rna_letters(text: str) -> str:
    """The letters of a structure file as upper-case RNA: T is U, IUPAC codes stay, other letters are N.

    >>> rna_letters("acgTXn")
    'ACGUNN'

    Raises:
        ValueError: for a character that is no letter.
    """
    sequence = text.translate(_TO_RNA).upper()
    if sequence and not (sequence.isalpha() and sequence.isascii()):
        foreign = next(letter for letter in sequence if not (letter.isalpha() and letter.isascii()))
        raise ValueError(f"'{foreign}' is not a base")
    return sequence if set(sequence) <= _KEPT else "".join(x if x in _KEPT else "N" for x in sequence)


def plain_letters(sequence: str) -> str:
    """A sequence for programs that know A, C, G, U and N: every ambiguity code becomes N."""
    return sequence if set(sequence) <= _SURE else "".join(x if x in _SURE else "N" for x in sequence)


def pairs_of_partners(partners: Sequence[int], lines: Sequence[int], source: str) -> list[tuple[int, int]]:
    """Pairs (0-based) from the 1-based partner column of CT or BPSEQ rows, 0 or less for unpaired.

    Args:
        partners: entry k is the partner of base k + 1.
        lines: the line number of each row, for messages.

    Raises:
        InputError: when a partner lies outside, is the base itself, or does not point back.
    """
    pairs = []
    for base, (partner, line) in enumerate(zip(partners, lines, strict=True), start=1):
        if partner <= 0:
            continue
        if partner > len(partners):
            raise InputError(f"{source}:{line}: base {base} pairs with {partner}, there are {len(partners)} bases")
        if partner == base:
            raise InputError(f"{source}:{line}: base {base} pairs with itself")
        if partners[partner - 1] != base:
            back = max(partners[partner - 1], 0)
            told = f"base {partner} pairs with {back}" if back else f"base {partner} is unpaired"
            raise InputError(f"{source}:{line}: base {base} pairs with {partner}, but {told}")
        if base < partner:
            pairs.append((base - 1, partner - 1))
    return pairs


def structure_record(
    identifier: str,
    letters: str,
    pairs: Pairs | list[tuple[int, int]],
    *,
    description: str = "",
    family: str = "",
    source: str = "",
    line: int = 0,
) -> StructureRecord:
    """A record with its letters cleaned and its pairs checked.

    Raises:
        InputError: naming file, line and record.
    """
    where = f"{source}:{line}: record '{identifier}'"
    if not letters:
        raise InputError(f"{where}: has no sequence")
    try:
        return StructureRecord(
            identifier,
            rna_letters(letters),
            pairs,  # type: ignore[arg-type]
            description,
            family,
            source,
            line,
        )
    except (InputError, ValueError) as error:
        raise InputError(f"{where}: {error}") from error
