"""What kinds of RNA are for, after the usual textbook division.

Housekeeping RNAs serve the expression of all genes (translation, splicing, modification, export, telomeres);
regulatory ones act on particular genes or transcripts; the rest is ``other``. The division is this project's.
"""

from __future__ import annotations

__all__ = ["ROLES", "role_of"]

_HOUSEKEEPING = """
    RNase_MRP_RNA RNase_P_RNA SRP_RNA rRNA scaRNA snRNA snoRNA tRNA telomerase_RNA tmRNA
"""
_REGULATORY = """
    IRES antisense_RNA antitoxin_RNA cis_reg frameshift_element leader lncRNA miRNA piRNA pre_miRNA riboswitch sRNA
    siRNA thermoregulator
"""

ROLES: dict[str, str] = {name: "housekeeping" for name in _HOUSEKEEPING.split()} | {
    name: "regulatory" for name in _REGULATORY.split()
}


def role_of(kind: str) -> str:
    """``housekeeping``, ``regulatory`` or ``other`` for a type's name; ``""`` for none."""
    return ROLES.get(kind, "other") if kind else ""
