"""Scores of predicted maps summed up: in total, by length, and one predictor against another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rnafm_cli.rna.bootstrap import Difference, Interval, mean_interval, paired_difference
from rnafm_cli.rna.fold_report import FEWEST
from rnafm_cli.rna.map_metrics import MapScore
from rnafm_cli.rna.metrics import LENGTH_BINS, length_bin

__all__ = ["CEILING", "MapGroup", "MapReport", "ceiling_scores", "report_maps"]

CEILING = "ceiling"
"""What a perfect predictor of contacts reaches, reported like a predictor."""
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class MapGroup:
    """Some of the chains, as one predictor does on them.

    Args:
        scope: what the chains have in common: ``all``, ``contacts`` (a long-range one) or ``length``.
        name: the bin, ``all``, or ``with contacts``.
        chains: how many.
        intervals: each metric's mean over the chains for which it is defined, with its bootstrap interval; NaN bounds
            in a group of fewer than ten.
    """

    scope: str
    name: str
    chains: int
    intervals: dict[str, Interval]


@dataclass(frozen=True, slots=True)
class MapReport:
    """What there is to say about one predictor or several.

    Args:
        groups: for each predictor by name.
        differences: first predictor minus second: (scope, group, metric) to the paired bootstrap; empty for one.
        confidence, resamples, seed: how the intervals were made.
    """

    metrics: tuple[str, ...]
    groups: dict[str, list[MapGroup]]
    differences: dict[tuple[str, str, str], Difference]
    confidence: float
    resamples: int
    seed: int


def report_maps(
    scores: Mapping[str, Sequence[MapScore]],
    metrics: Sequence[str],
    *,
    compared: Sequence[str] = (),
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> MapReport:
    """Sum up the scores of predictors on the same chains.

    Every interval starts from the same seed, so that it depends on its own chains only.

    Args:
        scores: for each predictor, one score a chain, in the same order.
        compared: names of the two predictors whose difference is wanted.
    """
    first = next(iter(scores.values()))
    members = _members(first)
    groups: dict[str, list[MapGroup]] = {name: [] for name in scores}
    for name, every in scores.items():
        for (scope, group), rows in members.items():
            intervals = {}
            for metric in metrics:
                values = [every[k].values.get(metric, _NAN) for k in rows]
                values = [value for value in values if not math.isnan(value)]
                intervals[metric] = _interval(values, seed, resamples, confidence)
            groups[name].append(MapGroup(scope, group, len(rows), intervals))
    differences: dict[tuple[str, str, str], Difference] = {}
    if len(compared) > 1:
        ours, theirs = (scores[name] for name in compared[:2])
        for (scope, group), rows in members.items():
            for metric in metrics:
                pairs = [(ours[k].values.get(metric, _NAN), theirs[k].values.get(metric, _NAN)) for k in rows]
                both = np.array([pair for pair in pairs if not any(map(math.isnan, pair))]).reshape(-1, 2)
                if len(both):
                    differences[scope, group, metric] = _difference(both, seed, resamples, confidence)
    return MapReport(tuple(metrics), groups, differences, confidence, resamples, seed)


def ceiling_scores(scores: Sequence[MapScore]) -> list[MapScore]:
    """The scores of a perfect predictor of contacts on the same chains."""
    return [MapScore(s.id, s.length, dict(s.ceiling), s.pairs, s.positives) for s in scores]


def _members(scores: Sequence[MapScore]) -> dict[tuple[str, str], list[int]]:
    """Row numbers by (scope, group): all, those with contacts where some have none, length bins from short to long."""
    found: dict[tuple[str, str], list[int]] = {("all", "all"): list(range(len(scores)))}
    with_contacts = [k for k, score in enumerate(scores) if score.positives]
    if with_contacts and len(with_contacts) < len(scores):
        found["contacts", "with contacts"] = with_contacts
    bins = [length_bin(score.length) for score in scores]
    for name in LENGTH_BINS:
        if rows := [k for k, bin in enumerate(bins) if bin == name]:
            found["length", name] = rows
    return found


def _interval(values: list[float], seed: int, resamples: int, confidence: float) -> Interval:
    if not values:
        return Interval(_NAN, _NAN, _NAN)
    if len(values) < FEWEST:
        return Interval(float(np.mean(values)), _NAN, _NAN)
    return mean_interval(values, rng=np.random.default_rng(seed), resamples=resamples, confidence=confidence)


def _difference(both_N2: np.ndarray, seed: int, resamples: int, confidence: float) -> Difference:
    if len(both_N2) < FEWEST:
        return Difference(float((both_N2[:, 0] - both_N2[:, 1]).mean()), _NAN, _NAN, _NAN)
    rng = np.random.default_rng(seed)
    return paired_difference(both_N2[:, 0], both_N2[:, 1], rng=rng, resamples=resamples, confidence=confidence)
