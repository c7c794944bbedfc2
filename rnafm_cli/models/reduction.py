"""Embeddings reduced to a few channels that say what the letters nearby do not.

Shape suffixes: N nucleotides, D embedding width, K channels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["CLIP", "Reduction"]

CLIP = 4.0
"""Channels end at this many standard deviations, so that they can be kept as bytes."""
_FLOOR = 1e-6


class Reduction(nn.Module):
    """A linear map of embeddings to K channels of about unit variance.

    Its directions are the principal axes of the embeddings' scatter within groups of nucleotides that have the same
    letter and the same two neighbours. What the letters say is told to a head directly; these axes hold the rest.
    """

    mean: Tensor

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.weight = nn.Parameter(torch.zeros(channels, width))

    def forward(self, rows_ND: Tensor) -> Tensor:
        """(..., K) of (..., D), clipped at ``CLIP``."""
        weight = self.weight.to(rows_ND.dtype)
        return ((rows_ND - self.mean.to(rows_ND.dtype)) @ weight.T).clamp(-CLIP, CLIP)

    @torch.no_grad()
    def fit(self, rows_ND: NDArray[np.float32], codes_N: NDArray[np.integer]) -> None:
        """Find the axes from a sample.

        Args:
            rows_ND: embeddings.
            codes_N: number of the group of each row: its letter and its neighbours'.
        """
        rows = rows_ND.astype(np.float64)
        counts = np.bincount(codes_N)
        sums = np.zeros((len(counts), rows.shape[1]))
        np.add.at(sums, codes_N, rows)
        inner = rows - (sums / np.maximum(counts, 1)[:, None])[codes_N]
        values, axes = np.linalg.eigh(inner.T @ inner / len(rows))
        channels = len(self.weight)
        chosen = axes[:, ::-1][:, :channels].T
        # The sign of an axis is free: make its largest entry positive, so that runs agree.
        largest = np.abs(chosen).argmax(axis=1)
        chosen = chosen * np.sign(chosen[np.arange(len(chosen)), largest])[:, None]
        mean = rows.mean(axis=0)
        spread = ((rows - mean) @ chosen.T).std(axis=0)
        self.mean.copy_(torch.from_numpy(mean.astype(np.float32)))
        weight = torch.zeros_like(self.weight)
        weight[: len(chosen)] = torch.from_numpy((chosen / np.maximum(spread, _FLOOR)[:, None]).astype(np.float32))
        self.weight.copy_(weight)
