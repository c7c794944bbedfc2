"""From pair probabilities, and what is demanded of some bases, to one valid structure.

Shape suffixes: L bases, C candidate pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

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
    validate,
)

Decoder = Literal["mea", "threshold", "matching", "upstream"]
_THRESHOLDS: dict[str, float] = {"mea": 0.0, "threshold": 0.5, "matching": 0.0, "upstream": 0.5}
_KNOT_PROBABILITY, _KNOT_STEM = 0.3, 3
"""A pseudoknot that ``mea`` adds has this many stacked pairs of more than this probability."""
_ROWS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """How ``decode`` chooses pairs; ``None`` stands for the decoder's own rule.

    Args:
        decoder: ``mea`` exact nested structure of maximum expected accuracy, then knots; ``threshold`` every
            pair above the threshold, best first; ``matching`` maximum expected accuracy with crossings free;
            ``upstream`` RNA-FM's own greedy rule, without a limit on layers of brackets.
        threshold: pairs at or below this probability are never taken; by default 0 (mea, matching) or 0.5.
        min_loop: fewest bases between two partners; 3, upstream 1.
        canonical: AU, GC and GU only; true, upstream false.
        pseudoknots: allow pairs that cross.
        isolated: allow pairs that stack on no other.
        gamma: weight of a pair against two unpaired bases in the expected accuracy; higher gives more pairs; by
            default 1, and in ``fold`` what suits the model.

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

    def __post_init__(self) -> None:
        if self.decoder not in _THRESHOLDS:
            raise UsageError(f"no decoder '{self.decoder}'", hint="use one of " + ", ".join(_THRESHOLDS))
        if not 0.0 <= self.floor <= 1.0:
            raise UsageError(f"threshold {self.threshold} is not a probability", hint="give a value from 0 to 1")
        if self.gamma is not None and not 0.0 < self.gamma <= 1e6:
            raise UsageError(f"gamma {self.gamma} is no number above 0, or beyond a million")
        if self.least_loop < 0:
            raise UsageError(f"min_loop {self.min_loop} is below 0")

    @property
    def floor(self) -> float:
        """Probability that a pair must exceed."""
        return self.threshold if self.threshold is not None else _THRESHOLDS[self.decoder]

    @property
    def least_loop(self) -> int:
        """Fewest bases between two partners."""
        return self.min_loop if self.min_loop is not None else (1 if self.decoder == "upstream" else 3)

    @property
    def only_canonical(self) -> bool:
        """Whether only AU, GC and GU may pair."""
        return self.canonical if self.canonical is not None else self.decoder != "upstream"

    @property
    def most_layers(self) -> int | None:
        """Layers that the result may need; ``None`` for any number."""
        if not self.pseudoknots:
            return 1
        return None if self.decoder == "upstream" else BRACKET_LAYERS


