"""Masked-token loss on the held-out parts, the same crops and corruption for every model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.pretrain.batches import build_batch, plan_batches
from rnafm_cli.pretrain.config import BatchSection
from rnafm_cli.pretrain.model import MaskedTokenModel
from rnafm_cli.pretrain.sampling import held_out_plan
from rnafm_cli.pretrain.shards import Corpus, Split


@dataclass(frozen=True)
class HeldOutScore:
    """Masked-token prediction on one part."""

    loss: float
    """Mean cross-entropy in nats."""
    accuracy: float
    masked: int

    @classmethod
    def of(cls, loss: float, right: int, masked: int) -> HeldOutScore:
        """From sums; of a few short sequences it may be that no letter is masked."""
        return cls(loss / (masked or math.nan), right / (masked or math.nan), masked)


class HeldOutPart:
    """One held-out part, corrupted once and kept in memory.

    Args:
        sequences: how many of the part, a seeded choice; 0 takes all.
        section: how batches are laid out.
        crop: longest window in tokens.
        seed: of choice, crops and masks.
    """

    def __init__(
        self, corpus: Corpus, split: Split, *, sequences: int, section: BatchSection, crop: int, seed: int = 1
    ) -> None:
        self.name = split.name.lower()
        self.plan = plan = held_out_plan(corpus, split, sequences=sequences, window=crop - 2, seed=seed)
        rows = plan_batches(plan.lengths, section, crop, seed=seed)
        self._batches = [build_batch(corpus, plan, batch, section, crop) for batch in rows]

    def score(
        self,
        model: MaskedTokenModel,
        device: torch.device,
        *,
        bf16: bool,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> HeldOutScore:
        """Loss and accuracy of a model."""
        loss, right, masked = 0.0, 0, 0
        with torch.no_grad(), mixed_precision(device.type, bf16=bf16):
            for number, batch in enumerate(self._batches, start=1):
                loss_sum, correct, _ = model(*batch.on(device))
                loss, right, masked = loss + float(loss_sum), right + int(correct), masked + len(batch.truth_N)
                progress(number, len(self._batches))
        return HeldOutScore.of(loss, right, masked)
