"""What is known of a structure before it is predicted, in RNAfold's constraint symbols."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.rna.pairs import Pairs, as_pairs, no_pairs, validate
from rnafm_cli.rna.pseudoknots import from_dot_bracket, layers

_FREE = "."
_PAIRED, _UNPAIRED, _OPENS, _CLOSES = "|x<>"


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """Demands on the bases of one RNA of L nucleotides; all masks have shape (L,).

    Args:
        forced_unpaired: bases that stay unpaired.
        forced_pairs: (n, 2), 0-based: pairs that the structure must hold, canonical or not, crossing or not.
        forced_paired: bases that pair, with any partner, wherever the probabilities offer one.
        opens: bases that may only pair with a later one (3').
        closes: bases that may only pair with an earlier one (5').

    Raises:
        InputError: when demands contradict each other, naming (1-based) the base.
    """

    forced_unpaired: NDArray[np.bool_]
    forced_pairs: Pairs = field(default_factory=no_pairs)
    forced_paired: NDArray[np.bool_] | None = None
    opens: NDArray[np.bool_] | None = None
    closes: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        pairs = as_pairs(self.forced_pairs)
        validate(pairs, len(self.forced_unpaired))
        object.__setattr__(self, "forced_pairs", pairs)
        clash = pairs[self.forced_unpaired[pairs]]
        if len(clash):
            raise InputError(f"base {int(clash[0]) + 1} is constrained both to pair and to stay unpaired")
        for mask in (self.forced_paired, self.opens, self.closes):
            if mask is not None and mask.shape != self.forced_unpaired.shape:
                raise ValueError(f"constraint masks of shapes {mask.shape} and {self.forced_unpaired.shape}")

    def check(self, length: int, *, min_loop: int, max_layers: int | None) -> None:
        """Refuse constraints that no structure of ``length`` bases can meet.

        Raises:
            InputError: for another length, a forced pair around too small a loop, or forced pairs that
                cross more than ``max_layers`` layers can show.
        """
        if len(self.forced_unpaired) != length:
            raise InputError(f"the constraint covers {len(self.forced_unpaired)} bases, the sequence has {length}")
        validate(self.forced_pairs, length, min_loop=min_loop)
        if max_layers is not None and len(layers(self.forced_pairs)) > max_layers:
            raise InputError(
                "the constrained pairs cross each other",
                hint="allow pseudoknots" if max_layers == 1 else f"use at most {max_layers} kinds of brackets",
            )

    def allows(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the pairs (i, j), i < j, both of shape (n,), contradict no constraint and no forced pair."""
        barred = self.forced_unpaired.copy()
        barred[self.forced_pairs.ravel()] = True
        fine = ~(barred[i] | barred[j])
        if self.opens is not None:
            fine &= ~self.opens[j]
        if self.closes is not None:
            fine &= ~self.closes[i]
        return fine


def parse_constraints(text: str) -> Constraints:
    """Constraints from one line of RNAfold's symbols.

    ``.`` nothing known, ``x`` unpaired, ``|`` paired, ``<`` paired with a later base, ``>`` with an earlier
    one, ``()`` a pair; ``[]`` and ``{}`` force pairs that cross those.

    Raises:
        InputError: for a foreign symbol or a bracket without partner, with its position (1-based).
    """
    marks = np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8)
    opens, closes = marks == ord(_OPENS), marks == ord(_CLOSES)
    return Constraints(
        forced_unpaired=marks == ord(_UNPAIRED),
        forced_pairs=from_dot_bracket(text, unpaired=_FREE + _PAIRED + _UNPAIRED + _OPENS + _CLOSES),
        forced_paired=(marks == ord(_PAIRED)) | opens | closes,
        opens=opens,
        closes=closes,
    )
