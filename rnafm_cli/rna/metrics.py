"""How well predicted structures and maps agree with true ones.

Strict: a predicted pair counts when exactly that pair is true. Relaxed: also when one of its two bases is off
by one position. All pairs of the truth count, non-canonical and crossing ones included.

Knotted pairs are those outside layer 0 (see ``pseudoknots.layers``) of the structure they belong to. As truth and
prediction may put the same stem into different layers, a knotted pair is right when the other structure
holds it in any layer.

Contacts: of the L/k most probable long-range pairs with known truth, the share that are contacts. Distances: clipped at
20 Å and divided by 20, over all pairs i < j with known truth. Shape suffixes: L residues, N pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.chains import FARTHEST, LONG_RANGE, Chain
from rnafm_cli.rna.pairs import Pairs, layers, no_pairs

LENGTH_BINS = ("<50", "50-100", "100-200", "200-500", ">500")
_BIN_STARTS = (50, 100, 200, 501)
FOLD_MEANS = ("f1", "precision", "recall", "relaxed_f1", "relaxed_precision", "relaxed_recall")
"""Of a fold's score: what sets of RNAs have the mean of."""
POOLED = {
    "micro_f1": (("hits", "hits"), ("predicted", "true")),
    "micro_precision": (("hits",), ("predicted",)),
    "micro_recall": (("hits",), ("true",)),
    "knot_precision": (("knot_right",), ("knot_predicted",)),
    "knot_recall": (("knot_found",), ("knot_true",)),
}
"""Shares over the pairs of all RNAs: the counts whose sums are divided."""
CONTACT_METRICS = ("top_l10", "top_l5", "top_l2", "top_l1")
DISTANCE_METRICS = ("mse", "r2", "pa", "pmcc")
_SHARES = (10, 5, 2, 1)
_PIXEL_TOLERANCE = 0.1
"""Of the distance / 20: an error of at most 2 Å counts as right in PA."""


@dataclass(frozen=True, slots=True)
class Score:
    """What one RNA scores.

    Args:
        values: by metric; NaN where it is undefined for the RNA.
        counts: the pairs behind them.
        ceiling: of contacts, what a perfect predictor reaches.
    """

    id: str
    length: int
    values: dict[str, float]
    counts: dict[str, int]
    family: str = ""
    ceiling: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        """A value or a count; NaN for others."""
        return self.values.get(name, self.counts.get(name, float("nan")))


def score_fold(true: Pairs, predicted: Pairs, *, length: int, id: str = "", family: str = "") -> Score:
    """Compare two structures of one RNA: the values :data:`FOLD_MEANS`.

    Shares are 1 where neither structure has pairs, and 0 where only one of them has. ``near_predicted`` counts
    predicted pairs with a true pair at most one step away, ``near_true`` the reverse; ``knot_found`` and ``knot_right``
    count the knotted pairs of the truth and of the prediction that the other structure holds.

    Args:
        true: (n, 2) pairs, 0-based, i < j.
        predicted: (m, 2), likewise.
        length: nucleotides of the RNA.
    """
    # A frame of two unused positions keeps a step off the edge from landing on another pair.
    width = length + 2
    true_codes, predicted_codes = _codes(true, width), _codes(predicted, width)
    knot_true, knot_predicted = _codes(_knotted(true), width), _codes(_knotted(predicted), width)
    counts = {
        "true": len(true),
        "predicted": len(predicted),
        "hits": _count_in(predicted_codes, true_codes),
        "near_predicted": _count_in(predicted_codes, _with_neighbours(true_codes, width)),
        "near_true": _count_in(true_codes, _with_neighbours(predicted_codes, width)),
        "knot_true": len(knot_true),
        "knot_predicted": len(knot_predicted),
        "knot_found": _count_in(knot_true, predicted_codes),
        "knot_right": _count_in(knot_predicted, true_codes),
    }
    values: dict[str, float] = {}
    for name, right, found in (("", "hits", "hits"), ("relaxed_", "near_predicted", "near_true")):
        precision, recall = 1.0, 1.0
        if len(true) or len(predicted):
            precision = counts[right] / len(predicted) if len(predicted) else 0.0
            recall = counts[found] / len(true) if len(true) else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
        values |= {f"{name}precision": precision, f"{name}recall": recall, f"{name}f1": f1}
    return Score(id, length, values, counts, family)


def length_bin(length: int) -> str:
    """Name of the length bin; 50 starts ``50-100``, 500 ends ``200-500``."""
    return LENGTH_BINS[int(np.searchsorted(_BIN_STARTS, length, side="right"))]


def _knotted(pairs: Pairs) -> Pairs:
    return np.concatenate([no_pairs(), *layers(pairs)[1:]])


def _codes(pairs: Pairs, width: int) -> NDArray[np.int64]:
    return (pairs[:, 0] + 1) * width + pairs[:, 1] + 1


def _with_neighbours(codes: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    return np.concatenate([codes + step for step in (0, 1, -1, width, -width)])


def _count_in(codes: NDArray[np.int64], others: NDArray[np.int64]) -> int:
    return int(np.isin(codes, others).sum())


def score_contacts(chain: Chain, probs_LL: NDArray[np.floating], *, least: int = LONG_RANGE) -> Score | None:
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
    counts = {"pairs": len(truth_N), "contacts": int(hits_N.sum())}
    return Score(chain.id, length, values, counts, ceiling=ceiling)


def score_distances(chain: Chain, distance_LL: NDArray[np.floating]) -> Score | None:
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
        "pa": float((np.abs(error_N) <= _PIXEL_TOLERANCE + 1e-9).mean()),
        "pmcc": float(np.corrcoef(found_N, true_N)[0, 1]) if spread and found_N.std() else nan,
    }
    return Score(chain.id, len(chain), values, {"pairs": len(true_N), "contacts": 0})
