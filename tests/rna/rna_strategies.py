"""Made-up RNAs, structures and probabilities for the property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from rnafm_cli.rna.pairs import Pairs, as_pairs

QUICK = settings(max_examples=50, deadline=None)
THOROUGH = settings(max_examples=120, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


def random_sequence(rng: np.random.Generator, length: int) -> str:
    """Mostly A, C, G, U with a few ambiguity letters."""
    return "".join(rng.choice(list("ACGUN"), length, p=[0.24, 0.24, 0.24, 0.24, 0.04]))


def random_pairs(rng: np.random.Generator, length: int, count: int) -> Pairs:
    """Pairs that cross at will, each base in at most one."""
    bases = rng.permutation(length)[: 2 * min(count, length // 2)]
    return as_pairs(bases.reshape(-1, 2))


def random_probs(rng: np.random.Generator, length: int, sharpness: float) -> np.ndarray:
    """Symmetric (L, L) probabilities whose rows sum to at most 1, with a few stems among noise."""
    score = rng.normal(size=(length, length))
    for _ in range(length // 8):
        i, size = int(rng.integers(length)), int(rng.integers(2, 6))
        j = int(rng.integers(length))
        for k in range(size):
            if 0 <= j - k and i + k < length:
                score[i + k, j - k] += 4
    score = np.exp(sharpness * (score + score.T))
    np.fill_diagonal(score, 0)
    share = score / (score.sum(axis=1, keepdims=True) + np.exp(3 * sharpness))
    return np.minimum(share, share.T).astype(np.float32)


@st.composite
def structures(draw: st.DrawFn, max_length: int = 40) -> tuple[int, Pairs]:
    """A length and any pairs that fit into it, knotted at will."""
    length = draw(st.integers(0, max_length))
    rng = np.random.default_rng(draw(SEEDS))
    return length, random_pairs(rng, length, draw(st.integers(0, max_length // 2)))
