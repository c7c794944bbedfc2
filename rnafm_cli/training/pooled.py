"""One vector a sequence: mean-pooled representations.

Shape suffixes: N sequences, D features, B batch, T tokens with <cls>/<eos>.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from rnafm_cli.data.buckets import buckets
from rnafm_cli.data.windows import window_starts
from rnafm_cli.models.encoder import Encoder

__all__ = ["mean_pooled"]

_POOL = 2048
"""Sequences that are sorted by length together."""


@torch.inference_mode()
def mean_pooled(
    encoder: Encoder,
    sequences: Sequence[str],
    *,
    batch_tokens: int = 8192,
    layer: int | None = None,
    report: Callable[[int], None] | None = None,
) -> np.ndarray:
    """(N, D) float32: the mean over a sequence's nucleotides of one layer's representations.

    A sequence beyond the encoder's limit is cut into even windows that overlap as little as possible; a
    nucleotide in two windows counts once for each.

    Args:
        layer: 0 to the number of layers; the last (after the final norm) if None.
        report: called with the number of sequences that are done.
    """
    config = encoder.config
    layer = config.layers if layer is None else layer
    sums = np.zeros((len(sequences), config.width), dtype=np.float64)
    counts = np.zeros(len(sequences))
    for first in range(0, len(sequences), _POOL):
        owners: list[int] = []
        windows: list[np.ndarray] = []
        for number, sequence in enumerate(sequences[first : first + _POOL], start=first):
            for start in window_starts(len(sequence), config.max_length, 0):
                owners.append(number)
                windows.append(config.alphabet.encode(sequence[start : start + config.max_length]))
        for group in buckets([len(window) for window in windows], batch_tokens):
            for k, total_D in zip(group, _window_sums(encoder, [windows[k] for k in group], layer), strict=True):
                sums[owners[k]] += total_D
                counts[owners[k]] += len(windows[k]) - 2
        if report:
            report(min(first + _POOL, len(sequences)))
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)


def _window_sums(encoder: Encoder, windows: list[np.ndarray], layer: int) -> np.ndarray:
    device = encoder.embed.weight.device
    width = max(len(window) for window in windows)
    tokens_BT = np.full((len(windows), width), encoder.config.alphabet.pad, dtype=np.int64)
    inside_BT = np.zeros((len(windows), width), dtype=np.float32)
    for row, window in enumerate(windows):
        tokens_BT[row, : len(window)] = window
        inside_BT[row, 1 : len(window) - 1] = 1
    x_BTD = encoder(torch.from_numpy(tokens_BT).to(device), layers=(layer,)).hidden[layer].float()
    inside = torch.from_numpy(inside_BT).to(device)
    return torch.einsum("btd,bt->bd", x_BTD, inside).cpu().numpy()
