"""Transformer layers over the bases of an RNA, trained with a head: what the frozen encoder does not tell.

Shape suffixes: B batch, L bases (padded), I input width, W output width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnafm_cli.models.config import EncoderConfig
from rnafm_cli.models.encoder import EncoderLayer, rotary_tables
from rnafm_cli.models.pair_map import base_mask

__all__ = ["BaseMixer"]

_HEAD_WIDTH = 48


class BaseMixer(nn.Module):
    """Adds to the features of each base what the other bases of its RNA say; adds nothing before training.

    Args:
        inputs: width of what comes in.
        width: width of what goes out.
        layers: transformer layers with rotary positions.
        inner: their width, a multiple of 48.
    """

    def __init__(self, inputs: int, width: int, *, layers: int, inner: int) -> None:
        super().__init__()
        shape = EncoderConfig(
            layers=layers, width=inner, heads=max(1, inner // _HEAD_WIDTH), ffn=4 * inner, positions="rotary"
        )
        self.head_width = inner // shape.heads
        self.enter = nn.Linear(inputs, inner)
        stack = [EncoderLayer(shape) for _ in range(layers)]
        self.layers = nn.ModuleList(stack)
        self.norm = nn.LayerNorm(inner)
        self.leave = nn.Linear(inner, width)
        for layer in stack:
            for last in (layer.out, layer.ffn_out):
                nn.init.normal_(last.weight, std=0.02)
                nn.init.zeros_(last.bias)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x_BLI: Tensor, lengths_B: Tensor) -> Tensor:
        """(B, L, W); results of one RNA do not depend on the others or on padding."""
        length = x_BLI.shape[1]
        x = self.enter(x_BLI)
        key_mask = None
        if bool((lengths_B < length).any()):
            key_mask = base_mask(lengths_B, length)[:, None, None, :]
        rotation = rotary_tables(length, self.head_width, x.device)
        for layer in self.layers:
            x, _ = layer(x, key_mask, rotation)
        return self.leave(self.norm(x.to(torch.float32)))
