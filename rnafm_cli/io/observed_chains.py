"""One chain of a structure file: which residues it has, where they stand in its sequence, and how far apart they
are.

Shape suffixes: L residues of the sequence, O observed residues, A atoms, X their coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError

__all__ = ["FEWEST_ATOMS", "ObservedChain", "RNA_SHARE", "chain_of_residues"]


RNA_SHARE = 0.8
"""Share of residues with a 2' oxygen from which a chain is RNA."""
FEWEST_ATOMS = 15
"""Heavy atoms a residue below which a model is coarse-grained."""
_RIBOSE = frozenset({"C1'", "C2'", "C3'", "C4'", "O4'"})
_LEAST_RIBOSE = 3
_BOND = 2.2
"""Å; a 3' oxygen and a phosphorus closer than this are bonded."""
_WIDEST_JUMP = 100
"""Residue numbers between two observed residues beyond which the sequence cannot be guessed."""
_PEPTIDE = frozenset({"N", "CA", "C", "O"})
_PLACES_OF_BEADS = frozenset({"P", "C4'", "C1'"})
_OTHER_NAMES = {
    "DU": "U",
    "ADE": "A",
    "CYT": "C",
    "GUA": "G",
    "URA": "U",
    "URI": "U",
    "RA": "A",
    "RC": "C",
    "RG": "G",
    "RU": "U",
}
_RNA = {"A": "A", "C": "C", "G": "G", "U": "U", "T": "U"}


@dataclass(frozen=True)
class _Residue:
    name: str
    number: int
    insertion: str
    hetero: bool
    atoms: dict[str, NDArray[np.float32]]

    @property
    def is_nucleotide(self) -> bool:
        return len(_RIBOSE & self.atoms.keys()) >= _LEAST_RIBOSE

    def is_bonded_to(self, following: _Residue) -> bool:
        end, start = self.atoms.get("O3'"), following.atoms.get("P")
        return end is not None and start is not None and float(np.linalg.norm(end - start)) < _BOND


@dataclass(frozen=True)
class ObservedChain:
    """A chain put in order.

    Args:
        kind: ``RNA``, ``DNA``, ``protein``, or what else it is in words; for all but RNA the rest is empty.
        sequence: L letters, A, C, G, U or N.
        places: (O,) place (0-based) of each observed residue in the sequence, ascending.
        coordinates: of each observed residue, (A, 3) Å of its heavy atoms.
    """

    kind: str
    sequence: str = ""
    places: tuple[int, ...] = ()
    coordinates: tuple[NDArray[np.float32], ...] = ()

    @cached_property
    def atoms(self) -> int:
        """Heavy atoms of the chain."""
        return sum(map(len, self.coordinates))

    def distances(self) -> NDArray[np.float32]:
        """(L, L) smallest distances over heavy atoms, Å; NaN where a residue was not observed, diagonal 0."""
        length, starts = len(self.sequence), np.cumsum([0, *map(len, self.coordinates)])[:-1]
        every_AX = np.concatenate(self.coordinates).astype(np.float64)
        known_OO = np.empty((len(self.places), len(self.places)), dtype=np.float32)
        square_A = (every_AX**2).sum(axis=1)
        for row, mine_AX in enumerate(self.coordinates):
            mine = mine_AX.astype(np.float64)
            squares = (mine**2).sum(axis=1)[:, None] + square_A - 2.0 * mine @ every_AX.T
            nearest_A = squares.min(axis=0)
            known_OO[row] = np.sqrt(np.maximum(np.minimum.reduceat(nearest_A, starts), 0.0))
        known_OO = np.minimum(known_OO, known_OO.T)
        np.fill_diagonal(known_OO, 0.0)
        distance_LL = np.full((length, length), np.nan, dtype=np.float32)
        distance_LL[np.ix_(self.places, self.places)] = known_OO
        return distance_LL


def chain_of_residues(
    part: Any, listed: Sequence[str] | None, parents: Mapping[str, str], *, where: str
) -> ObservedChain:
    """Put a Biopython chain in order.

    Args:
        part: its residues in the order of the file.
        listed: names of all its residues, observed or not; None where the file has no list.
        parents: modified residues to their parents, as far as the file tells.
        where: how messages point at the chain.

    Raises:
        InputError: for residue numbers that go back, or jump too far over a gap of unknown sequence.
    """
    residues = [_residue(one) for one in part]
    chosen = _polymer([one for one in residues if one.is_nucleotide])
    if not chosen:
        return ObservedChain(_kind_without_nucleotides(residues))
    with_oxygen = sum("O2'" in one.atoms for one in chosen)
    if with_oxygen < RNA_SHARE * len(chosen):
        return ObservedChain("DNA")
    _check_order(chosen, where)
    letters = "".join(_letter(one.name, parents) for one in chosen)
    whole = "".join(_letter(name, parents) for name in listed) if listed else ""
    places = _places_in_list(chosen, letters, whole) if len(whole) >= len(letters) else None
    if places is None:
        places, whole = _places_by_number(chosen, letters, where)
    coordinates = tuple(np.stack(list(one.atoms.values())) for one in chosen)
    return ObservedChain("RNA", whole, tuple(places), coordinates)


