"""What a drawing shows: an RNA, its pairs by layer, and how sure they are.

Shape suffix: L bases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.pairs import Pairs, as_pairs, validate
from rnafm_cli.rna.pseudoknots import layers

__all__ = ["DrawnPair", "Subject"]


@dataclass(frozen=True, slots=True)
class DrawnPair:
    """A pair i < j (0-based), the layer it is drawn in, and its probability if known."""

    i: int
    j: int
    layer: int
    probability: float | None
    title: str


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One RNA with its structure, ready to be drawn.

    Args:
        name: the caption.
        sequence: L letters.
        layers: pair lists, the nested pairs first.
        probs_LL: symmetric pair probabilities, or None.
    """

    name: str
    sequence: str
    layers: tuple[Pairs, ...]
    probs_LL: NDArray[np.floating] | None = None

    @classmethod
    def of(cls, name: str, sequence: str, pairs: Pairs, probs_LL: NDArray[np.floating] | None = None) -> Subject:
        """Sort pairs into layers and check that everything belongs together.

        Raises:
            InputError: when the pairs are no structure of this sequence.
            ValueError: when the probabilities are not (L, L), or there is no base.
        """
        pairs, length = as_pairs(pairs), len(sequence)
        if length == 0:
            raise ValueError("there is nothing to draw in an empty sequence")
        validate(pairs, length)
        if probs_LL is not None and probs_LL.shape != (length, length):
            raise ValueError(f"probabilities of shape {probs_LL.shape} for {length} bases")
        return cls(name, sequence, tuple(layers(pairs)), probs_LL)

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def caption(self) -> str:
        """Name, length and number of pairs."""
        count = sum(map(len, self.layers))
        size = f"{len(self)} nt, {count} base pair{'' if count == 1 else 's'}"
        return f"{self.name} ({size})" if self.name else size

    def pairs(self) -> list[DrawnPair]:
        """All pairs, nested ones first, so that crossing pairs come to lie on top."""
        return [self._drawn(i, j, layer) for layer, part in enumerate(self.layers) for i, j in part.tolist()]

    def _drawn(self, i: int, j: int, layer: int) -> DrawnPair:
        probability = None if self.probs_LL is None else float(self.probs_LL[i, j])
        title = f"{self.sequence[i]}{i + 1}-{self.sequence[j]}{j + 1}"
        if probability is not None:
            title += f", p = {probability:.2f}"
        return DrawnPair(i, j, layer, probability, title)
