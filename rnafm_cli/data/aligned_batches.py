"""Sequences of different lengths in one batch: each in the middle of its row, or at its end.

Shape suffixes: B batch, L positions of a row, K channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rnafm_cli.models.pair import letter_codes

__all__ = ["UNKNOWN", "Alignment", "aligned_letters", "aligned_rows", "offset_of"]

Alignment = Literal["middle", "end"]
UNKNOWN = 5
"""Code of a letter other than A, C, G, U; 0 is for positions outside the sequence."""


def offset_of(length: int, width: int, alignment: Alignment) -> int:
    """Column of a row of ``width`` at which a sequence begins."""
    return width - length if alignment == "end" else (width - length) // 2


def aligned_letters(sequences: Sequence[str], width: int, alignment: Alignment) -> Tensor:
    """(B, L) integer codes: 1 to 4 for A, C, G, U, ``UNKNOWN`` for another letter, 0 outside."""
    letters_BL = np.zeros((len(sequences), width), dtype=np.int64)
    for row, sequence in zip(letters_BL, sequences, strict=True):
        codes = letter_codes(sequence)
        start = offset_of(len(codes), width, alignment)
        row[start : start + len(codes)] = np.where(codes == 0, UNKNOWN, codes)
    return torch.from_numpy(letters_BL)


def aligned_rows(
    rows: Sequence[np.ndarray | Tensor | None], width: int, alignment: Alignment, *, channels: int, fill: float = 0.0
) -> Tensor:
    """(B, L, K) float32 of per-nucleotide values, ``fill`` outside and where there are none."""
    values_BLK = torch.full((len(rows), width, channels), fill)
    for number, values in enumerate(rows):
        if values is not None:
            start = offset_of(len(values), width, alignment)
            values_BLK[number, start : start + len(values)] = torch.as_tensor(values).reshape(len(values), channels)
    return values_BLK
