"""RNA chains with known tertiary structure: who is how far from whom.

The distance of two residues is the smallest distance over all their heavy atoms (base, sugar, phosphate). Shape
suffix: L residues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError

CONTACT_DISTANCE = 8.0
"""Å; residues closer than this are in contact."""
FARTHEST = 20.0
"""Å; longer distances count as this one."""
LONG_RANGE = 24
"""Residues at least this far apart in sequence are a long-range pair."""


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """One RNA with the distances of its residues, or with its contacts alone.

    Args:
        sequence: upper-case RNA; residues that were not observed included, N where nothing is known of one.
        distance_LL: float32 Å, symmetric, NaN where a residue was not observed; None if only contacts are known.
        contact_LL: int8, symmetric: 1 contact, 0 none, -1 unknown; follows from the distances where they are given.
        similar: ids of chains in other files that are nearly the same RNA.
        source: file that the chain came from.

    Raises:
        InputError: when a matrix has another size than the sequence, or there is none.
    """

    id: str
    sequence: str
    distance_LL: NDArray[np.float32] | None = None
    contact_LL: NDArray[np.int8] | None = None
    similar: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        square = (len(self.sequence), len(self.sequence))
        for name in ("distance_LL", "contact_LL"):
            matrix = getattr(self, name)
            if matrix is not None and matrix.shape != square:
                what = name.removesuffix("_LL")
                raise InputError(f"{self.where}: {what} matrix of {matrix.shape}, the chain has {square[0]} residues")
        if self.distance_LL is None and self.contact_LL is None:
            raise InputError(f"{self.where}: has neither distances nor contacts")

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def where(self) -> str:
        """How messages point at the chain."""
        return f"{self.source}: chain '{self.id}'" if self.source else f"chain '{self.id}'"

    def contacts(self) -> NDArray[np.int8]:
        """(L, L) int8: 1 contact, 0 none, -1 unknown."""
        if self.distance_LL is None:
            assert self.contact_LL is not None
            return self.contact_LL
        return np.where(np.isnan(self.distance_LL), -1, self.distance_LL < CONTACT_DISTANCE).astype(np.int8)

    def clipped_distances(self) -> NDArray[np.float32] | None:
        """(L, L) float32 Å, none above 20, NaN where unknown; None where only contacts are known."""
        return None if self.distance_LL is None else np.minimum(self.distance_LL, np.float32(FARTHEST))


def without_repeats(chains: Sequence[Chain]) -> list[Chain]:
    """The chains, without those known by contacts alone that are similar to one with distances.

    Raises:
        InputError: when an id appears twice.
    """
    measured = {chain.id for chain in chains if chain.distance_LL is not None}
    seen: set[str] = set()
    kept = []
    for chain in chains:
        if chain.id in seen:
            raise InputError(f"{chain.where}: the id appears twice", hint="give every chain its own id")
        seen.add(chain.id)
        if chain.distance_LL is not None or not measured.intersection(chain.similar):
            kept.append(chain)
    return kept
