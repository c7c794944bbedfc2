"""How well contact and distance maps agree with known structures, chain by chain.

Contacts: of the L/k most probable long-range pairs with known truth, the share that are contacts. Distances: clipped at
20 Å and divided by 20, over all pairs i < j with known truth. Shape suffixes: L residues, N pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.chains import FARTHEST, LONG_RANGE, Chain

__all__ = ["CONTACT_METRICS", "DISTANCE_METRICS", "PIXEL_TOLERANCE", "MapScore", "score_contacts", "score_distances"]

CONTACT_METRICS = ("top_l10", "top_l5", "top_l2", "top_l1")
DISTANCE_METRICS = ("mse", "r2", "pa", "pmcc")
_SHARES = (10, 5, 2, 1)
PIXEL_TOLERANCE = 0.1
"""Of the distance / 20: an error of at most 2 Å counts as right in PA."""


@dataclass(frozen=True, slots=True)
class MapScore:
    """What one chain scores.

    Args:
        values: by metric; NaN where it is undefined for the chain.
        pairs: pairs that were scored.
        positives: true contacts among them (0 for distances).
        ceiling: of contacts, what a perfect predictor reaches.
    """

    id: str
    length: int
    values: dict[str, float]
    pairs: int
    positives: int = 0
    ceiling: dict[str, float] = field(default_factory=dict)


def score_contacts(chain: Chain, probs_LL: NDArray[np.floating], *, least: int = LONG_RANGE) -> MapScore | None:
    """Precision of the most probable long-range pairs (``top_l10`` to ``top_l1``: the best L/10 to L pairs).

    Args:
        probs_LL: contact probabilities; only i < j is looked at.
        least: smallest j - i that counts.

    Returns:
        None for a chain that has no such pair with known truth.
    """
    length = len(chain)
    rows, columns = np.triu_indices(length, k=least)
    truth_N = chain.contacts()[rows, columns]
    known_N = truth_N >= 0
    truth_N, found_N = truth_N[known_N], np.asarray(probs_LL)[rows, columns][known_N]
    if not len(truth_N):
        return None
    # Equal probabilities keep the order of the pairs, so that a score does not depend on chance.
    hits_N = truth_N[np.argsort(-found_N, kind="stable")] == 1
    best_N = np.sort(truth_N)[::-1] == 1
    values, ceiling = {}, {}
    for name, share in zip(CONTACT_METRICS, _SHARES, strict=True):
        count = max(1, length // share)
        values[name], ceiling[name] = float(hits_N[:count].mean()), float(best_N[:count].mean())
    return MapScore(chain.id, length, values, len(truth_N), int(hits_N.sum()), ceiling)


def score_distances(chain: Chain, distance_LL: NDArray[np.floating]) -> MapScore | None:
    """Errors of predicted distances (Å).

    ``mse`` mean squared error, ``r2`` coefficient of determination, ``pa`` share of pairs within 2 Å, ``pmcc``
    Pearson correlation.

    Returns:
        None for a chain without a known distance.
    """
    clipped_LL = chain.clipped_distances()
    if clipped_LL is None:
        return None
    rows, columns = np.triu_indices(len(chain), k=1)
    true_N = clipped_LL[rows, columns].astype(np.float64)
    known_N = np.isfinite(true_N)
    true_N = true_N[known_N] / FARTHEST
    if not len(true_N):
        return None
    found_N = np.clip(np.asarray(distance_LL)[rows, columns][known_N].astype(np.float64), 0.0, FARTHEST) / FARTHEST
    error_N = found_N - true_N
    spread, mse = float(true_N.var()), float((error_N**2).mean())
    nan = float("nan")
    values = {
        "mse": mse,
        "r2": 1.0 - mse / spread if spread else nan,
        # Rounding in half-precision files must not decide about an error of exactly 2 Å.
        "pa": float((np.abs(error_N) <= PIXEL_TOLERANCE + 1e-9).mean()),
        "pmcc": float(np.corrcoef(found_N, true_N)[0, 1]) if spread and found_N.std() else nan,
    }
    return MapScore(chain.id, len(chain), values, len(true_N))
