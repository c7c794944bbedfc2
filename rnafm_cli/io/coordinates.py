"""RNA chains of PDB and mmCIF files, plain or compressed, with the distances of their residues.

The rules of the project's own data: first model; of alternate locations the first; no hydrogens; nucleotides are
residues with at least three ribose atoms, hetero residues only where the backbone ties them to the chain; a chain is
RNA when four fifths of its residues have a 2' oxygen. Modified residues take the letter of their parent. Residues that
the file lists without coordinates are unknown.

gemmi reads the files. It stops quietly where a file ends and takes damaged numbers for 0, so both is looked for here.
Shape suffixes: L residues of the sequence, O observed residues, A atoms, X their coordinates.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError, Reject, RnafmWarning, raise_rejected
from rnafm_cli.io.names import PACKED
from rnafm_cli.io.streams import open_text
from rnafm_cli.rna.chains import Chain

COORDINATE_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif", ".pdb1")
_SHORTEST = 10
"""Residues below which a chain is left out unless asked for: it has no tertiary structure to learn from."""
_RNA_SHARE = 0.8
"""Share of residues with a 2' oxygen from which a chain is RNA."""
_MOST_UNKNOWN = 0.5
"""Share of observed residues without a letter above which a chain is refused."""
_FEWEST_ATOMS = 15
"""Heavy atoms a residue below which a model is coarse-grained, and the last one of a file perhaps cut off."""
_RIBOSE = frozenset({"C1'", "C2'", "C3'", "C4'", "O4'"})
_LEAST_RIBOSE = 3
_BOND = 2.2
"""Å; a 3' oxygen and a phosphorus closer than this are bonded."""
_WIDEST_JUMP = 100
"""Residue numbers between two observed residues beyond which the sequence cannot be guessed."""
_PEPTIDE = frozenset({"N", "CA", "C", "O"})
_PLACES_OF_BEADS = frozenset({"P", "C4'", "C1'"})
_MODELLING = re.compile(r"[+rR]?([ACGUT])[35N]?")
"""A of CNS, rA of Rosetta, RA5, A3 and RAN of Amber and GROMACS: 5' end, 3' end, both."""
_CHARMM = {"ADE": "A", "CYT": "C", "GUA": "G", "URA": "U", "URI": "U", "RAD": "A", "RCY": "C", "RGU": "G", "THY": "U"}
_LAST_COORDINATE = 54
"""Columns of a PDB line up to the coordinates."""


def parent_letter(name: str, parents: Mapping[str, str] | None = None) -> str:
    """A, C, G or U for the name of a nucleotide, N for an unknown one; ``parents`` are those that a file tells.

    Names are those of modelling programs, gemmi's, and the PDB's table of modified residues.

    >>> parent_letter("rG"), parent_letter("RA5"), parent_letter("URA"), parent_letter("PSU"), parent_letter("XYZ")
    ('G', 'A', 'U', 'U', 'N')
    """
    import gemmi
    from Bio.Data.PDBData import nucleic_letters_3to1_extended as modified

    for known in (name, (parents or {}).get(name, "")):
        if plain := _MODELLING.fullmatch(known):
            letter = plain[1]
        elif not (letter := _CHARMM.get(known, "")):
            # gemmi has the frequent ones, Biopython all that had a parent in the PDB.
            entry = gemmi.find_tabulated_residue(known)
            letter = entry.one_letter_code.upper().strip() if entry.is_nucleic_acid() else ""
            letter = letter or modified.get(known.ljust(3), modified.get(known, ""))
        if known and letter in {"A", "C", "G", "U", "T"}:
            return letter.replace("T", "U")
    return "N"


