"""Whole groups of like sequences, drawn at random into a development part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["drawn_groups"]


def drawn_groups(group_N: NDArray[np.integer], *, share: float, seed: int) -> NDArray[np.bool_]:
    """(N,) which members are drawn: groups at random, until ``share`` of the members (one at least) is reached.

    A group too large for what is missing is passed over, so it may be that none is drawn.

    Args:
        group_N: number of the group of each member, from 0 without gaps.
    """
    sizes = np.bincount(group_N)
    wanted, taken = max(1, round(share * len(group_N))), 0
    chosen = np.zeros(len(sizes), dtype=np.bool_)
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        if taken + sizes[group] <= wanted:
            chosen[group] = True
            taken += int(sizes[group])
    return chosen[group_N]
