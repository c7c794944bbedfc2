"""Representations of the sequences of a batch, computed while a head is trained or measured.

Shape suffixes: B batch, T tokens, L nucleotides, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rnafm_cli.models.encoder import Encoder
from rnafm_cli.models.precision import mixed_precision

__all__ = ["embed_batch", "embed_padded"]


def embed_batch(encoder: Encoder, sequences: Sequence[str], *, bf16: bool) -> list[Tensor]:
    """Per-nucleotide representations of the last layer, (L, D) float32 each, gradients kept if they are on."""
    alphabet = encoder.config.alphabet
    device = encoder.embed.weight.device
    widest = max(map(len, sequences)) + 2
    tokens_BT = torch.full((len(sequences), widest), alphabet.pad)
    for row, sequence in zip(tokens_BT, sequences, strict=True):
        row[: len(sequence) + 2] = torch.from_numpy(alphabet.encode(sequence).astype(np.int64))
    with mixed_precision(device.type, bf16=bf16):
        hidden_BTD = encoder(tokens_BT.to(device)).hidden[encoder.config.layers].float()
    return [hidden_BTD[k, 1 : len(sequence) + 1] for k, sequence in enumerate(sequences)]


def embed_padded(encoder: Encoder, sequences: Sequence[str], width: int, *, bf16: bool) -> Tensor:
    """(B, ``width``, D) of the same, zero after the end of each sequence."""
    rows = embed_batch(encoder, sequences, bf16=bf16)
    return torch.stack([F.pad(row_LD, (0, 0, 0, width - len(row_LD))) for row_LD in rows])