def read_coordinates(path: str | Path, *, shortest: int = _SHORTEST, reject: Reject = raise_rejected) -> list[Chain]:
    """The RNA chains of a PDB or mmCIF file, or of all such files in a folder, ids ``<file>_<chain>``.

    Args:
        shortest: residues that a chain must have.
        reject: called with the error of a file or chain that cannot be used; when it returns, that one is left out.

    Raises:
        InputError: when nothing is found, a file is damaged, has no RNA, or numbers its residues in no order.
    """
    files = [Path(path)]
    if Path(path).is_dir():
        found = (file for file in Path(path).rglob("[!.]*") if file.is_file())
        files = sorted(filter(is_named_like_a_structure, found))
    if not files:
        raise InputError(
            f"{path}: holds no structure files", hint=f"their names end in {', '.join(COORDINATE_SUFFIXES)}"
        )
    chains: list[Chain] = []
    for file in files:
        try:
            chains += _read(file, shortest, reject)
        except InputError as error:
            if len(files) == 1:
                raise
            reject(error)
    if not chains:
        raise InputError(f"{path}: no chain can be used", hint="the messages above say why")
    return chains


def is_named_like_a_structure(path: Path) -> bool:
    """Whether a file's name ends as those of structures do, compressed or not."""
    return _bare_name(path).endswith(COORDINATE_SUFFIXES)


def _bare_name(path: Path) -> str:
    name = path.name.lower()
    for packing in PACKED:
        name = name.removesuffix(packing)
    return name


def parse_model(path: Path, text: str) -> tuple[Any, dict[str, list[str]], dict[str, str]]:
    """What a PDB or mmCIF text holds: gemmi's first model, names of all residues by chain, parents of modified ones."""
    if not text.strip():
        raise InputError(f"{path}: is empty")
    as_mmcif = _bare_name(path).endswith("cif") or text.lstrip().startswith("data_")
    structure, listed, parents = _parse_mmcif(path, text) if as_mmcif else _parse_pdb(path, text)
    model = next((one for one in structure if len(one)), None)
    if model is None:
        raise InputError(f"{path}: holds no atoms", hint="is it a file of coordinates?")
    return model, listed, parents


def chain_id(path: Path, name: str) -> str:
    """What a chain of a file is called: the file's name without suffixes, then the chain's."""
    bare = _bare_name(path)
    return f"{path.name[: len(bare) - len(Path(bare).suffix)]}_{name.strip() or 'A'}"


def _read(path: Path, shortest: int, reject: Reject) -> list[Chain]:
    with open_text(path) as handle:
        model, listed, parents = parse_model(path, handle.read())
    found, kinds, unknown = [], set[str](), Counter[str]()
    for part in model:
        try:
            chain = _chain_of_residues(part, listed.get(part.name), parents, unknown, path=path)
            if isinstance(chain, str):
                kinds.add(chain)
            elif len(chain) < shortest:
                kinds.add(f"RNA shorter than {shortest} residues")
            else:
                found.append(chain)
        except InputError as error:
            reject(error)
            kinds.add("a chain that cannot be used")
    if unknown:
        names = ", ".join(f"{name} ({count})" for name, count in sorted(unknown.items()))
        warnings.warn(f"{path}: unknown residues are N: {names}", RnafmWarning, stacklevel=2)
    if not found and kinds != {"a chain that cannot be used"}:
        has = " and ".join(sorted(kinds))
        raise InputError(
            f"{path}: has no RNA chain, only {has}", hint=f"RNA has 2' oxygens in {_RNA_SHARE:.0%} of residues"
        )
    return found


def _parse_pdb(path: Path, text: str) -> tuple[Any, dict[str, list[str]], dict[str, str]]:
    import gemmi

    lines = text.splitlines(keepends=True)
    _check_pdb_lines(path, lines)
    try:
        structure = gemmi.read_pdb_string(text)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: is no valid PDB file ({error})") from error
    _check_residues(path, structure, ended=not _last_line(lines).startswith(("ATOM  ", "HETATM")))
    listed = {entity.name: list(entity.full_sequence) for entity in structure.entities if entity.full_sequence}
    return structure, listed, {one.res_id.name: one.parent_comp_id for one in structure.mod_residues}


