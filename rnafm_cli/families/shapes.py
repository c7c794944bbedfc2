"""What the known 3D structures of a family have in common: contacts and distances by pairs of match states.

Shape suffixes: M match states of one family, L bases.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.chains import FARTHEST, Chain

__all__ = ["Relatives", "Shape"]

_MOST = 25.5
"""Chains beyond this many count no further."""
_STEPS = (255.0, 10.0, 255.0 / FARTHEST, 510.0 / FARTHEST, 10.0)
"""Bytes to one of each map of a :class:`Shape`: shares, chains, Å, Å of spread, chains."""


@dataclass(frozen=True, eq=False)
class Shape:
    """Maps of one family, (M, M) float32 and symmetric; near copies among the chains share one vote.

    Args:
        contact_MM: share of the chains in which two match states are in contact.
        seen_MM: number of chains that tell.
        distance_MM: mean distance, Å, 20 for all that is farther.
        spread_MM: its standard deviation between chains, Å.
        measured_MM: number of chains that tell distances.
    """

    contact_MM: NDArray[np.float32]
    seen_MM: NDArray[np.float32]
    distance_MM: NDArray[np.float32]
    spread_MM: NDArray[np.float32]
    measured_MM: NDArray[np.float32]

    @classmethod
    def of(cls, size: int, placed: Iterable[tuple[Chain, NDArray[np.int64], float]]) -> Shape | None:
        """The maps of a family of ``size`` match states; None without chains.

        Args:
            placed: each chain, the match state of each of its bases (-1 for none), and its weight.
        """
        seen, contact, measured, total, squares = np.zeros((5, size, size))
        for chain, state_L, weight in placed:
            bases = np.flatnonzero(state_L >= 0)
            here, square = np.ix_(bases, bases), np.ix_(state_L[bases], state_L[bases])
            labels = chain.contacts()[here]
            seen[square] += weight * (labels >= 0)
            contact[square] += weight * (labels == 1)
            clipped_LL = chain.clipped_distances()
            if clipped_LL is not None:
                distance = clipped_LL[here].astype(np.float64)
                known = np.isfinite(distance)
                distance[~known] = 0.0
                measured[square] += weight * known
                total[square] += weight * distance
                squares[square] += weight * distance**2
        if not seen.any():
            return None
        mean = total / np.maximum(measured, 1e-9)
        spread = np.sqrt(np.maximum(squares / np.maximum(measured, 1e-9) - mean**2, 0.0))
        maps = (contact / np.maximum(seen, 1e-9), seen.clip(max=_MOST), mean, spread, measured.clip(max=_MOST))
        return cls(*(map_MM.astype(np.float32) for map_MM in maps))

    def packed(self) -> NDArray[np.uint8]:
        """The upper triangles one after the other, a byte for each value."""
        upper = np.triu_indices(len(self.seen_MM))
        scaled = [map_MM[upper] * step for map_MM, step in zip(vars(self).values(), _STEPS, strict=True)]
        return np.clip(np.rint(np.concatenate(scaled)), 0, 255).astype(np.uint8)

    @staticmethod
    def packed_size(size: int) -> int:
        """Bytes of a family of ``size`` match states."""
        return len(_STEPS) * (size * (size + 1) // 2)

    @classmethod
    def unpacked(cls, size: int, packed: NDArray[np.uint8]) -> Shape:
        """The inverse of :meth:`packed`."""
        upper = np.triu_indices(size)
        maps = np.zeros((len(_STEPS), size, size), dtype=np.float32)
        for map_MM, values, step in zip(maps, packed.reshape(len(_STEPS), -1), _STEPS, strict=True):
            map_MM[upper] = values / step
            map_MM.T[upper] = map_MM[upper]
        return cls(*maps)


@dataclass(frozen=True, eq=False)
class Relatives:
    """What known structures of its families let expect of an RNA, (L, L) float32 and symmetric.

    Args:
        contact_LL: probability of a contact, as far as relatives tell.
        seen_LL: how well they tell: 0 not at all, a half for one relative, towards 1 for many.
        distance_LL: expected distance, Å.
        spread_LL: its standard deviation, between relatives and by where the bases stand on the family.
        measured_LL: how well they tell distances.
    """

    contact_LL: NDArray[np.float32]
    seen_LL: NDArray[np.float32]
    distance_LL: NDArray[np.float32]
    spread_LL: NDArray[np.float32]
    measured_LL: NDArray[np.float32]

    @classmethod
    def expected(cls, shape: Shape, match_ML: NDArray[np.floating]) -> Relatives:
        """Under the probabilities with which each base stands on each match state."""
        seen, measured = (count / (count + 1.0) for count in (shape.seen_MM, shape.measured_MM))
        squares = shape.distance_MM**2 + shape.spread_MM**2
        weighted = (shape.contact_MM * seen, seen, shape.distance_MM * measured, squares * measured, measured)
        contact, seen, total, squares, measured = (match_ML.T @ map_MM @ match_ML for map_MM in weighted)
        share, norm = np.maximum(seen, 1e-6), np.maximum(measured, 1e-6)
        spread = np.sqrt(np.maximum(squares / norm - (total / norm) ** 2, 0.0))
        return cls(*(m.astype(np.float32) for m in (contact / share, seen, total / norm, spread, measured)))

    @classmethod
    def none(cls, length: int) -> Relatives:
        """Of an RNA of which no relative is known."""
        return cls(*np.zeros((5, length, length), dtype=np.float32))

    def part(self, bases: slice) -> Relatives:
        """The same of some of the bases."""
        return Relatives(*(map_LL[bases, bases] for map_LL in vars(self).values()))

    def add(self, other: Relatives, bases: slice) -> None:
        """Take in what a further family tells of a stretch, where it tells more."""
        for names in (("seen_LL", "contact_LL"), ("measured_LL", "distance_LL", "spread_LL")):
            kept, new = (getattr(one, names[0])[part] for one, part in ((self, (bases, bases)), (other, ...)))
            more = new > kept
            for name in names:
                getattr(self, name)[bases, bases][more] = getattr(other, name)[more]
