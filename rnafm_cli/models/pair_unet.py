"""Residual blocks at several resolutions of a pair map, joined by skips (Ronneberger et al. 2015).

Maps are kept channels-last. Shape suffixes: B batch, H positions of the finest map, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rnafm_cli.models.pair_map import ResidualBlock, coarsen, map_mask, refine

__all__ = ["PairUNet"]

_DILATIONS = (1, 2, 4)


class PairUNet(nn.Module):
    """A U-Net over a square map; with one width, plain residual blocks.

    Args:
        widths: channels of each level, finest first; every level has half the resolution of the one before.
        blocks: residual blocks of a level on the way down, and again on the way up.
    """

    def __init__(self, widths: Sequence[int], *, blocks: int, dropout: float) -> None:
        super().__init__()
        pairs = list(zip(widths, widths[1:], strict=False))
        self.down = nn.ModuleList(_blocks(width, blocks, dropout) for width in widths)
        self.up = nn.ModuleList(_blocks(width, blocks, dropout) for width in widths[:-1])
        self.shrink = nn.ModuleList(nn.Linear(4 * fine, coarse) for fine, coarse in pairs)
        self.grow = nn.ModuleList(nn.Linear(coarse, 4 * fine) for fine, coarse in pairs)
        self.multiple = 2 ** len(pairs)
        """H must be a multiple of this."""

    def forward(self, x_BHHC: Tensor, lengths_B: Tensor) -> Tensor:
        """(B, H, H, C), zero in padding.

        Args:
            lengths_B: positions of each map that are no padding.
        """
        x, skips = x_BHHC, []
        masks = []
        for level, blocks in enumerate(self.down):
            mask = map_mask(lengths_B, x.shape[1], x.dtype)
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, mask)
            masks.append(mask)
            if level < len(self.shrink):
                skips.append(x)
                lengths_B = torch.div(lengths_B + 1, 2, rounding_mode="floor")
                x = self.shrink[level](coarsen(x.contiguous()))
                x = x * map_mask(lengths_B, x.shape[1], x.dtype)
        for level in reversed(range(len(self.up))):
            x = (skips[level] + refine(self.grow[level](x))) * masks[level]
            for block in self.up[level]:  # type: ignore[attr-defined]
                x = block(x, masks[level])
        return x


def _blocks(width: int, count: int, dropout: float) -> nn.ModuleList:
    return nn.ModuleList(ResidualBlock(width, _DILATIONS[k % len(_DILATIONS)], dropout) for k in range(count))
