"""What others report on the RBP sets, for comparison."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["REPORTED", "Reported"]


@dataclass(frozen=True, slots=True)
class Reported:
    """A published figure, on the set's test part and with the publication's own training rows."""

    measure: str
    value: float
    by: str


_PRISMNET = "PrismNet, sequence + icSHAPE (Sun et al. 2021), as run for K-attention, mean of 4 seeds"

REPORTED: dict[str, Reported] = {
    "PrismNet_TIA1_Hela": Reported("AUROC", 0.959, _PRISMNET),
    "PrismNet_IGF2BP1_K562": Reported("AUROC", 0.921, _PRISMNET),
    "PrismNet_SRSF1_HepG2": Reported("AUROC", 0.888, _PRISMNET),
}
