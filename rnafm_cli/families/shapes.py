"""What the known 3D structures of a family have in common: contacts and distances by pairs of match states.

Shape suffixes: M match states of one family, K those on which known chains stand, L bases.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.chains import FARTHEST, Chain

_MOST = 25.5
"""Chains beyond this many count no further."""
_STEPS_5 = np.array([255.0, 10.0, 255.0 / FARTHEST, 510.0 / FARTHEST, 10.0])
"""Bytes to one of each map of a :class:`FamilyShape`: shares, chains, Å, Å of spread, chains."""


@dataclass(frozen=True, eq=False)
class FamilyShape:
    """Maps of one family, float32 and symmetric; near copies among the chains share one vote.

    Args:
        state_K: the match states, in their order: of a long family short chains know a part.
        maps_5KK: share of the chains in which two match states are in contact, number of chains that tell; mean
            distance (Å, 20 for all that is farther), its standard deviation between chains, number that tell.
    """

    state_K: NDArray[np.int64]
    maps_5KK: NDArray[np.float32]

    @classmethod
    def of(cls, placed: Sequence[tuple[Chain, NDArray[np.int64], float]]) -> FamilyShape | None:
        """The maps of a family; None without chains.

        Args:
            placed: each chain, the match state of each of its bases (-1 for none), and its weight.
        """
        state_K = np.unique(
            np.concatenate([np.zeros(0, np.int64), *(state_L[state_L >= 0] for _, state_L, _ in placed)])
        )
        if not len(state_K):
            return None
        seen, contact, measured, total, squares = np.zeros((5, len(state_K), len(state_K)))
        for chain, state_L, weight in placed:
            bases = np.flatnonzero(state_L >= 0)
            place = np.searchsorted(state_K, state_L[bases])
            here, square = np.ix_(bases, bases), np.ix_(place, place)
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
        mean = total / np.maximum(measured, 1e-9)
        spread = np.sqrt(np.maximum(squares / np.maximum(measured, 1e-9) - mean**2, 0.0))
        maps = (contact / np.maximum(seen, 1e-9), seen.clip(max=_MOST), mean, spread, measured.clip(max=_MOST))
        return cls(state_K, np.stack(maps).astype(np.float32))

    def packed(self) -> bytes:
        """The match states and the upper triangles of the maps, a byte for each value, compressed."""
        rows, columns = np.triu_indices(len(self.state_K))
        scaled = self.maps_5KK[:, rows, columns] * _STEPS_5.astype(np.float32)[:, None]
        head = np.array([len(self.state_K), *self.state_K], dtype="<u2")
        return zlib.compress(head.tobytes() + np.clip(np.rint(scaled), 0, 255).astype(np.uint8).tobytes(), 9)

    @classmethod
    def unpacked(cls, packed: bytes) -> FamilyShape:
        """The inverse of :meth:`packed`; a ValueError for other bytes."""
        try:
            plain = zlib.decompress(packed)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        size = int(np.frombuffer(plain, "<u2", 1)[0])
        state_K = np.frombuffer(plain, "<u2", size, offset=2).astype(np.int64)
        rows, columns = np.triu_indices(size)
        maps_5KK = np.zeros((5, size, size), dtype=np.float32)
        values_5N = np.frombuffer(plain, np.uint8, offset=2 * (size + 1)).reshape(5, -1)
        maps_5KK[:, rows, columns] = values_5N / _STEPS_5[:, None]
        maps_5KK[:, columns, rows] = maps_5KK[:, rows, columns]
        return cls(state_K, maps_5KK)


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
    def expected(cls, shape: FamilyShape, match_ML: NDArray[np.floating]) -> Relatives:
        """Under the probabilities with which each base stands on each match state of the family."""
        match_KL = match_ML[shape.state_K]
        contact, seen, distance, spread, measured = shape.maps_5KK
        seen, measured = (count / (count + 1.0) for count in (seen, measured))
        squares = distance**2 + spread**2
        weighted = (contact * seen, seen, distance * measured, squares * measured, measured)
        contact, seen, total, squares, measured = (match_KL.T @ map_KK @ match_KL for map_KK in weighted)
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
