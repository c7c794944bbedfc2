"""Made-up structure files: residues along a hairpin, every atom near its residue, the backbone in one piece."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

_RIBOSE = ("C1'", "C2'", "C3'", "C4'", "O4'", "C5'", "O5'", "O2'")
_BASE = ("N1", "C2", "N3", "C4", "C5", "C6", "N7", "C8", "N9")
_PEPTIDE = ("N", "CA", "C", "O", "CB")


@dataclass(frozen=True)
class Placed:
    """A residue and where it stands: origin, direction of the backbone, and what is special."""

    name: str
    number: int
    origin: tuple[float, float, float]
    onward: tuple[float, float, float]
    hetero: bool = False
    ribose: bool = True
    """Without the 2' oxygen it is DNA."""
    peptide: bool = False
    shifted_altloc: bool = False
    """A second location, 5 Å off, labelled B."""


def hairpin(names: str | list[str], *, first: int = 1, ribose: bool = True, peptide: bool = False) -> list[Placed]:
    """Two antiparallel strands 9 Å apart, joined by a half circle."""
    count, rise = len(names), 5.5
    half = count // 2
    placed = []
    for k, name in enumerate(names):
        if k < half:
            origin, onward = (k * rise, 0.0, 0.0), (1.0, 0.0, 0.0)
        else:
            origin, onward = ((count - 1 - k) * rise, 9.0, 0.0), (-1.0, 0.0, 0.0)
        placed.append(Placed(name, first + k, origin, onward, ribose=ribose, peptide=peptide))
    return placed


def atoms_of(residue: Placed) -> Iterator[tuple[str, tuple[float, float, float]]]:
    x, y, z = residue.origin
    dx, dy, dz = residue.onward
    if residue.peptide:
        for k, name in enumerate(_PEPTIDE):
            yield name, (x + 0.5 * k, y, z + 1.0)
        return
    yield "P", (x - 1.8 * dx, y - 1.8 * dy, z - 1.8 * dz)
    yield "O3'", (x + 2.2 * dx, y + 2.2 * dy, z + 2.2 * dz)
    for k, name in enumerate(_RIBOSE if residue.ribose else _RIBOSE[:-1]):
        yield name, (x + 0.3 * math.cos(k), y + 0.3 * math.sin(k), z)
    inward = 1.0 if dx > 0 else -1.0
    for k, name in enumerate(_BASE):
        yield name, (x + 0.2 * math.cos(k), y + inward * (1.0 + 0.2 * k), z + 0.2 * math.sin(k))
    yield "H1", (x, y + 20.0, z)


def pdb_text(
    chains: dict[str, list[Placed]], *, seqres: dict[str, list[str]] | None = None, modres: dict[str, str] | None = None
) -> str:
    """A PDB file of one model."""
    lines = []
    for chain, names in (seqres or {}).items():
        for start in range(0, len(names), 13):
            row = " ".join(f"{name:>3}" for name in names[start : start + 13])
            lines.append(f"SEQRES {start // 13 + 1:>3} {chain} {len(names):>4}  {row}")
    for name, parent in (modres or {}).items():
        lines.append(f"MODRES 1XXX {name:>3} A    1  {parent:>3}  MODIFIED")
    return "\n".join([*lines, *_atom_lines(chains), "END", ""])


def _atom_lines(chains: dict[str, list[Placed]]) -> Iterator[str]:
    serial = 0
    for chain, residues in chains.items():
        for residue in residues:
            for name, (x, y, z) in atoms_of(residue):
                for label, shift in ((" ", 0.0),) if not residue.shifted_altloc else (("A", 0.0), ("B", 5.0)):
                    serial += 1
                    record = "HETATM" if residue.hetero else "ATOM  "
                    padded = f" {name:<3}" if len(name) < 4 else name
                    place = f"{chain}{residue.number:>4}    {x:8.3f}{y:8.3f}{z + shift:8.3f}"
                    atom = f"{record}{serial:>5} {padded}{label}{residue.name:>3}"
                    yield f"{atom} {place}  0.50 10.00           {name[0]:>1}"
        yield "TER"


def mmcif_text(chain: str, residues: list[Placed], listed: list[str]) -> str:
    """An mmCIF file of one chain with the list of all its residues."""
    columns = (
        "group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id", "label_asym_id",
        "label_entity_id", "label_seq_id", "pdbx_PDB_ins_code", "Cartn_x", "Cartn_y", "Cartn_z", "occupancy",
        "B_iso_or_equiv", "auth_seq_id", "auth_comp_id", "auth_asym_id", "auth_atom_id", "pdbx_PDB_model_num",
    )  # fmt: skip
    lines = ["data_TEST", "#", "loop_", "_pdbx_poly_seq_scheme.asym_id", "_pdbx_poly_seq_scheme.seq_id"]
    lines += ["_pdbx_poly_seq_scheme.mon_id", "_pdbx_poly_seq_scheme.pdb_strand_id"]
    lines += [f"A {k} {name} {chain}" for k, name in enumerate(listed, start=1)]
    lines += ["#", "loop_", *(f"_atom_site.{column}" for column in columns)]
    serial = 0
    for residue in residues:
        for name, (x, y, z) in atoms_of(residue):
            serial += 1
            group = "HETATM" if residue.hetero else "ATOM"
            atom = f'"{name}"' if "'" in name else name
            lines.append(
                f"{group} {serial} {name[0]} {atom} . {residue.name} A 1 {residue.number} ? {x:.3f} {y:.3f} {z:.3f} "
                f"1.00 10.00 {residue.number} {residue.name} {chain} {atom} 1"
            )
    return "\n".join([*lines, "#", ""])