@dataclass(frozen=True)
class Constraints:
    """Demands on the bases of one RNA, one of RNAfold's symbols for each.

    ``.`` nothing known, ``x`` unpaired, ``|`` paired wherever the probabilities offer a partner, ``<`` paired with a
    later base, ``>`` with an earlier one, ``()`` a pair, canonical or not; ``[]`` and ``{}`` pairs that cross those.

    Args:
        place: file and line, for messages.
        pairs: (n, 2), 0-based: those of the brackets.

    Raises:
        InputError: for a foreign symbol or a bracket without partner, with its position (1-based).
    """

    symbols: str
    place: str = ""
    pairs: Pairs = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", from_dot_bracket(self.symbols, unpaired=".|x<>"))

    def marks(self, symbols: str) -> NDArray[np.bool_]:
        """(L,) which bases bear one of some symbols."""
        return np.array([symbol in symbols for symbol in self.symbols], dtype=np.bool_)

    @property
    def settled(self) -> NDArray[np.bool_]:
        """(L,) which bases have their partner, or are to have none."""
        return self.marks("x()[]{}")

    def check(self, length: int, options: DecodeOptions) -> None:
        """Refuse constraints that no structure of ``length`` bases can meet.

        Raises:
            InputError: for another length, a pair around too small a loop, or pairs that cross more than the options
                allow.
        """
        if len(self.symbols) != length:
            raise InputError(f"the constraint covers {len(self.symbols)} bases, the sequence has {length}")
        validate(self.pairs, length, min_loop=options.least_loop)
        most = options.most_layers
        if most is not None and len(layers(self.pairs)) > most:
            raise InputError(
                "the constrained pairs cross each other",
                hint="allow pseudoknots" if most == 1 else f"use at most {most} kinds of brackets",
            )

    def nested(self, sequence: str) -> str:
        """The symbols as far as a nested ensemble of canonical pairs can meet them, for the prior.

        Pairs in ``[]`` and ``{}``, which are there to cross others, and non-canonical ones keep their bases
        unpaired instead: those pairs are the decoder's.
        """
        symbols = ["x" if symbol in "[]{}" else symbol for symbol in self.symbols]
        for i, j in self.pairs[~are_canonical(self.pairs, sequence)].tolist():
            symbols[i] = symbols[j] = "x"
        return "".join(symbols)


def decode(
    probs_LL: NDArray[np.floating],
    sequence: str,
    options: DecodeOptions | None = None,
    *,
    constraints: Constraints | None = None,
) -> Pairs:
    """The structure that pair probabilities stand for.

    Each base gets at most one partner, loops and letters obey the options (constrained pairs may be
    non-canonical), and the result fits into ``options.most_layers`` kinds of brackets.

    Args:
        probs_LL: symmetric pair probabilities; only the part above the diagonal is read for pairs.
        sequence: upper-case RNA of L letters; letters other than A, C, G, U are never canonical.
        constraints: demands on this RNA that passed their check.

    Returns:
        Pairs (n, 2), 0-based, i < j, ascending.

    Raises:
        ValueError: for a matrix that is not (L, L) or not finite.
    """
    options = options or DecodeOptions()
    length = len(sequence)
    if probs_LL.shape != (length, length):
        raise ValueError(f"probabilities of shape {probs_LL.shape} for a sequence of {length}")
    constraints = constraints or Constraints("." * length)
    forced = constraints.pairs
    if options.decoder in ("mea", "matching"):
        pairs = _accurate(probs_LL, sequence, options, constraints)
    else:
        pairs, probs_C = _candidates(probs_LL, sequence, options, constraints)
        pairs = _best_first(pairs, probs_C, forced, nested=not options.pseudoknots)
    if not options.isolated:
        pairs = _without_isolated(pairs, forced)
    return pairs if options.most_layers is None else limit_layers(pairs, forced, options.most_layers)


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


def unpaired_probability(probs_LL: NDArray[np.floating]) -> NDArray[np.float64]:
    """(L,) what is left of each base's probability after all its pairs, at least 0."""
    total_L = probs_LL.sum(axis=1, dtype=np.float64) - np.diagonal(probs_LL)
    return np.clip(1.0 - total_L, 0.0, 1.0)


