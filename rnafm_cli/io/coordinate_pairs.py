"""Secondary structures of PDB and mmCIF files: the canonical pairs that biotite sees in their coordinates."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnafm_cli.errors import InputError, Reject, RnafmWarning, UsageError, raise_rejected
from rnafm_cli.rna.pairs import are_canonical
from rnafm_cli.rna.records import StructureRecord

if TYPE_CHECKING:
    from rnafm_cli.io.coordinates import Residue


_FARTHEST = 3.5
"""Å between the middle atoms of the Watson-Crick edges of a pair."""


def read_coordinate_pairs(
    lines: Iterable[str], source: str, reject: Reject = raise_rejected
) -> Iterator[StructureRecord]:
    """Yield each nucleic acid chain of a PDB or mmCIF text with the canonical pairs seen in its first model.

    Pairs are those of biotite (Leontis and Westhof's geometry, bases side by side in one plane) that are cis, A-U, G-C
    or G-U, and have N1 of the purine within 3.5 Å of the pyrimidine's N3 (of its O2 in G-U): Watson-Crick edges. They
    are told by distance because biotite's own call of edges needs hydrogens, which most files lack. Only observed
    residues count. Ids are ``FILE_CHAIN``.
    """
    try:
        from biotite import structure
    except ImportError as error:
        raise UsageError(
            f"{source}: pairs of coordinates are found by the package biotite", hint="pip install 'rnafm[pdb]'"
        ) from error
    from rnafm_cli.io.coordinates import chain_id, nucleotides_of, parent_letter, parse_model

    model, _, parents = parse_model(Path(source), "".join(lines))
    found = [(part.name, residue) for part in model for residue in nucleotides_of(part, hydrogens=True)]
    if not found:
        raise InputError(f"{source}: has no nucleic acid chain")
    chains, residues = [chain for chain, _ in found], [residue for _, residue in found]
    letters = "".join(parent_letter(residue.name, parents) for residue in residues)
    partner: dict[int, int] = {}
    between: set[tuple[str, str]] = set()
    for i, j in _cis_pairs(structure, residues, letters):
        if i in partner or j in partner or not _edges_meet(residues, letters, i, j):
            continue
        if chains[i] != chains[j]:
            between.add((chains[i], chains[j]))
        else:
            partner |= {i: j, j: i}
    for one, other in sorted(between):
        warnings.warn(f"{source}: pairs between chains {one} and {other} are left out", RnafmWarning, stacklevel=2)
    for chain in dict.fromkeys(chains):
        places = [k for k, name in enumerate(chains) if name == chain]
        own = {place: k for k, place in enumerate(places)}
        pairs = np.array([(own[i], own[j]) for i, j in partner.items() if i < j and i in own], dtype=np.int64)
        name, sequence = chain_id(Path(source), chain), "".join(letters[k] for k in places)
        yield StructureRecord(name, sequence, pairs.reshape(-1, 2), source=source, line=1)


def _cis_pairs(structure: Any, residues: Sequence[Residue], letters: str) -> list[tuple[int, int]]:
    """Canonical base pairs by biotite, as numbers of residues."""
    atoms = structure.AtomArray(sum(len(residue.atoms) for residue in residues))
    atoms.coord = np.concatenate([np.stack(list(residue.atoms.values())) for residue in residues])
    number = np.repeat(np.arange(len(residues)), [len(residue.atoms) for residue in residues])
    atoms.res_id = number + 1
    atoms.chain_id[:] = "A"
    atoms.atom_name = np.array([name for residue in residues for name in residue.atoms])
    atoms.element = np.array([name.lstrip("0123456789")[0] for name in atoms.atom_name])
    atoms.res_name = np.array([residue.name for residue in residues])[number]
    # Names of modelling programs, which biotite does not know.
    unknown = ~structure.filter_nucleotides(atoms)
    atoms.res_name[unknown] = np.array(list(letters))[number][unknown]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are no hydrogens
        found = structure.base_pairs(atoms)
        if not len(found):
            return []
        is_cis = structure.base_pairs_glycosidic_bond(atoms, found) == structure.GlycosidicBond.CIS
    cis = np.sort(number[found[is_cis]])
    return [(int(i), int(j)) for i, j in cis[are_canonical(cis, letters)]]


def _edges_meet(residues: Sequence[Residue], letters: str, i: int, j: int) -> bool:
    purine, pyrimidine = (i, j) if letters[i] in "AG" else (j, i)
    one = residues[purine].atoms.get("N1")
    other = residues[pyrimidine].atoms.get("O2" if letters[purine] + letters[pyrimidine] == "GU" else "N3")
    return one is not None and other is not None and float(np.linalg.norm(one - other)) < _FARTHEST
