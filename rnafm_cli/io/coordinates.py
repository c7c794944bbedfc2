"""RNA chains of PDB and mmCIF files, plain or compressed, with the distances of their residues.

The rules of the project's own data: first model; of alternate locations the first; no hydrogens; nucleotides are
residues with at least three ribose atoms, hetero residues only where the backbone ties them to the chain; a chain is
RNA when four fifths of its residues have a 2' oxygen. Modified residues take the letter of their parent. Residues that
the file lists without coordinates are unknown.

Parsers of structures join rows that share a residue number, and stop quietly where a file ends: both is looked for
here, before they run.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnafm_cli.errors import InputError, Reject, raise_rejected
from rnafm_cli.io.names import PACKED
from rnafm_cli.io.observed_chains import FEWEST_ATOMS, RNA_SHARE, ObservedChain, chain_of_residues
from rnafm_cli.io.streams import open_text
from rnafm_cli.rna.chains import Chain

__all__ = [
    "AtomRow",
    "COORDINATE_SUFFIXES",
    "check_rows",
    "is_named_like_a_structure",
    "mmcif_atom_rows",
    "mmcif_modifications",
    "mmcif_residue_lists",
    "pdb_atom_rows",
    "pdb_modifications",
    "pdb_residue_lists",
    "read_coordinates",
]


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


def pdb_residue_lists(lines: Sequence[str]) -> dict[str, list[str]]:
    """Residue names of each chain by SEQRES records; a chain without them is absent."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("SEQRES"):
            found.setdefault(line[11:12], []).extend(line[19:70].split())
    return found


def pdb_modifications(lines: Sequence[str]) -> dict[str, str]:
    """Name of each modified residue to that of its parent, by MODRES records."""
    return {
        line[12:15].strip(): line[24:27].strip()
        for line in lines
        if line.startswith("MODRES") and len(line) >= 27 and line[24:27].strip()
    }


def mmcif_modifications(table: Any) -> dict[str, str]:
    """Name of each modified residue to that of its parent, by ``_pdbx_struct_mod_residue``."""
    prefix = "_pdbx_struct_mod_residue."
    names = table.get(f"{prefix}label_comp_id") or table.get(f"{prefix}auth_comp_id") or []
    parents = table.get(f"{prefix}parent_comp_id") or []
    return {name: parent for name, parent in zip(names, parents, strict=False) if parent not in ("?", ".")}


def mmcif_residue_lists(table: Any) -> dict[str, list[str]]:
    """Residue names of each polymer (author's chain names) by ``_pdbx_poly_seq_scheme``, or by the entities' lists."""
    names, chains = table.get("_pdbx_poly_seq_scheme.mon_id"), table.get("_pdbx_poly_seq_scheme.pdb_strand_id")
    if names and chains and len(names) == len(chains):
        places = table.get("_pdbx_poly_seq_scheme.seq_id") or [""] * len(names)
        found: dict[str, dict[str, str]] = {}
        for number, (name, chain) in enumerate(zip(names, chains, strict=True)):
            # Where several residues share a place (heterogeneity), the first stands.
            found.setdefault(chain, {}).setdefault(places[number] or str(number), name)
        return {chain: list(residues.values()) for chain, residues in found.items()}
    entities, members = table.get("_entity_poly.entity_id"), table.get("_entity_poly.pdbx_strand_id")
    owners, monomers = table.get("_entity_poly_seq.entity_id"), table.get("_entity_poly_seq.mon_id")
    if not (entities and members and owners and monomers):
        return {}
    by_entity: dict[str, list[str]] = {}
    for owner, name in zip(owners, monomers, strict=False):
        by_entity.setdefault(owner, []).append(name)
    return {
        chain.strip(): by_entity[entity]
        for entity, names_of in zip(entities, members, strict=False)
        for chain in names_of.split(",")
        if entity in by_entity
    }


COORDINATE_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif", ".pdb1")
SHORTEST = 10
"""Residues below which a chain is left out unless asked for: it has no tertiary structure to learn from."""


def read_coordinates(path: str | Path, *, shortest: int = SHORTEST, reject: Reject = raise_rejected) -> list[Chain]:
    """The RNA chains of a PDB or mmCIF file, or of all such files in a folder, ids ``<file>_<chain>``.

    Args:
        shortest: residues that a chain must have.
        reject: called with the error of a file or chain that cannot be used; when it returns, that one is left out.

    Raises:
        InputError: when nothing is found, a file is damaged, has no RNA, or numbers its residues in no order.
    """
    source = Path(path)
    files = sorted(_structures_in(source)) if source.is_dir() else [source]
    if not files:
        raise InputError(
            f"{path}: holds no structure files", hint=f"their names end in {', '.join(COORDINATE_SUFFIXES)}"
        )
    chains: list[Chain] = []
    for file in files:
        try:
            chains += _read(file, shortest, reject)
        except InputError as error:
            reject(error)
    if not chains:
        raise InputError(f"{path}: no chain can be used", hint="the messages above say why")
    return chains


