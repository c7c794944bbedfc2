"""Batches of RNAs with known structure for a pair head: which are drawn, how they vary, how they are padded.

Shape suffixes: B batch, L bases, N examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rnafm_cli.data.prior_cache import PriorCache, SparsePairs
from rnafm_cli.data.thermo import pair_probabilities
from rnafm_cli.models.pair import MIN_DISTANCE, PairInputs, letter_codes
from rnafm_cli.rna.pairs import are_canonical, pairs_to_partners
from rnafm_cli.rna.records import StructureRecord

__all__ = ["Dropouts", "Draw", "PairBatch", "collate", "draw_batches", "mutate", "sampling_weights", "target_partners"]

_IGNORED = -100
_PAIR_LETTERS = ("GC", "CG", "AU", "UA", "GU", "UG")
_PAIR_SHARES = (0.27, 0.27, 0.17, 0.17, 0.06, 0.06)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How examples are drawn and batched."""

    pair_budget: int
    """Cells of the padded maps of a batch: RNAs x length squared."""
    most: int = 64
    """RNAs of a batch at most."""
    group_power: float = 0.5
    """A group of n RNAs is drawn in proportion to n to this power; 1 for all RNAs alike."""
    length_power: float = 1.0
    """An RNA longer than ``length_knee`` is drawn less often by (knee / length) to this power."""
    length_knee: int = 200
    round_size: int = 2048


@dataclass(frozen=True, kw_only=True)
class Dropouts:
    """Share of examples that are shown without an input."""

    embedding: float = 0.0
    sequence: float = 0.0
    prior: float = 0.0


@dataclass
class PairBatch:
    """Inputs without embeddings, and ``target_BL``: partner of each base, L for none, -100 where no loss is taken."""

    inputs: PairInputs
    target_BL: Tensor
    sequences: list[str]


def sampling_weights(lengths: np.ndarray, groups: np.ndarray, draw: Draw) -> np.ndarray:
    """(N,) probability of each example."""
    sizes = np.bincount(groups)[groups].astype(np.float64)
    weights = sizes ** (draw.group_power - 1.0)
    weights *= np.minimum(1.0, draw.length_knee / np.maximum(lengths, 1)) ** draw.length_power
    return weights / weights.sum()


def draw_batches(lengths: np.ndarray, weights: np.ndarray, draw: Draw, rng: np.random.Generator) -> list[np.ndarray]:
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


def target_partners(record: StructureRecord, *, noncanonical: str) -> np.ndarray:
    """(L,) partner of each base, -1 for none, -100 for no statement.

    Args:
        noncanonical: what becomes of pairs other than AU, GC, GU: ``pair`` targets like others, ``unpaired``, or
            ``ignore``. Pairs too close in sequence for the head are always ignored.
    """
    pairs = record.pairs
    partners = pairs_to_partners(pairs, len(record.sequence)).astype(np.int64)
    if not len(pairs):
        return partners
    if noncanonical != "pair":
        odd = pairs[~are_canonical(pairs, record.sequence)].ravel()
        partners[odd] = -1 if noncanonical == "unpaired" else _IGNORED
    partners[pairs[pairs[:, 1] - pairs[:, 0] < MIN_DISTANCE].ravel()] = _IGNORED
    return partners


def collate(
    records: Sequence[StructureRecord],
    cache: PriorCache | None,
    *,
    noncanonical: str,
    dropouts: Dropouts | None = None,
    mutations: tuple[float, float, int] = (0.0, 0.0, 0),
    rng: np.random.Generator | None = None,
) -> PairBatch:
    """A padded batch.

    Args:
        cache: pair probabilities of the records; None for a batch without the prior.
        dropouts: inputs withheld at random; the sequence stays where everything else is withheld.
        mutations: share of records that are mutated, highest rate of changes, and the length up to which.
        rng: needed for dropouts and mutations.
    """
    records = list(records)
    priors: list[SparsePairs | np.ndarray | None] = [None] * len(records)
    share, highest, longest = mutations
    for k, record in enumerate(records):
        if rng is not None and rng.random() < share and len(record.sequence) <= longest:
            records[k] = mutate(record, highest * rng.random(), rng)
            if cache is not None:
                priors[k] = pair_probabilities(records[k].sequence, parameters=cache.parameters)
        elif cache is not None:
            priors[k] = cache.of(record.sequence)

    lengths = [len(record.sequence) for record in records]
    widest = max(lengths) + max(lengths) % 2
    letters_BL = np.zeros((len(records), widest), dtype=np.int64)
    target_BL = np.full((len(records), widest), _IGNORED, dtype=np.int64)
    prior_BLL = np.zeros((len(records), widest, widest), dtype=np.float32) if cache is not None else None
    for k, (record, length) in enumerate(zip(records, lengths, strict=True)):
        letters_BL[k, :length] = letter_codes(record.sequence)
        partners = target_partners(record, noncanonical=noncanonical)
        target_BL[k, :length] = np.where(partners == -1, widest, partners)
        prior = priors[k]
        if prior_BLL is not None and prior is not None:
            prior_BLL[k, :length, :length] = prior if isinstance(prior, np.ndarray) else prior.dense(length)

    inputs = PairInputs(
        torch.tensor(lengths),
        torch.from_numpy(letters_BL),
        prior_BLL=None if prior_BLL is None else torch.from_numpy(prior_BLL),
    )
    if dropouts is not None and rng is not None:
        shown = rng.random((3, len(records))) >= np.array([[dropouts.embedding], [dropouts.sequence], [dropouts.prior]])
        shown[1] |= ~shown.any(axis=0)
        inputs.has_embedding_B, inputs.has_sequence_B, inputs.has_prior_B = map(torch.from_numpy, shown)
    return PairBatch(inputs, torch.from_numpy(target_BL), [record.sequence for record in records])
