"""Atom rows of PDB and mmCIF files as they stand there: whole, numbered, and none of them twice.

Parsers of structures join rows that share a residue number, and stop quietly where a file ends: both is looked for
here, before they run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnafm_cli.errors import InputError

__all__ = ["AtomRow", "check_rows", "mmcif_atom_rows", "pdb_atom_rows"]

_RECORDS = ("ATOM  ", "HETATM")
_LAST_COORDINATE = 54
"""Columns of a PDB line up to the coordinates."""
_WHOLE = 15
"""Heavy atoms of a nucleotide without phosphate, or nearly."""
_SUGAR = frozenset({"C1'", "C2'", "C3'", "C4'", "O4'"})
_UNKNOWN = ("?", ".")


class AtomRow(NamedTuple):
    """One atom. ``number`` is the residue's, insertion code included, empty where there is none."""

    model: str
    chain: str
    number: str
    residue: str
    hetero: bool
    name: str
    location: str

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What parsers tell residues by: model, chain, number, and the name of a hetero residue."""
        return self.model, self.chain, self.number, self.residue if self.hetero else ""


def pdb_atom_rows(path: Path, lines: Sequence[str]) -> list[AtomRow]:
    """The atoms of a PDB file.

    Raises:
        InputError: for an atom that is cut short, has no residue number or no place, and for a model that does not end.
    """
    rows: list[AtomRow] = []
    model, open_model, full = "", "", 0
    for number, line in enumerate(lines, start=1):
        if line.startswith("MODEL "):
            model = open_model = line[6:].strip() or str(number)
        elif line.startswith(("ENDMDL", "END")):
            open_model = ""
        elif line.startswith(_RECORDS):
            text = line.rstrip("\n")
            cut = number == len(lines) and not line.endswith("\n") and len(text.rstrip()) < full
            _check_line(path, number, text, cut=cut, last=number == len(lines))
            full = len(text.rstrip())
            rows.append(
                AtomRow(
                    model,
                    line[21:22].strip(),
                    line[22:27].strip(),
                    line[17:20].strip(),
                    line.startswith("HETATM"),
                    line[12:16].strip().replace("*", "'"),
                    line[16:17].strip(),
                )
            )
    if open_model and rows:
        raise InputError(f"{path}: the file ends within model {open_model}", hint="fetch the file again")
    return rows


def _check_line(path: Path, number: int, line: str, *, cut: bool, last: bool) -> None:
    damage = ""
    if cut or len(line) < _LAST_COORDINATE:
        # The last digits of a coordinate that was cut off would go unnoticed.
        damage = "the file ends in the middle of an atom" if last else "an atom line is cut short"
    elif not _is_number(line[22:26]):
        damage = (
            f"the residue number '{line[22:26].strip()}' is no number" if line[22:26].strip() else "no residue number"
        )
    elif not all(_is_number(line[start : start + 8]) for start in (30, 38, 46)):
        damage = "an atom line is damaged: its coordinates are no numbers"
    if damage:
        raise InputError(f"{path}:{number}: {damage}", hint="fetch the file again, or repair the line")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def mmcif_atom_rows(path: Path, table: Any) -> list[AtomRow]:
    """The atoms of an mmCIF file's dictionary, chains and numbers as the authors name them.

    Raises:
        InputError: when there are none, the table breaks off, or an atom has no place.
    """
    columns = {key.removeprefix("_atom_site."): table[key] for key in table if key.startswith("_atom_site.")}
    if not columns:
        raise InputError(f"{path}: holds no atoms", hint="is it an mmCIF file of coordinates?")
    if len({len(column) for column in columns.values()}) > 1:
        raise InputError(f"{path}: the table of atoms ends in the middle of a row", hint="fetch the file again")
    count = len(next(iter(columns.values())))
    for axis in ("Cartn_x", "Cartn_y", "Cartn_z"):
        values = columns.get(axis, [""] * count)
        if bad := [k for k, value in enumerate(values) if not _is_number(value)]:
            raise InputError(f"{path}: atom {bad[0] + 1} of {count} has no number as {axis}", hint="repair the row")

    def column(*names: str) -> list[str]:
        found = next((columns[name] for name in names if name in columns), [""] * count)
        return ["" if value in _UNKNOWN else value for value in found]

    numbers = [
        number + insertion
        for number, insertion in zip(column("auth_seq_id", "label_seq_id"), column("pdbx_PDB_ins_code"), strict=True)
    ]
    return [
        AtomRow(*values)
        for values in zip(
            column("pdbx_PDB_model_num"),
            column("auth_asym_id", "label_asym_id"),
            numbers,
            column("auth_comp_id", "label_comp_id"),
            [group == "HETATM" for group in column("group_PDB")],
            [name.strip('"') for name in column("label_atom_id", "auth_atom_id")],
            column("label_alt_id"),
            strict=True,
        )
    ]


def check_rows(path: Path, rows: Sequence[AtomRow], *, ended: bool) -> None:
    """Look for nucleotides that share a number, and for a last one that is not whole.

    Args:
        ended: whether something follows the last atom in the file, so that it was not cut off there.

    Raises:
        InputError: naming the residue.
    """
    seen: set[tuple[object, ...]] = set()
    for row in rows:
        if row.name in _SUGAR:
            atom = (*row.place, row.location, row.name)
            if atom in seen:
                raise InputError(
                    f"{path}: chain {row.chain}: has two residues of number {row.number}",
                    hint="number the residues of a chain upwards, and give every copy of a chain its own name",
                )
            seen.add(atom)
    if ended or not rows:
        return
    last = rows[-1].place
    tail = _heavy_atoms(rows, last)
    before = next((row.place for row in reversed(rows) if row.place != last), None)
    if before is None or last[:2] != before[:2] or rows[-1].hetero:
        return
    names = {row.name for row in rows if row.place == before}
    if names & _SUGAR and tail < _WHOLE <= _heavy_atoms(rows, before):
        raise InputError(
            f"{path}: the file ends in the middle of residue {rows[-1].number} of chain {rows[-1].chain}",
            hint="fetch the file again, or close it with END if it is whole",
        )


def _heavy_atoms(rows: Sequence[AtomRow], place: tuple[str, str, str, str]) -> int:
    return sum(row.place == place and not row.name.lstrip("0123456789").startswith(("H", "D")) for row in rows)