def _check_pdb_lines(path: Path, lines: Sequence[str]) -> None:
    """Look for atoms that are cut short, have no residue number or no place, and for a model that does not end."""
    open_model, full = "", 0
    for number, line in enumerate(lines, start=1):
        if line.startswith("MODEL "):
            open_model = line[6:].strip() or str(number)
        elif line.startswith(("ENDMDL", "END")):
            open_model = ""
        elif line.startswith(("ATOM  ", "HETATM")):
            text, last = line.rstrip("\n"), number == len(lines)
            # The last digits of a coordinate that was cut off would go unnoticed.
            cut = last and not line.endswith("\n") and len(text.rstrip()) < full
            full = len(text.rstrip())
            damage = ""
            if cut or len(text) < _LAST_COORDINATE:
                damage = "the file ends in the middle of an atom" if last else "an atom line is cut short"
            elif not text[22:26].strip():
                damage = "no residue number"
            elif not _is_number(text[22:26]):
                damage = f"the residue number '{text[22:26].strip()}' is no number"
            elif not all(_is_number(text[start : start + 8]) for start in (30, 38, 46)):
                damage = "an atom line is damaged: its coordinates are no numbers"
            if damage:
                raise InputError(f"{path}:{number}: {damage}", hint="fetch the file again, or repair the line")
    if open_model and full:
        raise InputError(f"{path}: the file ends within model {open_model}", hint="fetch the file again")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _parse_mmcif(path: Path, text: str) -> tuple[Any, dict[str, list[str]], dict[str, str]]:
    from gemmi import cif, make_structure_from_block

    try:
        block = next((one for one in cif.read_string(text) if one.find_loop("_atom_site.Cartn_x")), None)
        if block is None:
            raise InputError(f"{path}: holds no atoms", hint="is it an mmCIF file of coordinates?")
        _complete(path, block)
        structure = make_structure_from_block(block)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: is no valid mmCIF file ({error})", hint="fetch the file again") from error
    _check_residues(path, structure, ended=not _last_line(text.splitlines()).startswith(("ATOM", "HETATM")))
    told = [("_chem_comp.", "id", "mon_nstd_parent_comp_id")]
    told += [("_pdbx_struct_mod_residue.", f"{whose}_comp_id", "parent_comp_id") for whose in ("auth", "label")]
    parents = {row.str(0): row.str(1) for table, *names in told for row in block.find(table, names)}
    return structure, _mmcif_residue_lists(block), parents


def _complete(path: Path, block: Any) -> None:
    """Check the coordinates of the atoms, and fill in what the format leaves free and gemmi asks for."""

    def column(name: str) -> Any:
        return block.find_loop(f"_atom_site.{name}")

    loop = column("Cartn_x").get_loop()
    for axis in ("Cartn_x", "Cartn_y", "Cartn_z"):
        for number, value in enumerate(column(axis), start=1):
            if not _is_number(value.split("(")[0]):
                problem = f"atom {number} of {loop.length()} has no number as {axis}"
                raise InputError(f"{path}: {problem}", hint="repair the row")
    for name in ("id", "type_symbol", "label_alt_id", "label_asym_id"):
        if not column(name):
            loop.add_columns([f"_atom_site.{name}"], ".")
    elements = column("type_symbol")
    for place, atom in enumerate(column("label_atom_id") or column("auth_atom_id")):
        if elements[place] in (".", "?"):
            elements[place] = re.sub("[^A-Z]", "", atom.upper())[:1] or "X"


def _check_residues(path: Path, structure: Any, *, ended: bool) -> None:
    """Look for nucleotides that share a number, and for a last one that is not whole, unless the file ``ended``."""
    for model in structure:
        for chain in model:
            seen: set[tuple[str, ...]] = set()
            for residue in chain:
                place = (str(residue.seqid), residue.name if residue.het_flag == "H" else "")
                for atom in residue:
                    if (name := atom.name.replace("*", "'")) in _RIBOSE:
                        if (*place, atom.altloc, name) in seen:
                            raise InputError(
                                f"{path}: chain {chain.name}: has two residues of number {residue.seqid}",
                                hint="number residues of a chain upwards, and give each copy of a chain its own name",
                            )
                        seen.add((*place, atom.altloc, name))
    residues = [residue for model in structure for chain in model for residue in chain][-2:]
    if ended or len(residues) < 2 or residues[1].het_flag == "H":
        return
    before, last = (sum(not atom.is_hydrogen() for atom in residue) for residue in residues)
    chain = structure[-1][-1]
    if len(chain) > 1 and last < _FEWEST_ATOMS <= before and {atom.name for atom in residues[0]} & _RIBOSE:
        raise InputError(
            f"{path}: the file ends in the middle of residue {residues[1].seqid} of chain {chain.name}",
            hint="fetch the file again, or close it with END if it is whole",
        )


