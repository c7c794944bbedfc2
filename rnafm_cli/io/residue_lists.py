"""The full residue lists of structure files, observed or not, and which residues are modified from which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["mmcif_modifications", "mmcif_residue_lists", "pdb_modifications", "pdb_residue_lists"]


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