def _kind_without_nucleotides(residues: Sequence[_Residue]) -> str:
    if any(_PEPTIDE <= one.atoms.keys() for one in residues):
        return "protein"
    if any("CA" in one.atoms and not one.hetero for one in residues):
        return "a coarse model of protein"
    if any(_PLACES_OF_BEADS & one.atoms.keys() and not one.hetero for one in residues):
        return "a coarse model of nucleic acid"
    return "ligands, ions or water"


def _residue(residue: Any) -> _Residue:
    hetero, number, insertion = residue.id
    if residue.is_disordered() == 2:
        # Two kinds of residue at one place: the first in the file stands.
        residue = residue.disordered_get_list()[0]
    atoms: dict[str, NDArray[np.float32]] = {}
    for atom in residue:
        if atom.is_disordered():
            atom = min(atom.disordered_get_list(), key=lambda one: one.get_altloc())
        if (atom.element or atom.get_name()[:1]) not in ("H", "D"):
            atoms[atom.get_name().replace("*", "'")] = atom.coord
    return _Residue(residue.get_resname().strip(), number, insertion.strip(), hetero.strip() != "", atoms)


def _polymer(residues: list[_Residue]) -> list[_Residue]:
    """Without free nucleotides: hetero residues stay where they are bonded to a neighbour."""
    kept = []
    for k, one in enumerate(residues):
        before = k > 0 and residues[k - 1].is_bonded_to(one)
        after = k + 1 < len(residues) and one.is_bonded_to(residues[k + 1])
        if not one.hetero or before or after:
            kept.append(one)
    return kept


def _check_order(residues: Sequence[_Residue], where: str) -> None:
    for one, following in zip(residues, residues[1:], strict=False):
        if following.number < one.number and not one.is_bonded_to(following):
            raise InputError(
                f"{where}: residue numbers go back from {one.number} to {following.number}",
                hint="number the residues of a chain upwards from its 5' end",
            )


def _letter(name: str, parents: Mapping[str, str]) -> str:
    from Bio.Data.PDBData import nucleic_letters_3to1_extended as letters

    for known in (name, parents.get(name, "")):
        if known in _OTHER_NAMES:
            return _OTHER_NAMES[known]
        letter = letters.get(known.ljust(3), letters.get(known, "")) if known else ""
        if letter.upper() in _RNA:
            return _RNA[letter.upper()]
    return "N"


def _places_in_list(residues: Sequence[_Residue], letters: str, whole: str) -> list[int] | None:
    """Where the observed residues stand in the file's own list; None if they do not fit into it."""
    numbers = [one.number for one in residues]
    if len(set(numbers)) == len(numbers):
        # Numbering that runs along the list, possibly shifted, is the surest guide through repeats.
        for shift in sorted(range(-min(numbers), len(whole) - max(numbers)), key=lambda k: abs(k + 1)):
            places = [number + shift for number in numbers]
            if all(whole[place] == letter for place, letter in zip(places, letters, strict=True)):
                return places
    return _aligned(letters, whole)


def _aligned(letters: str, whole: str) -> list[int] | None:
    from Bio.Align import PairwiseAligner

    aligner = PairwiseAligner(mode="global", match_score=2.0, mismatch_score=-4.0)
    aligner.open_gap_score, aligner.extend_gap_score = -6.0, -0.1
    aligner.end_gap_score = 0.0
    best = aligner.align(whole, letters)[0]
    places: list[int] = []
    for (start, stop), (first, _) in zip(*best.aligned, strict=True):
        if first != len(places):
            return None
        places += range(start, stop)
    if len(places) != len(letters) or any(whole[p] != c for p, c in zip(places, letters, strict=True)):
        return None
    return places


def _places_by_number(residues: Sequence[_Residue], letters: str, where: str) -> tuple[list[int], str]:
    """Places and sequence where the file lists no residues: N where numbers jump over a broken backbone."""
    places, sequence = [0], letters[0]
    for k in range(1, len(residues)):
        one, following = residues[k - 1], residues[k]
        jump = following.number - one.number - 1
        if jump > 0 and not one.is_bonded_to(following):
            if jump > _WIDEST_JUMP:
                raise InputError(
                    f"{where}: residue numbers jump from {one.number} to {following.number}",
                    hint="split the chain, or give a file that lists the missing residues (SEQRES)",
                )
            sequence += "N" * jump
        places.append(len(sequence))
        sequence += letters[k]
    return places, sequence
