"""From pair probabilities to one valid structure.

Shapes: L bases, C candidate pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import UsageError
from rnafm_cli.rna.constraints import Constraints
from rnafm_cli.rna.greedy import add_knots, best_first, limit_layers, without_isolated
from rnafm_cli.rna.matching import heaviest_matching
from rnafm_cli.rna.mea import heaviest_nested, unpaired_probability
from rnafm_cli.rna.pairs import Pairs, are_canonical, as_pairs, no_pairs
from rnafm_cli.rna.pseudoknots import BRACKET_LAYERS, layers

__all__ = ["DecodeOptions", "Decoder", "decode"]

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
                raise UsageError(f"{name} {value} is no probability", hint="give a value from 0 to 1")
        if not self.pair_weight > 0.0:
            raise UsageError(f"gamma {self.gamma} is not positive")
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
