"""The encoder with its masked-token loss as one module, so that DDP and FSDP see a single forward.

Shape suffixes: B rows, T tokens with <cls>/<eos>, N chosen positions, D width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.models.encoder import Encoder

__all__ = ["MaskedTokenModel"]


class MaskedTokenModel(nn.Module):
    """Sum of the cross-entropies at the chosen positions, and how many of them are right."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self, tokens_BT: Tensor, segments_BT: Tensor | None, chosen_N: Tensor, truth_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss sum (float32 scalar, nats) and number of correct predictions.

        Args:
            tokens_BT: corrupted tokens.
            segments_BT: RNA numbers of packed rows, or None.
            chosen_N: flat positions to predict.
            truth_N: true tokens there.
        """
        # Through forward itself while evaluating: a compiled graph with gradients is of no use there.
        run = self.encoder if torch.is_grad_enabled() else self.encoder.forward
        x_BTD = run(tokens_BT, segments_BT=segments_BT).hidden[self.encoder.config.layers]
        x_ND = x_BTD.flatten(0, 1).index_select(0, chosen_N)
        logits_NV = self.encoder.token_logits(x_ND).float()
        loss = F.cross_entropy(logits_NV, truth_N, reduction="sum")
        with torch.no_grad():
            right = (logits_NV.argmax(dim=-1) == truth_N).sum()
        return loss, right
