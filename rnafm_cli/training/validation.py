"""Masked-token loss on the held-out parts, with crops and corruption that are the same for every model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from rnafm_cli.data.batching import Layout, MicroBatch, build_batch, plan_batches
from rnafm_cli.data.masking import MaskRule
from rnafm_cli.data.sampling import EpochPlan, mix64
from rnafm_cli.data.shards import Corpus, Split
from rnafm_cli.models.precision import mixed_precision
from rnafm_cli.training.masked_model import MaskedTokenModel

__all__ = ["HeldOutPart", "Score", "as_tensors", "held_out_plan"]


@dataclass(frozen=True)
class Score:
    """Masked-token prediction on one part."""

    loss: float
    """Mean cross-entropy in nats."""
    accuracy: float
    masked: int


def held_out_plan(corpus: Corpus, split: Split, *, sequences: int, window: int, seed: int) -> EpochPlan:
    """Windows of a seeded choice of held-out sequences; keys follow from sequence number and seed only."""
    members = corpus.members(split)
    order = np.random.default_rng([seed, 4]).permutation(len(members))
    picked = np.sort(members[order[:sequences]]) if sequences else members
    lengths = corpus.lengths[picked]
    keys = mix64(mix64(np.uint64(seed)) + picked.astype(np.uint64))
    fraction = (mix64(keys) >> np.uint64(11)).astype(np.float64) / float(1 << 53)
    starts = np.floor(fraction * (np.maximum(lengths - window, 0) + 1)).astype(np.int64)
    return EpochPlan(picked, starts, np.minimum(lengths, window), keys)


class HeldOutPart:
    """One held-out part, corrupted once and kept in memory."""

    def __init__(
        self,
        corpus: Corpus,
        split: Split,
        *,
        sequences: int,
        seed: int,
        rule: MaskRule,
        layout: Layout,
        budget: int,
        row_tokens: int,
    ) -> None:
        self.name = split.name.lower()
        plan = held_out_plan(corpus, split, sequences=sequences, window=row_tokens - 2, seed=seed)
        rows = plan_batches(plan.lengths, layout=layout, budget=budget, row_tokens=row_tokens, seed=seed, epoch=0)
        self.batches: list[MicroBatch] = [
            build_batch(corpus, plan, batch, rule, layout=layout, row_tokens=row_tokens) for batch in rows
        ]

    def score(self, model: MaskedTokenModel, device: torch.device, *, bf16: bool) -> Score | None:
        """Loss and accuracy of a model; None when the part is empty."""
        loss, right, masked = 0.0, 0, 0
        with torch.no_grad(), mixed_precision(device.type, bf16=bf16):
            for batch in self.batches:
                loss_sum, correct, *_ = model(*as_tensors(batch, device))
                loss, right, masked = loss + float(loss_sum), right + int(correct), masked + len(batch.truth_N)
        return Score(loss / masked, right / masked, masked) if masked else None


def as_tensors(
    batch: MicroBatch, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]:
    """Tokens, segments, chosen positions and truth of a micro-batch on a device."""

    def move(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    segments = None if batch.segments_BT is None else move(batch.segments_BT)
    return move(batch.tokens_BT), segments, move(batch.chosen_N), move(batch.truth_N)
