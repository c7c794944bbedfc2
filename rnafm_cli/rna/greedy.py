"""Decoders that take pairs best first: by threshold, by upstream's rule, and knots on top of a nested fold.

Shapes: L bases, C candidate pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.pairs import Pairs, as_pairs, no_pairs, stems
from rnafm_cli.rna.pseudoknots import crossing, layers

__all__ = ["add_knots", "best_first", "limit_layers", "multiplets", "without_isolated"]


def best_first(candidates: Pairs, probs_C: NDArray[np.floating], start: Pairs, *, nested: bool = False) -> Pairs:
    """Take the most probable pair, drop all that share a base with it, and so on.

    This is upstream's way from a map to a structure (``redevelop/engine/predictor.py``); crossing pairs stay
    unless ``nested``. Ties go to the pair that opens, then closes, first.

    Args:
        candidates: (C, 2), 0-based, i < j.
        probs_C: probability of each.
        start: pairs that are taken already, (n, 2).
    """
    taken = start.tolist()
    used = set(start.ravel().tolist())
    for index in np.lexsort((candidates[:, 1], candidates[:, 0], -probs_C)):
        i, j = candidates[index].tolist()
        if i in used or j in used:
            continue
        if nested and taken and crossing(candidates[index : index + 1], np.array(taken)).any():
            continue
        taken.append([i, j])
        used |= {i, j}
    return as_pairs(taken)


def multiplets(candidates: Pairs, pairs: Pairs) -> Pairs:
    """The candidates that ``pairs`` leaves out, which upstream lists beside the structure; (n, 2)."""
    taken = set(map(tuple, pairs.tolist()))
    return as_pairs([p for p in candidates.tolist() if tuple(p) not in taken])


def add_knots(
    pairs: Pairs,
    candidates: Pairs,
    probs_C: NDArray[np.floating],
    *,
    min_stem: int,
    max_layers: int,
) -> Pairs:
    """Add the pseudoknotted stems that a nested decoder had to leave out.

    Of the candidates whose two bases are still free and that cross the structure, runs of at least ``min_stem``
    stacked pairs are added, greatest sum of probabilities first, as long as ``max_layers`` layers hold all. What
    is left of a longer stem whose other pairs the structure contradicts is no pseudoknot but the remains of a
    rival fold, and stays out.

    Args:
        pairs: the structure so far, (n, 2), 0-based.
        candidates: (C, 2), the pairs that clear the threshold for knots.
        probs_C: probability of each.
    """
    prob_of = dict(zip(map(tuple, candidates.tolist()), probs_C.tolist(), strict=True))
    rest = _undisputed(candidates, pairs)
    rest = rest[crossing(rest, pairs).any(axis=1)]
    while len(rest):
        runs = [run for run in _stacks(rest) if len(run) >= min_stem]
        if not runs:
            break
        best = max(runs, key=lambda run: (sum(prob_of[tuple(p)] for p in run.tolist()), -int(run[0, 0])))
        extended = as_pairs(np.concatenate([pairs, best]))
        if len(layers(extended)) <= max_layers:
            pairs = extended
            rest = rest[~np.isin(rest, best).any(axis=1)]
        else:
            refused = set(map(tuple, best.tolist()))
            rest = rest[[tuple(p) not in refused for p in rest.tolist()]]
    return pairs


def without_isolated(pairs: Pairs, keep: Pairs) -> Pairs:
    """The pairs that stack on another one, and those of ``keep`` in any case."""
    kept = [stem for stem in stems(pairs) if len(stem) > 1]
    return as_pairs(np.concatenate([*kept, keep]))


def limit_layers(pairs: Pairs, keep: Pairs, max_layers: int) -> Pairs:
    """Drop pairs, none of ``keep``, until ``max_layers`` layers of brackets hold the rest.

    ``keep`` must fit by itself.
    """
    fixed = set(map(tuple, keep.tolist()))
    while len(found := layers(pairs)) > max_layers:
        extra = np.concatenate(found[max_layers:])
        loose = np.array([tuple(p) not in fixed for p in pairs.tolist()])
        beyond = loose & _among(pairs, extra)
        if not beyond.any():
            # Only kept pairs are left over: what crosses them has to go.
            beyond = loose & crossing(pairs, extra).any(axis=1)
        if not beyond.any():
            return keep
        pairs = pairs[~beyond]
    return pairs


def _undisputed(candidates: Pairs, pairs: Pairs) -> Pairs:
    """The candidates of stems that share no base with ``pairs``."""
    stacks = [run for run in _stacks(candidates) if not np.isin(run, pairs).any()]
    return as_pairs(np.concatenate([no_pairs(), *stacks]))


def _among(pairs: Pairs, others: Pairs) -> NDArray[np.bool_]:
    known = set(map(tuple, others.tolist()))
    return np.array([tuple(p) in known for p in pairs.tolist()], dtype=np.bool_)


def _stacks(candidates: Pairs) -> list[Pairs]:
    """Runs (i, j), (i+1, j-1), ... among candidates that may share bases with one another."""
    waiting = set(map(tuple, candidates.tolist()))
    runs = []
    for i, j in candidates.tolist():
        if (i - 1, j + 1) in waiting:
            continue
        length = 1
        while (i + length, j - length) in waiting:
            length += 1
        steps = np.arange(length)
        runs.append(np.stack([i + steps, j - steps], axis=1))
    return runs
