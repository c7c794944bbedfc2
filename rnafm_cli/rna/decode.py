"""From pair probabilities, and what is demanded of some bases, to one valid structure.

Shape suffixes: L bases, C candidate pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.rna.pairs import (
    BRACKET_LAYERS,
    Pairs,
    are_canonical,
    as_pairs,
    crossing,
    from_dot_bracket,
    layers,
    no_pairs,
    stems,
    validate,
)

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


def heaviest_matching(candidates: Pairs, gains_C: NDArray[np.floating]) -> Pairs:
    """The set of candidate pairs, each base in at most one, with the greatest sum of gains.

    Solved exactly as an integer programme by scipy's HiGHS. Canonical pairs join a purine and a pyrimidine, so
    their linear programme has whole-numbered corners and no branching is needed; other pairs branch a little.

    Args:
        candidates: (C, 2), 0-based, i < j.
        gains_C: gain of each; only positive ones matter.

    Raises:
        RuntimeError: when the solver gives up, which a programme of this kind gives no reason for.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    positive = gains_C > 0
    candidates, gains_C = candidates[positive], np.asarray(gains_C, dtype=np.float64)[positive]
    if len(candidates) == 0:
        return no_pairs()
    bases, row = np.unique(candidates.ravel(), return_inverse=True)
    column = np.repeat(np.arange(len(candidates)), 2)
    uses = csr_array((np.ones(len(column)), (row.ravel(), column)), shape=(len(bases), len(candidates)))
    solution = milp(
        -gains_C,
        integrality=np.ones(len(candidates)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(uses, -np.inf, 1),
        options={"mip_rel_gap": 0.0},
    )
    if solution.x is None:
        raise RuntimeError(f"matching failed: {solution.message}")
    return candidates[solution.x > 0.5]


def unpaired_probability(probs_LL: NDArray[np.floating]) -> NDArray[np.float64]:
    """What is left of each base's probability after all its pairs, at least 0; shape (L,)."""
    total_L = probs_LL.sum(axis=1, dtype=np.float64) - np.diagonal(probs_LL)
    return np.clip(1.0 - total_L, 0.0, 1.0)


def expected_accuracy(probs_LL: NDArray[np.floating], pairs: Pairs) -> float:
    """Expected share of bases whose state in the structure (its partner, or none) is right; 1.0 without bases.

    Args:
        probs_LL: symmetric pair probabilities.
        pairs: (n, 2), 0-based.
    """
    if len(probs_LL) == 0:
        return 1.0
    free_L = unpaired_probability(probs_LL)
    free_L[pairs.ravel()] = 0.0
    return float((2.0 * probs_LL[pairs[:, 0], pairs[:, 1]].sum(dtype=np.float64) + free_L.sum()) / len(probs_LL))


def heaviest_nested(candidates: Pairs, gains_C: NDArray[np.floating], length: int) -> Pairs:
    """The nested set of candidate pairs, each base in at most one, with the greatest sum of gains.

    Expected accuracy is a constant plus the gains 2 gamma p_ij - q_i - q_j of the chosen pairs, so pairs of
    no gain never enter an optimum and need not be candidates. For each 3' base the candidates are visited
    from the innermost out; one that does not beat the best structure of its own interval so far cannot be
    part of any better one outside and costs a comparison (sparse folding after Wexler et al. 2007). The
    others update all intervals that end there at once. Time is O(L * useful candidates), memory O(L^2) at
    worst with one row of 8 L bytes for each base that closes a useful candidate.

    Args:
        candidates: (C, 2), 0-based, i < j.
        gains_C: gain of each; only positive ones matter.
        length: L.

    Returns:
        The chosen pairs, (n, 2). Of equal optima the choice is deterministic.
    """
    table = _Table(length)
    positive = np.flatnonzero(gains_C > 0)
    order = positive[np.lexsort((-candidates[positive, 0], candidates[positive, 1]))]
    opens_C = candidates[order, 0]
    gains_C = np.asarray(gains_C, dtype=np.float64)[order]
    bounds = np.searchsorted(candidates[order, 1], np.arange(length + 1))
    for j in range(length):
        table.close(j, opens_C[bounds[j] : bounds[j + 1]], gains_C[bounds[j] : bounds[j + 1]])
    return table.trace()


class _Table:
    """Best sums for all intervals: ``rows[e][i]`` for the bases i .. e-1; rows that repeat are shared."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.rows: list[NDArray[np.float64]] = [np.zeros(length + 1)]
        self.useful: list[list[tuple[int, float]]] = []

    def close(self, j: int, opens: NDArray[np.int64], gains: NDArray[np.float64]) -> None:
        """Add base j, whose candidates open at ``opens`` (descending) with ``gains``."""
        before = row = self.rows[j]
        useful: list[tuple[int, float]] = []
        self.useful.append(useful)
        if len(opens) == 0:
            self.rows.append(row)
            return
        closed = gains + before[opens + 1]
        promising = np.flatnonzero(closed > before[opens])
        for k, value in zip(opens[promising].tolist(), closed[promising].tolist(), strict=True):
            if value > row[k]:
                if row is before:
                    row = before.copy()
                np.maximum(row[: k + 1], self.rows[k][: k + 1] + value, out=row[: k + 1])
                useful.append((k, value))
        self.rows.append(row)

    def trace(self) -> Pairs:
        """The pairs behind the best sum over all bases."""
        chosen: list[tuple[int, int]] = []
        intervals = [(0, self.length)]
        while intervals:
            i, end = intervals.pop()
            while end > i:
                best = self.rows[end][i]
                end -= 1
                if best == self.rows[end][i]:
                    continue
                # The same two numbers were added on the way forward, so equality is exact.
                k = next(k for k, value in self.useful[end] if k >= i and self.rows[k][i] + value == best)
                chosen.append((k, end))
                intervals.append((k + 1, end))
                end = k
        return as_pairs(chosen)


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


Decoder = Literal["mea", "threshold", "matching", "upstream"]

_ROWS_AT_ONCE = 256
_THRESHOLDS: dict[str, float] = {"mea": 0.0, "threshold": 0.5, "matching": 0.0, "upstream": 0.5}


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """How ``decode`` chooses pairs; ``None`` stands for the decoder's own rule.

    Args:
        decoder: ``mea`` exact nested structure of maximum expected accuracy, then knots; ``threshold`` every
            pair above the threshold, best first; ``matching`` maximum expected accuracy with crossings free;
            ``upstream`` RNA-FM's own greedy rule.
        threshold: pairs at or below this probability are never taken; by default 0 (mea, matching) or 0.5.
        min_loop: fewest bases between two partners; 3, upstream 1.
        canonical: AU, GC and GU only; true, upstream false.
        pseudoknots: allow pairs that cross.
        isolated: allow pairs that stack on no other.
        gamma: weight of a pair against two unpaired bases in the expected accuracy; higher gives more pairs; by
            default 1, and in ``fold`` what suits the model.
        knot_threshold: probability above which ``mea`` considers a pair for a pseudoknot.
        knot_stem: fewest stacked pairs that ``mea`` adds as a pseudoknot.
        max_layers: kinds of brackets that must hold the result; 4 for the text ``()[]{}<>``, upstream no limit.

    Raises:
        UsageError: for a value out of range.
    """

    decoder: Decoder = "mea"
    threshold: float | None = None
    min_loop: int | None = None
    canonical: bool | None = None
    pseudoknots: bool = True
    isolated: bool = True
    gamma: float | None = None
    knot_threshold: float = 0.3
    knot_stem: int = 3
    max_layers: int | None = None

    def __post_init__(self) -> None:
        if self.decoder not in get_args(Decoder):
            raise UsageError(f"no decoder '{self.decoder}'", hint="use one of " + ", ".join(get_args(Decoder)))
        for name, value in (("threshold", self.threshold or 0.0), ("knot threshold", self.knot_threshold)):
            if not 0.0 <= value <= 1.0:
                raise UsageError(f"{name} {value} is not a probability", hint="give a value from 0 to 1")
        if not 0.0 < self.pair_weight <= 1e6:
            raise UsageError(f"gamma {self.gamma} is no number above 0, or beyond a million")
        for name, count, least in (
            ("min_loop", self.min_loop, 0),
            ("knot_stem", self.knot_stem, 1),
            ("max_layers", self.max_layers, 1),
        ):
            if count is not None and count < least:
                raise UsageError(f"{name} {count} is below {least}")

    @property
    def is_upstream(self) -> bool:
        """Whether RNA-FM's own rule holds, which is laxer than the others."""
        return self.decoder == "upstream"

    @property
    def least_loop(self) -> int:
        """Fewest bases between two partners, the decoder's rule filled in."""
        return self.min_loop if self.min_loop is not None else (1 if self.is_upstream else 3)

    @property
    def only_canonical(self) -> bool:
        """Whether only AU, GC and GU may pair, the decoder's rule filled in."""
        return self.canonical if self.canonical is not None else not self.is_upstream

    @property
    def floor(self) -> float:
        """Probability that a pair must exceed, the decoder's rule filled in."""
        return self.threshold if self.threshold is not None else _THRESHOLDS[self.decoder]

    @property
    def pair_weight(self) -> float:
        """Weight of a pair in the expected accuracy, the default filled in."""
        return self.gamma if self.gamma is not None else 1.0

    @property
    def most_layers(self) -> int | None:
        """Layers that the result may need; ``None`` for any number."""
        if not self.pseudoknots:
            return 1
        return self.max_layers if self.max_layers or self.is_upstream else BRACKET_LAYERS


def decode(
    probs_LL: NDArray[np.floating],
    sequence: str,
    options: DecodeOptions | None = None,
    *,
    constraints: Constraints | None = None,
) -> Pairs:
    """The structure that pair probabilities stand for.

    Each base gets at most one partner, loops and letters obey the options (forced pairs may be
    non-canonical), and the result fits into ``options.most_layers`` kinds of brackets.

    Args:
        probs_LL: symmetric pair probabilities; only the part above the diagonal is read for pairs.
        sequence: upper-case RNA of L letters; letters other than A, C, G, U are never canonical.
        constraints: demands on bases and pairs of this RNA.

    Returns:
        Pairs (n, 2), 0-based, i < j, ascending.

    Raises:
        InputError: when no structure can meet the constraints.
        ValueError: for a matrix that is not (L, L) or not finite.
    """
    options = options or DecodeOptions()
    length = len(sequence)
    if probs_LL.shape != (length, length):
        raise ValueError(f"probabilities of shape {probs_LL.shape} for a sequence of {length}")
    constraints = constraints or Constraints(forced_unpaired=np.zeros(length, dtype=np.bool_))
    constraints.check(length, min_loop=options.least_loop, max_layers=options.most_layers)
    forced = constraints.forced_pairs
    if options.decoder in ("mea", "matching"):
        pairs = _accurate(probs_LL, sequence, options, constraints)
    else:
        pairs, probs_C = _candidates(probs_LL, sequence, options, constraints)
        pairs = best_first(pairs, probs_C, forced, nested=not options.pseudoknots)
    if not options.isolated:
        pairs = without_isolated(pairs, forced)
    return pairs if options.most_layers is None else limit_layers(pairs, forced, options.most_layers)


def _accurate(probs_LL: NDArray[np.floating], sequence: str, options: DecodeOptions, constraints: Constraints) -> Pairs:
    """The structure of greatest expected accuracy, nested and with knots on top, or as a free matching."""
    unpaired_L = unpaired_probability(probs_LL)
    if constraints.forced_paired is not None:
        # More than all probabilities of an RNA together, so no gain elsewhere can make up for it.
        unpaired_L[constraints.forced_paired] = -4.0 * options.pair_weight * len(sequence)
    forced = constraints.forced_pairs
    found, probs_C = _candidates(probs_LL, sequence, options, constraints, unpaired_L=unpaired_L)
    gains_C = 2.0 * options.pair_weight * probs_C - unpaired_L[found].sum(axis=1)
    if options.decoder == "matching" and options.pseudoknots:
        return as_pairs(np.concatenate([heaviest_matching(found, gains_C), forced]))
    region_L = _regions(layers(forced)[0] if len(forced) else forced, len(sequence))
    fits = region_L[found[:, 0]] == region_L[found[:, 1]]
    pairs = as_pairs(np.concatenate([heaviest_nested(found[fits], gains_C[fits], len(sequence)), forced]))
    if not options.isolated:
        pairs = without_isolated(pairs, forced)
    if options.pseudoknots:
        knots, probs_C = _candidates(probs_LL, sequence, options, constraints, threshold=options.knot_threshold)
        pairs = add_knots(
            pairs, knots, probs_C, min_stem=options.knot_stem, max_layers=options.most_layers or BRACKET_LAYERS
        )
    return pairs


def _regions(pairs: Pairs, length: int) -> NDArray[np.int64]:
    """For each base the innermost of the nested pairs around it, -1 for none: pairs within a region cross nothing."""
    region_L = np.full(length, -1, dtype=np.int64)
    for number, (i, j) in enumerate(pairs.tolist()):
        region_L[i : j + 1] = number
    return region_L


def _candidates(
    probs_LL: NDArray[np.floating],
    sequence: str,
    options: DecodeOptions,
    constraints: Constraints,
    *,
    threshold: float = 0.0,
    unpaired_L: NDArray[np.float64] | None = None,
) -> tuple[Pairs, NDArray[np.float64]]:
    """Pairs (C, 2) that rules and constraints allow, above the threshold, and their probabilities (C,).

    Given the unpaired probabilities only pairs of positive gain are listed. A block of rows at a time, so that
    no second L x L array of floats is needed.
    """
    floor = max(options.floor, threshold)
    blocks = [no_pairs()]
    for start in range(0, len(sequence), _ROWS_AT_ONCE):
        block = probs_LL[start : start + _ROWS_AT_ONCE]
        if not np.isfinite(block).all():
            raise ValueError("pair probabilities are not finite")
        wanted = block > floor
        if unpaired_L is not None:
            needed = unpaired_L[start : start + len(block), None] + unpaired_L
            wanted &= 2.0 * options.pair_weight * block > needed
        i, j = np.nonzero(wanted)
        near = j - i - start > options.least_loop
        blocks.append(np.stack([i[near] + start, j[near]], axis=1))
    pairs = np.concatenate(blocks)
    pairs = pairs[constraints.allows(pairs[:, 0], pairs[:, 1])]
    if options.only_canonical:
        pairs = pairs[are_canonical(pairs, sequence)]
    return pairs, probs_LL[pairs[:, 0], pairs[:, 1]].astype(np.float64)
