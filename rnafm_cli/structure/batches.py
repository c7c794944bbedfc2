"""Batches for training on known structures: which RNAs or chains are drawn, how they vary, how they are padded.

Shape suffixes: B batch, L bases, N examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.pairs import are_canonical, pairs_to_partners
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.rna.thermo import pair_probabilities
from rnafm_cli.structure.pair import MIN_DISTANCE, Guide, PairConfig, PairInputs, pair_inputs
from rnafm_cli.structure.prior_cache import PriorCache
from rnafm_cli.structure.training_templates import RecordTemplates
from rnafm_cli.training.recipes import ChainVariation, FoldVariation, Sampling, Variation

_IGNORED = -100
_PAIR_LETTERS = ("GC", "CG", "AU", "UA", "GU", "UG")
_PAIR_SHARES = (0.27, 0.27, 0.17, 0.17, 0.06, 0.06)
_UNVARIED = FoldVariation()


@dataclass
class PairBatch:
    """Inputs without embeddings, and ``target_BL``: partner of each base, L for none, -100 where no loss is taken."""

    inputs: PairInputs
    target_BL: Tensor
    sequences: list[str]


def sampling_weights(lengths: np.ndarray, groups: np.ndarray, draw: Sampling) -> np.ndarray:
    """(N,) probability of each example."""
    sizes = np.bincount(groups)[groups].astype(np.float64)
    weights = sizes ** (draw.group_power - 1.0)
    weights *= np.minimum(1.0, draw.length_knee / np.maximum(lengths, 1)) ** draw.length_power
    return weights / weights.sum()


def draw_batches(
    lengths: np.ndarray, weights: np.ndarray, draw: Sampling, rng: np.random.Generator
) -> list[np.ndarray]:
    """One round: examples drawn with replacement, grouped by length under the budget, batches in random order."""
    chosen = rng.choice(len(lengths), size=draw.round_size, p=weights)
    # Ties broken at random, so that equal lengths mix differently each round.
    chosen = chosen[np.lexsort((rng.random(len(chosen)), lengths[chosen]))]
    batches: list[list[int]] = []
    for index in chosen:
        side = int(lengths[index]) + int(lengths[index]) % 2
        full = batches and (len(batches[-1]) >= draw.most or (len(batches[-1]) + 1) * side**2 > draw.pair_budget)
        if not batches or full:
            batches.append([])
        batches[-1].append(int(index))
    return [np.asarray(batches[k]) for k in rng.permutation(len(batches))]


def mutate(record: StructureRecord, rate: float, rng: np.random.Generator) -> StructureRecord:
    """Another sequence that folds alike: bases change at ``rate``, canonical partners together and stay canonical."""
    letters = np.frombuffer(record.sequence.encode(), dtype=np.uint8).copy()
    pairs = record.pairs
    changes = rng.random(len(letters)) < rate
    changes[pairs.ravel()] = False
    letters[changes] = rng.choice(np.frombuffer(b"ACGU", dtype=np.uint8), size=int(changes.sum()))
    swapped = pairs[are_canonical(pairs, record.sequence) & (rng.random(len(pairs)) < rate)]
    kinds = rng.choice(len(_PAIR_LETTERS), size=len(swapped), p=_PAIR_SHARES)
    table = np.frombuffer("".join(_PAIR_LETTERS).encode(), dtype=np.uint8).reshape(-1, 2)
    letters[swapped[:, 0]], letters[swapped[:, 1]] = table[kinds, 0], table[kinds, 1]
    return replace(record, sequence=letters.tobytes().decode())


def target_partners(record: StructureRecord) -> np.ndarray:
    """(L,) partner of each base, -1 for none, -100 for no statement: of pairs too close in sequence for the head."""
    pairs = record.pairs
    partners = pairs_to_partners(pairs, len(record.sequence)).astype(np.int64)
    partners[pairs[pairs[:, 1] - pairs[:, 0] < MIN_DISTANCE].ravel()] = _IGNORED
    return partners


def collate(
    records: Sequence[StructureRecord],
    cache: PriorCache | None,
    *,
    templates: RecordTemplates | None = None,
    variation: FoldVariation = _UNVARIED,
    rng: np.random.Generator | None = None,
) -> PairBatch:
    """A padded batch.

    Args:
        cache: pair probabilities of the records; None for a batch without the prior.
        templates: what families say of the records; None for a batch without.
        variation: what is changed or withheld at random, nothing by default; the sequence stays where everything else
            is withheld.
        rng: of that.
    """
    rng = rng or np.random.default_rng(0)
    guides, targets = [], []
    for record in records:
        prior_LL, template = None, None
        if rng.random() < variation.mutate and len(record) <= variation.mutate_longest:
            record = mutate(record, variation.mutate_rate * rng.random(), rng)
            if cache is not None:
                prior_LL = pair_probabilities(record.sequence, parameters=cache.parameters)
        else:
            if cache is not None:
                prior_LL = cache[record.sequence]
            if templates is not None and (template := templates.of(record.sequence)) is not None:
                close = record.sequence in templates.close
                if rng.random() < (variation.drop_close_template if close else variation.drop_template):
                    template = None
        guides.append(Guide(record.sequence, None, prior_LL, template))
        targets.append(target_partners(record))
    inputs = pair_inputs(guides)
    widest = inputs.letters_BL.shape[1]
    target_BL = np.full((len(guides), widest), _IGNORED, dtype=np.int64)
    for row_L, partners in zip(target_BL, targets, strict=True):
        row_L[: len(partners)] = np.where(partners == -1, widest, partners)
    # Embeddings are added later.
    inputs.has_embedding_B |= True
    _withhold(inputs, [False, True, False], variation, rng)
    return PairBatch(inputs, torch.from_numpy(target_BL), [guide.sequence for guide in guides])


@dataclass(frozen=True)
class Example:
    """A chain with what the networks are told of it."""

    chain: Chain
    guide: Guide


@dataclass
class ChainBatch:
    """Inputs and targets.

    Args:
        contact_BLL: 1 contact, 0 none, -1 unknown and padding.
        distance_BLL: Å, at most 20, NaN where unknown and in padding.
    """

    inputs: PairInputs
    contact_BLL: Tensor
    distance_BLL: Tensor


def collate_chains(
    examples: Sequence[Example],
    config: PairConfig,
    *,
    crop: int,
    rng: np.random.Generator,
    variation: ChainVariation,
) -> ChainBatch:
    """A padded batch with what a pair head takes.

    Args:
        crop: chains longer than this are shown as one window, drawn at random.
        variation: inputs withheld at random; of all that an example has, one stays.
    """
    guides, parts = [], []
    for example in examples:
        length, start = len(example.chain), 0
        if length > crop:
            start = int(rng.integers(0, length - crop + 1))
        parts.append(slice(start, min(start + crop, length)))
        guides.append(_without_families(example.guide.part(parts[-1]), variation, rng))
    inputs = pair_inputs(guides, config.inputs)
    _withhold(inputs, [True, True, True], variation, rng)
    square = (len(examples), inputs.letters_BL.shape[1], inputs.letters_BL.shape[1])
    contact_BLL, distance_BLL = np.full(square, -1, dtype=np.int8), np.full(square, np.nan, dtype=np.float32)
    for k, (example, part) in enumerate(zip(examples, parts, strict=True)):
        size = part.stop - part.start
        contact_BLL[k, :size, :size] = example.chain.contacts()[part, part]
        if (clipped_LL := example.chain.clipped_distances()) is not None:
            distance_BLL[k, :size, :size] = clipped_LL[part, part]
    return ChainBatch(inputs, torch.from_numpy(contact_BLL), torch.from_numpy(distance_BLL))


def _without_families(guide: Guide, variation: ChainVariation, rng: np.random.Generator) -> Guide:
    """Hide the families of an RNA, or what is known of their structure, now and then."""
    template, draw = guide.template, rng.random()
    if template is None or draw >= variation.drop_template + variation.drop_relatives:
        return guide
    return replace(guide, template=None if draw < variation.drop_template else replace(template, relatives=None))


def _withhold(inputs: PairInputs, least: list[bool], variation: Variation, rng: np.random.Generator) -> None:
    """Switch inputs off at random; where that would leave an example with nothing, it keeps some.

    Args:
        least: which of embedding, sequence and prior are kept, of those that there are.
    """
    given = np.stack([inputs.has_embedding_B, inputs.has_sequence_B, inputs.has_prior_B])
    shares = [[variation.drop_embedding], [variation.drop_sequence], [variation.drop_prior]]
    on = given & (rng.random(given.shape) >= np.array(shares))
    on |= given & np.array(least)[:, None] & ~on.any(axis=0)
    inputs.has_embedding_B, inputs.has_sequence_B, inputs.has_prior_B = map(torch.from_numpy, on)