def _accurate(probs_LL: NDArray[np.floating], sequence: str, options: DecodeOptions, constraints: Constraints) -> Pairs:
    """The structure of greatest expected accuracy: nested with knots on top, or a free matching."""
    weight, length, forced = options.gamma or 1.0, len(sequence), constraints.pairs
    unpaired_L = unpaired_probability(probs_LL)
    # More than all probabilities of an RNA together, so no gain elsewhere can make up for it.
    unpaired_L[constraints.marks("|<>")] = -4.0 * weight * length
    found, probs_C = _candidates(probs_LL, sequence, options, constraints, unpaired_L=unpaired_L)
    gains_C = 2.0 * weight * probs_C - unpaired_L[found].sum(axis=1)
    if options.decoder == "matching" and options.pseudoknots:
        return as_pairs(np.concatenate([heaviest_matching(found, gains_C), forced]))
    # For each base the innermost of the nested forced pairs around it: pairs within such a region cross none of them.
    region_L = np.full(length, -1, dtype=np.int64)
    for number, (i, j) in enumerate(pair for layer in layers(forced)[:1] for pair in layer.tolist()):
        region_L[i : j + 1] = number
    fits = region_L[found[:, 0]] == region_L[found[:, 1]]
    pairs = as_pairs(np.concatenate([heaviest_nested(found[fits], gains_C[fits], length), forced]))
    if not options.isolated:
        pairs = _without_isolated(pairs, forced)
    if options.pseudoknots:
        knots, probs_C = _candidates(probs_LL, sequence, options, constraints, threshold=_KNOT_PROBABILITY)
        pairs = add_knots(pairs, knots, probs_C, min_stem=_KNOT_STEM, max_layers=BRACKET_LAYERS)
    return pairs


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
            wanted &= 2.0 * (options.gamma or 1.0) * block > needed
        i, j = np.nonzero(wanted)
        near = j - i - start > options.least_loop
        blocks.append(np.stack([i[near] + start, j[near]], axis=1))
    pairs = np.concatenate(blocks)
    barred_L = constraints.settled
    opens, closes = pairs.T
    pairs = pairs[
        ~(barred_L[opens] | barred_L[closes] | constraints.marks(">")[opens] | constraints.marks("<")[closes])
    ]
    if options.only_canonical:
        pairs = pairs[are_canonical(pairs, sequence)]
    return pairs, probs_LL[pairs[:, 0], pairs[:, 1]].astype(np.float64)


