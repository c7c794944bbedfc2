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

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.chains import FARTHEST, LONG_RANGE, Chain
from rnafm_cli.rna.pairs import Pairs, layers, no_pairs

LENGTH_BINS = ("<50", "50-100", "100-200", "200-500", ">500")
_BIN_STARTS = (50, 100, 200, 501)
MEANS = ("precision", "recall", "f1", "relaxed_precision", "relaxed_recall", "relaxed_f1")
"""Of a fold's score: what sets of RNAs have the mean of."""
POOLED = {
    "micro_precision": ("hits", "predicted"),
    "micro_recall": ("hits", "true"),
    "knot_precision": ("knot_right", "knot_predicted"),
    "knot_recall": ("knot_found", "knot_true"),
}
"""Shares over the pairs of all RNAs: the counts that each is a quotient of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldScore:
    """Counts for one RNA: pairs in the truth, in the prediction, and how many of each are right.

    ``near_predicted`` counts predicted pairs with a true pair at most one step away, ``near_true`` the reverse;
    ``knot_*`` count knotted pairs and those of them that the other structure holds.
    """

    id: str = ""
    family: str = ""
    length: int
    true: int
    predicted: int
    hits: int
    near_predicted: int
    near_true: int
    knot_true: int
    knot_predicted: int
    knot_found: int
    knot_right: int

    @property
    def precision(self) -> float:
        """Share of predicted pairs that are true."""
        return self._share(self.hits, self.predicted)

    @property
    def recall(self) -> float:
        """Share of true pairs that are predicted."""
        return self._share(self.hits, self.true)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return f1(self.precision, self.recall)

    @property
    def relaxed_precision(self) -> float:
        """Share of predicted pairs with a true pair at most one step away."""
        return self._share(self.near_predicted, self.predicted)

    @property
    def relaxed_recall(self) -> float:
        """Share of true pairs with a predicted pair at most one step away."""
        return self._share(self.near_true, self.true)

    @property
    def relaxed_f1(self) -> float:
        """Harmonic mean of relaxed precision and recall."""
        return f1(self.relaxed_precision, self.relaxed_recall)

    def _share(self, part: int, whole: int) -> float:
        """A share; 1 when neither structure has pairs, 0 when only one of them has."""
        if self.true == 0 and self.predicted == 0:
            return 1.0
        return part / whole if whole else 0.0


def f1(precision: float, recall: float) -> float:
    """Harmonic mean of two shares, 0 when both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def score_fold(true: Pairs, predicted: Pairs, *, length: int, id: str = "", family: str = "") -> FoldScore:
    """Compare two structures of one RNA.

    Args:
        true: (n, 2) pairs, 0-based, i < j.
        predicted: (m, 2), likewise.
        length: nucleotides of the RNA.
    """
    # A frame of two unused positions keeps a step off the edge from landing on another pair.
    width = length + 2
    true_codes, predicted_codes = _codes(true, width), _codes(predicted, width)
    knot_true, knot_predicted = _codes(_knotted(true), width), _codes(_knotted(predicted), width)
    return FoldScore(
        id=id,
        family=family,
        length=length,
        true=len(true),
        predicted=len(predicted),
        hits=_count_in(predicted_codes, true_codes),
        near_predicted=_count_in(predicted_codes, _with_neighbours(true_codes, width)),
        near_true=_count_in(true_codes, _with_neighbours(predicted_codes, width)),
        knot_true=len(knot_true),
        knot_predicted=len(knot_predicted),
        knot_found=_count_in(knot_true, predicted_codes),
        knot_right=_count_in(knot_predicted, true_codes),
    )


def summarise(scores: Sequence[FoldScore]) -> dict[str, float]:
    """Means over RNAs of ``MEANS``; ``POOLED`` and ``micro_f1`` over the pairs of all, NaN with nothing to divide by.

    Raises:
        ValueError: when there are no scores.
    """
    if not scores:
        raise ValueError("no scores to summarise")

    def total(*counts: str) -> int:
        return sum(getattr(score, count) for count in counts for score in scores)

    found = {name: float(np.mean([getattr(score, name) for score in scores])) for name in MEANS}
    found |= {name: _ratio(total(part), total(whole)) for name, (part, whole) in POOLED.items()}
    return found | {"micro_f1": _ratio(2 * total("hits"), total("predicted", "true"))}


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


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


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
