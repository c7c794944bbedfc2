"""RNA chains of PDB and mmCIF files, plain or compressed, with the distances of their residues.

The rules of the project's own data: first model; of alternate locations the first; no hydrogens; nucleotides are
residues with at least three ribose atoms, hetero residues only where the backbone ties them to the chain; a chain is
RNA when four fifths of its residues have a 2' oxygen. Modified residues take the letter of their parent. Residues that
the file lists without coordinates are unknown.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rnafm_cli.errors import InputError, Reject, raise_rejected
from rnafm_cli.io.atom_rows import check_rows, mmcif_atom_rows, pdb_atom_rows
from rnafm_cli.io.names import PACKED
from rnafm_cli.io.observed_chains import FEWEST_ATOMS, RNA_SHARE, ObservedChain, chain_of_residues
from rnafm_cli.io.residue_lists import (
    mmcif_modifications,
    mmcif_residue_lists,
    pdb_modifications,
    pdb_residue_lists,
)
from rnafm_cli.io.streams import open_text
from rnafm_cli.rna.chains import Chain

__all__ = ["COORDINATE_SUFFIXES", "is_named_like_a_structure", "read_coordinates"]

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
