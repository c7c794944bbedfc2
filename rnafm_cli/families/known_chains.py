"""Chains with known 3D structure, placed on the families they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.families.alignment import aligned_hits
from rnafm_cli.families.library import Family, Library
from rnafm_cli.families.search import Search, compatible
from rnafm_cli.families.shapes import FamilyShape
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.kmers import greedy_clusters

_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Placed:
    """A chain on a family.

    Args:
        number: of the chain.
        bases: the stretch that was aligned.
        match_ML: probability that a match state emits a base of the stretch.
        state_L: match state of each base of the chain, -1 for none.
    """

    number: int
    family: Family
    bases: slice
    match_ML: NDArray[np.float64]
    state_L: NDArray[np.int64]


def placed_chains(chains: Sequence[Chain], search: Search) -> list[Placed]:
    """All families of all chains, chain after chain, the surest first."""
    found = []
    for first in range(0, len(chains), _AT_ONCE):
        sequences = [chain.sequence for chain in chains[first : first + _AT_ONCE]]
        hits = [compatible(of_chain) for of_chain in search.hits(sequences)]
        for number, hit, bases, posterior in aligned_hits(sequences, hits):
            state_L = np.full(len(sequences[number]), -1)
            state_L[bases] = posterior.path()
            found.append(Placed(first + number, hit.family, bases, posterior.match_ML, state_L))
    return found


def shape_of(placed: Sequence[Placed], chains: Sequence[Chain]) -> FamilyShape | None:
    """What chains on one family have in common; chains that are close (8-mers) share one vote."""
    cluster = greedy_clusters([chains[one.number].sequence for one in placed])
    votes = 1.0 / np.bincount(cluster)[cluster]
    return FamilyShape.of([(chains[one.number], one.state_L, vote) for one, vote in zip(placed, votes, strict=True)])


def with_shapes(library: Library, chains: Sequence[Chain]) -> Library:
    """The library with the shapes of the families that chains belong to."""
    by_family: dict[str, list[Placed]] = {}
    for one in placed_chains(chains, Search([library])):
        by_family.setdefault(one.family.accession, []).append(one)
    families = []
    for family in library.families:
        shape = shape_of(by_family.get(family.accession, []), chains)
        families.append(family if shape is None else replace(family, packed_shape=shape.packed()))
    return Library(library.name, families)
