"""The control of every figure of an encoder: the same network with random weights."""

from __future__ import annotations

import torch

from rnafm_cli.models.encoder import Encoder

__all__ = ["untrained"]


def untrained(encoder: Encoder, *, seed: int = 0) -> Encoder:
    """An encoder of the same shape with random weights: what the architecture alone is worth."""
    torch.manual_seed(seed)
    return Encoder(encoder.config).to(encoder.embed.weight.device).eval()
