"""Where the windows of a batch lie, and what is gathered from there.

Shape suffixes: B rows, T tokens with <cls>/<eos>, W windows, L nucleotides of the longest window, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["WindowPlaces"]


class WindowPlaces:
    """The windows of a batch, row by row.

    Args:
        segments_BT: number of the window within its row, -1 at pads; None when every row is one window.
        tokens_BT: the batch's tokens.
    """

    def __init__(self, segments_BT: Tensor | None, tokens_BT: Tensor) -> None:
        if segments_BT is None:
            segments_BT = torch.zeros_like(tokens_BT)
        row_B = torch.arange(len(tokens_BT), device=segments_BT.device)[:, None]
        flat = torch.where(segments_BT < 0, -1, segments_BT + row_B * (segments_BT.max() + 1)).flatten()
        self._size = len(flat)
        self._inside = torch.nonzero(flat >= 0)[:, 0]
        _, self._owners, sizes_W = torch.unique(flat[self._inside], return_inverse=True, return_counts=True)
        none = torch.full_like(sizes_W, self._size)
        self.starts_W = none.scatter_reduce(0, self._owners, self._inside, "amin") + 1
        """Flat place of each window's first nucleotide."""
        self.lengths_W = sizes_W - 2
        """Nucleotides."""

    def gather(self, flat: Tensor, outside: int) -> Tensor:
        """(W, L): what stands at the nucleotides of each window, ``outside`` beyond its end.

        Args:
            flat: (B * T,) values.
        """
        place_L = torch.arange(int(self.lengths_W.max()), device=flat.device)
        inside_WL = place_L < self.lengths_W[:, None]
        return torch.where(inside_WL, flat[torch.where(inside_WL, self.starts_W[:, None] + place_L, 0)], outside)

    def means(self, x_BTD: Tensor) -> Tensor:
        """(W, D) float32: the mean over each window's nucleotides."""
        # Pads and specials are added to a row that is left out.
        nowhere = len(self.lengths_W)
        owners = torch.full((self._size,), nowhere, device=x_BTD.device)
        owners[self._inside] = self._owners
        owners[self.starts_W - 1] = owners[self.starts_W + self.lengths_W] = nowhere
        sums = torch.zeros(nowhere + 1, x_BTD.shape[2], device=x_BTD.device)
        return sums.index_add(0, owners, x_BTD.flatten(0, 1).float())[:-1] / self.lengths_W[:, None]