def is_named_like_a_structure(path: Path) -> bool:
    """Whether a file's name ends as those of structures do, compressed or not."""
    return _bare_name(path).endswith(COORDINATE_SUFFIXES)


def _structures_in(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and is_named_like_a_structure(path):
            yield path


def _bare_name(path: Path) -> str:
    name = path.name.lower()
    for packing in PACKED:
        name = name.removesuffix(packing)
    return name


def _stem(path: Path) -> str:
    bare = _bare_name(path)
    return path.name[: len(bare) - len(Path(bare).suffix)]


def _read(path: Path, shortest: int, reject: Reject) -> list[Chain]:
    with open_text(path) as handle:
        text = handle.read()
    if not text.strip():
        raise InputError(f"{path}: is empty")
    as_mmcif = _bare_name(path).endswith(("cif",)) or text.lstrip().startswith("data_")
    structure, listed, parents = _parse_mmcif(path, text) if as_mmcif else _parse_pdb(path, text)
    model = next((one for one in structure if len(one)), None)
    if model is None:
        raise InputError(f"{path}: holds no atoms")
    found, kinds = [], set[str]()
    for part in model:
        try:
            observed = chain_of_residues(part, listed.get(part.id), parents, where=f"{path}: chain {part.id}")
            if observed.kind != "RNA":
                kinds.add(observed.kind)
                continue
            if len(observed.sequence) < shortest:
                kinds.add(f"RNA shorter than {shortest} residues")
                continue
            _check_full_atoms(observed, path, part.id)
            found.append(
                Chain(
                    f"{_stem(path)}_{part.id.strip() or 'A'}", observed.sequence, observed.distances(), source=str(path)
                )
            )
        except InputError as error:
            reject(error)
            kinds.add("a chain that cannot be used")
    if not found and kinds != {"a chain that cannot be used"}:
        has = " and ".join(sorted(kinds))
        raise InputError(
            f"{path}: has no RNA chain, only {has}", hint=f"RNA has 2' oxygens in {RNA_SHARE:.0%} of residues"
        )
    return found


def _check_full_atoms(observed: ObservedChain, path: Path, name: str) -> None:
    each = observed.atoms / max(1, len(observed.places))
    if each < FEWEST_ATOMS:
        raise InputError(
            f"{path}: chain {name}: has {each:.1f} heavy atoms a residue, a coarse model",
            hint="distances need all atoms: rebuild them first",
        )


def _parse_pdb(path: Path, text: str) -> tuple[Any, dict[str, list[str]], dict[str, str]]:
    from Bio.PDB.PDBExceptions import PDBConstructionException
    from Bio.PDB.PDBParser import PDBParser

    lines = text.splitlines(keepends=True)
    rows = pdb_atom_rows(path, lines)
    if not rows:
        raise InputError(f"{path}: holds no atoms", hint="is it a PDB file?")
    check_rows(path, rows, ended=not _last_line(lines).startswith(("ATOM  ", "HETATM")))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = PDBParser(PERMISSIVE=True, QUIET=True).get_structure("x", io.StringIO(text))
    except (PDBConstructionException, ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path}: is no valid PDB file ({error})") from error
    return structure, pdb_residue_lists(lines), pdb_modifications(lines)


def _parse_mmcif(path: Path, text: str) -> tuple[Any, dict[str, list[str]], dict[str, str]]:
    from Bio.PDB.MMCIF2Dict import MMCIF2Dict
    from Bio.PDB.MMCIFParser import MMCIFParser

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table: Any = MMCIF2Dict(io.StringIO(text))
            rows = mmcif_atom_rows(path, table)
            check_rows(path, rows, ended=not _last_line(text.splitlines()).startswith(("ATOM", "HETATM")))
            structure = MMCIFParser(QUIET=True).get_structure("x", io.StringIO(text))
    except InputError:
        raise
    except Exception as error:
        # Biopython raises whatever its arithmetic meets in a damaged file.
        raise InputError(f"{path}: is no valid mmCIF file ({error})", hint="fetch the file again") from error
    return structure, mmcif_residue_lists(table), mmcif_modifications(table)


def _last_line(lines: Sequence[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "")