def heaviest_matching(candidates: Pairs, gains_C: NDArray[np.floating]) -> Pairs:
    """The set of candidate pairs, each base in at most one, with the greatest sum of gains, crossings free.

    An integer programme: canonical pairs join a purine and a pyrimidine, so their linear programme has whole-numbered
    corners and HiGHS need not branch, a hundred times as fast at 1,000 nt as blossoms in Python.

    Args:
        candidates: (C, 2), 0-based, i < j.
        gains_C: gain of each; only positive ones matter.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    if not (gains_C > 0).any():
        return no_pairs()
    bases, row = np.unique(candidates, return_inverse=True)
    column = np.repeat(np.arange(len(candidates)), 2)
    uses = csr_array((np.ones(len(column)), (row.ravel(), column)), shape=(len(bases), len(candidates)))
    solution = milp(
        -gains_C,
        integrality=np.ones(len(candidates)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(uses, -np.inf, 1),
        options={"mip_rel_gap": 0.0},
    )
    return candidates[solution.x > 0.5]


def heaviest_nested(candidates: Pairs, gains_C: NDArray[np.floating], length: int) -> Pairs:
    """The nested set of candidate pairs, each base in at most one, with the greatest sum of gains.

    For each 3' base the candidates are visited from the innermost out; one that does not beat the best structure of
    its own interval so far cannot be part of any better one outside and costs a comparison (sparse folding after
    Wexler et al. 2007). The others update all intervals that end there at once. Time is O(L * useful candidates),
    memory O(L^2) at worst with one row of 8 L bytes for each base that closes a useful candidate.

    Args:
        candidates: (C, 2), 0-based, i < j.
        gains_C: gain of each; only positive ones matter.
        length: L.

    Returns:
        The chosen pairs, (n, 2). Of equal optima the choice is deterministic.
    """
    positive = np.flatnonzero(gains_C > 0)
    order = positive[np.lexsort((-candidates[positive, 0], candidates[positive, 1]))]
    opens_C = candidates[order, 0]
    gains_C = np.asarray(gains_C, dtype=np.float64)[order]
    bounds = np.searchsorted(candidates[order, 1], np.arange(length + 1))
    # rows[e][i] is the best sum for the bases i .. e-1; rows that repeat are shared.
    rows = [np.zeros(length + 1)]
    useful: list[list[tuple[int, float]]] = []
    for j in range(length):
        opens, gains = opens_C[bounds[j] : bounds[j + 1]], gains_C[bounds[j] : bounds[j + 1]]
        before = row = rows[j]
        useful.append([])
        if len(opens):
            closed = gains + before[opens + 1]
            promising = np.flatnonzero(closed > before[opens])
            for k, value in zip(opens[promising].tolist(), closed[promising].tolist(), strict=True):
                if value > row[k]:
                    if row is before:
                        row = before.copy()
                    np.maximum(row[: k + 1], rows[k][: k + 1] + value, out=row[: k + 1])
                    useful[j].append((k, value))
        rows.append(row)
    return _traced(rows, useful)


def _traced(rows: list[NDArray[np.float64]], useful: list[list[tuple[int, float]]]) -> Pairs:
    """The pairs behind the best sum over all bases."""
    chosen: list[tuple[int, int]] = []
    intervals = [(0, len(useful))]
    while intervals:
        i, end = intervals.pop()
        while end > i:
            best = rows[end][i]
            end -= 1
            if best == rows[end][i]:
                continue
            # The same two numbers were added on the way forward, so equality is exact.
            k = next(k for k, value in useful[end] if k >= i and rows[k][i] + value == best)
            chosen.append((k, end))
            intervals.append((k + 1, end))
            end = k
    return as_pairs(chosen)


def _best_first(candidates: Pairs, probs_C: NDArray[np.floating], start: Pairs, *, nested: bool) -> Pairs:
    """Beside the pairs of ``start``, take the most probable one, drop all that share a base with it, and so on.

    This is upstream's way from a map to a structure (``redevelop/engine/predictor.py``); crossing pairs stay
    unless ``nested``. Ties go to the pair that opens, then closes, first.
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
    pairs: Pairs, candidates: Pairs, probs_C: NDArray[np.floating], *, min_stem: int, max_layers: int
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
    undisputed = [run for run in _stacks(candidates) if not np.isin(run, pairs).any()]
    rest = as_pairs(np.concatenate([no_pairs(), *undisputed]))
    rest = rest[crossing(rest, pairs).any(axis=1)]
    while runs := [run for run in _stacks(rest) if len(run) >= min_stem]:
        best = max(runs, key=lambda run: (sum(prob_of[tuple(p)] for p in run.tolist()), -int(run[0, 0])))
        extended = as_pairs(np.concatenate([pairs, best]))
        if len(layers(extended)) <= max_layers:
            pairs = extended
            rest = rest[~np.isin(rest, best).any(axis=1)]
        else:
            rest = rest[~_among(rest, best)]
    return pairs


def limit_layers(pairs: Pairs, keep: Pairs, max_layers: int) -> Pairs:
    """Drop pairs, none of ``keep``, until ``max_layers`` layers of brackets hold the rest.

    ``keep`` must fit by itself.
    """
    while len(found := layers(pairs)) > max_layers:
        extra, loose = np.concatenate(found[max_layers:]), ~_among(pairs, keep)
        beyond = loose & _among(pairs, extra)
        if not beyond.any():
            # Only kept pairs are left over: what crosses them has to go.
            beyond = loose & crossing(pairs, extra).any(axis=1)
        if not beyond.any():
            return keep
        pairs = pairs[~beyond]
    return pairs


def _without_isolated(pairs: Pairs, keep: Pairs) -> Pairs:
    """The pairs that stack on another one, and those of ``keep`` in any case."""
    return as_pairs(np.concatenate([*(run for run in _stacks(pairs) if len(run) > 1), keep]))


def _among(pairs: Pairs, others: Pairs) -> NDArray[np.bool_]:
    return (pairs[:, None] == others).all(axis=2).any(axis=1)


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
