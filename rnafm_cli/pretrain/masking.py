"""Corruption of tokens for masked-token prediction (Chen et al. 2022, section 2.1).

15 % of the letters are predicted: 80 % of them are shown as <mask>, 10 % as another letter, 10 % as they are. Random
letters are drawn from A, C, G, U: the other IUPAC codes are so rare in the data that they would only mark the places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnafm_cli.pretrain.sampling import mix64
from rnafm_cli.rna.alphabet import NUCLEOTIDE

__all__ = ["MaskRule", "corrupt"]


_BASES = np.asarray([NUCLEOTIDE.tokens.index(base) for base in "ACGU"], dtype=np.uint8)
_GAP = NUCLEOTIDE.tokens.index("-")


@dataclass(frozen=True, kw_only=True)
class MaskRule:
    """Shares of the corruption."""

    share: float = 0.15
    """Share of letters to predict."""
    masked: float = 0.8
    """Of these, the share replaced by <mask>."""
    random: float = 0.1
    """Of these, the share replaced by a random base."""


def corrupt(tokens: np.ndarray, key: np.uint64, rule: MaskRule) -> tuple[np.ndarray, np.ndarray]:
    """Corrupt one sequence of tokens.

    Args:
        tokens: (T,) uint8, with or without specials, which are never chosen.
        key: seeds the choice; equal keys and tokens give equal results whatever the batch.

    Returns:
        The corrupted tokens (T,) uint8 and the chosen positions, ascending, (n,) int64.
    """
    with np.errstate(over="ignore"):
        counter = np.uint64(key) + np.arange(len(tokens), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = mix64(counter)
    # Three independent uniforms from disjoint bits: 24 to choose, 24 for the treatment, 2 for the base.
    choose = (bits >> np.uint64(40)).astype(np.float64) / (1 << 24)
    treat = ((bits >> np.uint64(16)) & np.uint64(0xFFFFFF)).astype(np.float64) / (1 << 24)
    letters = (tokens >= NUCLEOTIDE.letters.start) & (tokens < _GAP)
    chosen = np.flatnonzero((choose < rule.share) & letters)
    out = tokens.copy()
    treat = treat[chosen]
    out[chosen[treat < rule.masked]] = NUCLEOTIDE.mask
    swapped = chosen[(treat >= rule.masked) & (treat < rule.masked + rule.random)]
    out[swapped] = _BASES[(bits[swapped] & np.uint64(3)).astype(np.int64)]
    return out, chosen