def _mmcif_residue_lists(block: Any) -> dict[str, list[str]]:
    """Residue names of each polymer (author's chain names) by ``_pdbx_poly_seq_scheme``, or by the entities' lists."""
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(block.find("_pdbx_poly_seq_scheme.", ["pdb_strand_id", "mon_id", "?seq_id"])):
        # Where several residues share a place (heterogeneity), the first stands.
        found.setdefault(row.str(0), {}).setdefault(row.str(2) if row.has(2) else str(number), row.str(1))
    if found:
        return {chain: list(residues.values()) for chain, residues in found.items()}
    by_entity: dict[str, list[str]] = {}
    for row in block.find("_entity_poly_seq.", ["entity_id", "mon_id"]):
        by_entity.setdefault(row.str(0), []).append(row.str(1))
    return {
        chain.strip(): by_entity[row.str(0)]
        for row in block.find("_entity_poly.", ["entity_id", "pdbx_strand_id"])
        for chain in row.str(1).split(",")
        if row.str(0) in by_entity
    }


def _last_line(lines: Sequence[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "")


@dataclass(frozen=True)
class Residue:
    """A residue of a chain: its name, its number, and places (3,) Å of its atoms by name."""

    name: str
    number: int
    hetero: bool
    atoms: dict[str, NDArray[np.float32]]

    @property
    def is_nucleotide(self) -> bool:
        return len(_RIBOSE & self.atoms.keys()) >= _LEAST_RIBOSE

    def is_bonded_to(self, following: Residue) -> bool:
        end, start = self.atoms.get("O3'"), following.atoms.get("P")
        return end is not None and start is not None and float(np.linalg.norm(end - start)) < _BOND


def _chain_of_residues(
    part: Any, listed: Sequence[str] | None, parents: Mapping[str, str], unknown: Counter[str], *, path: Path
) -> Chain | str:
    """The chain of a gemmi chain, or what that is instead of RNA, in words.

    Args:
        listed: names of all its residues, observed or not; None where the file has no list.
        unknown: takes the names of residues that have no letter.
    """
    where = f"{path}: chain {part.name}"
    chosen = nucleotides_of(part)
    if not chosen:
        return _kind_without_nucleotides([_residue(one) for one in part.first_conformer()])
    if sum("O2'" in one.atoms for one in chosen) < _RNA_SHARE * len(chosen):
        return "DNA"
    _check_order(chosen, where)
    letters = "".join(parent_letter(one.name, parents) for one in chosen)
    whole = "".join(parent_letter(name, parents) for name in listed) if listed else ""
    nameless = Counter(one.name for one, letter in zip(chosen, letters, strict=True) if letter == "N")
    if nameless.total() > _MOST_UNKNOWN * len(letters):
        names = ", ".join(name for name, _ in nameless.most_common(6))
        raise InputError(f"{where}: most of its residues have unknown names ({names})", hint="rename them A, C, G, U")
    unknown.update(nameless)
    places = _places_in_list(chosen, letters, whole) if len(whole) >= len(letters) else None
    if places is None:
        places, whole = _places_by_number(chosen, letters, where)
    atoms = [np.stack(list(one.atoms.values())) for one in chosen]
    each = sum(map(len, atoms)) / len(atoms)
    if each < _FEWEST_ATOMS:
        raise InputError(
            f"{where}: has {each:.1f} heavy atoms a residue, a coarse model",
            hint="distances need all atoms: rebuild them first",
        )
    distance_LL = np.full((len(whole), len(whole)), np.nan, dtype=np.float32)
    distance_LL[np.ix_(places, places)] = _smallest_distances(atoms)
    return Chain(chain_id(path, part.name), whole, distance_LL, source=str(path))


def _smallest_distances(atoms: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(O, O) Å between the nearest heavy atoms of residues, whose atoms (A, 3) are given; diagonal 0."""
    from scipy.spatial.distance import cdist

    every_AX, starts = np.concatenate(atoms), np.cumsum([0, *map(len, atoms)])[:-1]
    rows = [np.minimum.reduceat(cdist(mine_AX, every_AX).min(axis=0), starts) for mine_AX in atoms]
    distance_OO = np.stack(rows).astype(np.float32)
    np.fill_diagonal(distance_OO, 0.0)
    return distance_OO


def _kind_without_nucleotides(residues: Sequence[Residue]) -> str:
    if any(_PEPTIDE <= one.atoms.keys() for one in residues):
        return "protein"
    if any("CA" in one.atoms and not one.hetero for one in residues):
        return "a coarse model of protein"
    if any(_PLACES_OF_BEADS & one.atoms.keys() and not one.hetero for one in residues):
        return "a coarse model of nucleic acid"
    return "ligands, ions or water"


def _residue(residue: Any, *, hydrogens: bool = False) -> Residue:
    atoms = {
        atom.name.replace("*", "'"): np.array(atom.pos.tolist(), dtype=np.float32)
        for atom in residue.first_conformer()
        if hydrogens or not atom.is_hydrogen()
    }
    return Residue(residue.name.strip(), residue.seqid.num, residue.het_flag == "H", atoms)


def nucleotides_of(part: Any, *, hydrogens: bool = False) -> list[Residue]:
    """The nucleotides of a gemmi chain but free ones: hetero residues stay where they are bonded to a neighbour."""
    residues = [_residue(one, hydrogens=hydrogens) for one in part.first_conformer()]
    residues = [one for one in residues if one.is_nucleotide]
    kept = []
    for k, one in enumerate(residues):
        before = k > 0 and residues[k - 1].is_bonded_to(one)
        after = k + 1 < len(residues) and one.is_bonded_to(residues[k + 1])
        if not one.hetero or before or after:
            kept.append(one)
    return kept


def _check_order(residues: Sequence[Residue], where: str) -> None:
    for one, following in zip(residues, residues[1:], strict=False):
        if following.number < one.number and not one.is_bonded_to(following):
            raise InputError(
                f"{where}: residue numbers go back from {one.number} to {following.number}",
                hint="number the residues of a chain upwards from its 5' end",
            )


def _places_in_list(residues: Sequence[Residue], letters: str, whole: str) -> list[int] | None:
    """Where the observed residues stand in the file's own list; None if they do not fit into it."""
    numbers = [one.number for one in residues]
    if len(set(numbers)) == len(numbers):
        # Numbering that runs along the list, possibly shifted, is the surest guide through repeats.
        for shift in sorted(range(-min(numbers), len(whole) - max(numbers)), key=lambda k: abs(k + 1)):
            places = [number + shift for number in numbers]
            if all(whole[place] == letter for place, letter in zip(places, letters, strict=True)):
                return places
    return _aligned(residues, letters, whole)


def _aligned(residues: Sequence[Residue], letters: str, whole: str) -> list[int] | None:
    """Places by an alignment that opens gaps where the backbone is broken, if it can; None where letters differ."""
    import gemmi

    bonded = [one.is_bonded_to(after) for one, after in zip(residues, residues[1:], strict=False)]
    scoring = gemmi.AlignmentScoring()
    scoring.match, scoring.mismatch, scoring.gapo, scoring.gape = 20, -40, -60, -1
    opening = [0, *(-60 if bond else -20 for bond in bonded), 0]
    gapped = gemmi.align_string_sequences(list(whole), list(letters), opening, scoring).add_gaps(letters, 2)
    places = [place for place, letter in enumerate(gapped) if letter != "-"]
    fits = len(gapped) == len(whole) and all(whole[p] == c for p, c in zip(places, letters, strict=True))
    return places if fits else None


def _places_by_number(residues: Sequence[Residue], letters: str, where: str) -> tuple[list[int], str]:
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
