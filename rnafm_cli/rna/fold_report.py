"""Scores of predicted structures summed up: in total, by length, by family, and one predictor against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rnafm_cli.rna.bootstrap import Difference, Interval, fold_intervals, paired_difference
from rnafm_cli.rna.metrics import LENGTH_BINS, FoldScore, FoldSummary, length_bin, summarise

__all__ = ["DIFFERENCE_METRICS", "FEWEST", "METRICS", "FoldReport", "Group", "report_folds"]

METRICS = (
    "f1",
    "precision",
    "recall",
    "relaxed_f1",
    "relaxed_precision",
    "relaxed_recall",
    "micro_f1",
    "micro_precision",
    "micro_recall",
    "knot_precision",
    "knot_recall",
)
DIFFERENCE_METRICS = METRICS[:6]
"""Means over records, which can be compared record by record."""

FEWEST = 10
"""Records below which a group gets no intervals: resampling a handful tells nothing, and of one it gives 0 width."""


_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the records, as one predictor does on them.

    Args:
        scope: what the records have in common: ``all``, ``length`` or ``family``.
        name: the bin or family, ``all`` for all records.
        summary: plain values and counts.
        intervals: each of ``METRICS`` with its bootstrap interval, NaN in a group of fewer than ``FEWEST`` records.
    """

    scope: str
    name: str
    summary: FoldSummary
    intervals: dict[str, Interval]


@dataclass(frozen=True, slots=True)
class FoldReport:
    """What there is to say about one predictor, or two.

    Args:
        groups: for each predictor by name.
        differences: first predictor minus second: (scope, group, metric) to the paired bootstrap; empty for one.
        confidence, resamples, seed: how the intervals were made.
    """

    groups: dict[str, list[Group]]
    differences: dict[tuple[str, str, str], Difference]
    records: int
    confidence: float
    resamples: int
    seed: int


def report_folds(
    scores: Mapping[str, Sequence[FoldScore]],
    *,
    by_family: bool = False,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> FoldReport:
    """Sum up the scores of one predictor or two on the same records.

    Every interval starts from the same seed, so that it depends on its own records only.
    """
    names = list(scores)
    members = _members(scores[names[0]], by_family=by_family)
    groups: dict[str, list[Group]] = {}
    for name, all_scores in scores.items():
        groups[name] = []
        for (scope, group), rows in members.items():
            chosen = [all_scores[k] for k in rows]
            rng = np.random.default_rng(seed)
            intervals = fold_intervals(chosen, rng=rng, resamples=resamples, confidence=confidence)
            if len(rows) < FEWEST:
                intervals = {key: Interval(one.estimate, _NAN, _NAN) for key, one in intervals.items()}
            groups[name].append(Group(scope, group, summarise(chosen), intervals))
    differences: dict[tuple[str, str, str], Difference] = {}
    if len(names) > 1:
        for (scope, group), rows in members.items():
            for metric in DIFFERENCE_METRICS:
                a_N, b_N = ([getattr(scores[name][k], metric) for k in rows] for name in names[:2])
                rng = np.random.default_rng(seed)
                gain = paired_difference(a_N, b_N, rng=rng, resamples=resamples, confidence=confidence)
                if len(rows) < FEWEST:
                    gain = Difference(gain.estimate, _NAN, _NAN, _NAN)
                differences[scope, group, metric] = gain
    return FoldReport(groups, differences, len(scores[names[0]]), confidence, resamples, seed)


def _members(scores: Sequence[FoldScore], *, by_family: bool) -> dict[tuple[str, str], list[int]]:
    """Row numbers by (scope, group): all, length bins from short to long, families from many records to few."""
    found: dict[tuple[str, str], list[int]] = {("all", "all"): list(range(len(scores)))}
    bins = [length_bin(score.length) for score in scores]
    for name in LENGTH_BINS:
        if rows := [k for k, bin in enumerate(bins) if bin == name]:
            found["length", name] = rows
    if by_family:
        families: dict[str, list[int]] = {}
        for k, score in enumerate(scores):
            families.setdefault(score.family or "-", []).append(k)
        for name in sorted(families, key=lambda family: (-len(families[family]), family)):
            found["family", name] = families[name]
    return found
