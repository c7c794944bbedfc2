"""Batches of chains with known tertiary structure: windows of long ones, inputs withheld, padding.

Shape suffixes: B batch, L residues, D embedding width, K bins of distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rnafm_cli.data.pair_batches import Dropouts
from rnafm_cli.models.pair import INPUTS, PairInputs, letter_codes
from rnafm_cli.rna.chains import Chain

__all__ = ["ChainBatch", "Example", "SoftMaps", "collate_chains"]


@dataclass(frozen=True)
class SoftMaps:
    """What other heads say of a chain: contact probabilities (L, L) and shares of the bins (L, L, K), float16."""

    contact_LL: Tensor
    bins_LLK: Tensor


@dataclass(frozen=True)
class Example:
    """A chain with what the networks see of it.

    Args:
        embedding_LD: the encoder's representations, or None.
        prior_LL: pair probabilities, or None.
        soft: targets by other heads, or None.
    """

    chain: Chain
    embedding_LD: Tensor | None = None
    prior_LL: np.ndarray | None = None
    soft: SoftMaps | None = None


@dataclass
class ChainBatch:
    """Inputs and targets.

    Args:
        contact_BLL: 1 contact, 0 none, -1 unknown and padding.
        distance_BLL: Å, at most 20, NaN where unknown and in padding.
        soft_contact_BLL, soft_bins_BLLK: what other heads say; None where an example has none.
    """

    inputs: PairInputs
    contact_BLL: Tensor
    distance_BLL: Tensor
    soft_contact_BLL: Tensor | None = None
    soft_bins_BLLK: Tensor | None = None


def collate_chains(
    examples: Sequence[Example],
    *,
    crop: int,
    rng: np.random.Generator,
    shown: frozenset[str] = frozenset(INPUTS),
    dropouts: Dropouts | None = None,
    noise: float = 0.0,
) -> ChainBatch:
    """A padded batch.

    Args:
        crop: chains longer than this are shown as one window, drawn at random.
        shown: inputs (``embedding``, ``sequence``, ``prior``) that may be used at all.
        dropouts: inputs withheld at random; of all that an example has, one stays.
        noise: standard deviation of what is added to embeddings, as a share of theirs.
    """
    windows = [_window(len(example.chain), crop, rng) for example in examples]
    widest = max(part.stop - part.start for part in windows)
    widest += widest % 2
    count = len(examples)
    letters_BL = torch.zeros(count, widest, dtype=torch.long)
    contact_BLL = torch.full((count, widest, widest), -1, dtype=torch.int8)
    distance_BLL = torch.full((count, widest, widest), torch.nan)
    with_prior = "prior" in shown and any(example.prior_LL is not None for example in examples)
    prior_BLL = torch.zeros(count, widest, widest) if with_prior else None
    embedding_BLD: Tensor | None = None
    for k, (example, part) in enumerate(zip(examples, windows, strict=True)):
        size = part.stop - part.start
        letters_BL[k, :size] = torch.from_numpy(letter_codes(example.chain.sequence[part]))
        contact_BLL[k, :size, :size] = torch.from_numpy(example.chain.contacts()[part, part])
        clipped_LL = example.chain.clipped_distances()
        if clipped_LL is not None:
            distance_BLL[k, :size, :size] = torch.from_numpy(clipped_LL[part, part])
        if prior_BLL is not None and example.prior_LL is not None:
            prior_BLL[k, :size, :size] = torch.from_numpy(np.ascontiguousarray(example.prior_LL[part, part]))
        if "embedding" in shown and example.embedding_LD is not None:
            rows_LD = example.embedding_LD[part].float()
            if embedding_BLD is None:
                embedding_BLD = torch.zeros(count, widest, rows_LD.shape[1])
            if noise:
                blur = torch.from_numpy(rng.standard_normal(tuple(rows_LD.shape), dtype=np.float32))
                rows_LD = rows_LD + noise * rows_LD.std() * blur
            embedding_BLD[k, :size] = rows_LD
    inputs = PairInputs(
        torch.tensor([part.stop - part.start for part in windows]), letters_BL, embedding_BLD, prior_BLL
    )
    _withhold(inputs, "sequence" in shown, dropouts or Dropouts(), rng)
    batch = ChainBatch(inputs, contact_BLL, distance_BLL)
    if all(example.soft is not None for example in examples):
        batch.soft_contact_BLL = torch.stack(
            [_padded(e.soft.contact_LL[p, p], widest) for e, p in zip(examples, windows, strict=True) if e.soft]
        )
        batch.soft_bins_BLLK = torch.stack(
            [_padded(e.soft.bins_LLK[p, p], widest) for e, p in zip(examples, windows, strict=True) if e.soft]
        )
    return batch


def _window(length: int, crop: int, rng: np.random.Generator) -> slice:
    if length <= crop:
        return slice(0, length)
    start = int(rng.integers(0, length - crop + 1))
    return slice(start, start + crop)


def _withhold(inputs: PairInputs, sequence: bool, dropouts: Dropouts, rng: np.random.Generator) -> None:
    """Switch inputs off at random; where that would leave an example with nothing, it keeps all it has."""
    there = np.array([[inputs.embedding_BLD is not None], [sequence], [inputs.prior_BLL is not None]])
    shares = np.array([[dropouts.embedding], [dropouts.sequence], [dropouts.prior]])
    on = there & (rng.random((3, len(inputs.lengths_B))) >= shares)
    on |= there & ~on.any(axis=0)
    inputs.has_embedding_B, inputs.has_sequence_B, inputs.has_prior_B = map(torch.from_numpy, on)


def _padded(map_LL: Tensor, widest: int) -> Tensor:
    extra = widest - map_LL.shape[0]
    tail = (0, 0) * (map_LL.ndim - 2)
    return F.pad(map_LL.float(), (*tail, 0, extra, 0, extra))
