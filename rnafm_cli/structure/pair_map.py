"""Pair features and the convolutional maps over all pairs of bases that the heads share.

Maps are kept channels-last.

Shape suffixes: B batch, H positions of the finest map, C channels, L bases (even, padded), W width per base, F
channels of the fine pair features, G heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "CoarseMap",
    "PAIR_FEATURES",
    "ResidualBlock",
    "TEMPLATE_FEATURES",
    "base_mask",
    "coarsen",
    "map_mask",
    "pair_features",
    "refine",
]


PAIR_FEATURES = 8
TEMPLATE_FEATURES = 3
"""More of them in heads that take what a family says."""
_EPSILON = 1e-4


def base_mask(lengths_B: Tensor, length: int) -> Tensor:
    """(B, L) bool: which positions are bases and not padding."""
    return torch.arange(length, device=lengths_B.device) < lengths_B[:, None]


def map_mask(lengths_B: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """(B, L, L, 1): 1 where both sides are bases, 0 in padding; of autocast's type where that is on."""
    device = lengths_B.device.type
    real_BL = base_mask(lengths_B, length)
    mask = (real_BL[:, :, None] & real_BL[:, None, :])[..., None]
    return mask.to(torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else dtype)


def pair_features(
    letters_BL: Tensor,
    prior_BLL: Tensor | None,
    has_sequence_B: Tensor,
    has_prior_B: Tensor,
    *,
    template_BLL: Tensor | None = None,
    has_template_B: Tensor | None = None,
    channels: int = PAIR_FEATURES,
) -> Tensor:
    """What is known of each pair of bases beforehand, (B, L, L, F).

    Channels: prior probability and its scaled logarithm, AU, GC, GU, signed logarithm of the distance, too close
    to pair, prior present; where there are more, expected consensus pairs and their scaled logarithm, family known.
    Channels of an absent input are zero.

    Args:
        letters_BL: 1 to 4 for A, C, G, U, 0 for anything else.
        prior_BLL: pair probabilities, or None.
        template_BLL: consensus pairs that the RNA's families let expect, or None.
        channels: F, with or without those of the families.
    """
    batch, length = letters_BL.shape
    device = letters_BL.device
    features = torch.zeros(batch, length, length, channels, device=device)
    if prior_BLL is not None:
        on = has_prior_B[:, None, None].float()
        features[..., 0] = prior_BLL * on
        features[..., 1] = (torch.log(prior_BLL + _EPSILON) * 0.25 + 1.0) * on
        features[..., 7] = on
    if template_BLL is not None and has_template_B is not None:
        on = has_template_B[:, None, None].float()
        features[..., 8] = template_BLL * on
        features[..., 9] = (torch.log(template_BLL + _EPSILON) * 0.25 + 1.0) * on
        features[..., 10] = on
    # Products of A=1, C=2, G=3, U=5 tell the three canonical pairs apart: AU 5, CG 6, GU 15.
    primes = torch.tensor([0, 1, 2, 3, 5], device=device)[letters_BL] * has_sequence_B[:, None]
    product_BLL = primes[:, :, None] * primes[:, None, :]
    for channel, product in enumerate((5, 6, 15), start=2):
        features[..., channel] = product_BLL == product
    position = torch.arange(length, device=device, dtype=torch.float32)
    offset_LL = position[None, :] - position[:, None]
    features[..., 5] = offset_LL.sign() * offset_LL.abs().log1p() / 3.0
    features[..., 6] = offset_LL.abs() < 4
    return features


def coarsen(features_BLLF: Tensor) -> Tensor:
    """Put every 2 x 2 square of a fine map into the channels of a coarse one: (B, H, H, 4 F)."""
    batch, length, _, channels = features_BLLF.shape
    half = length // 2
    split = features_BLLF.view(batch, half, 2, half, 2, channels)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(batch, half, half, 4 * channels)


def refine(map_BHHC: Tensor) -> Tensor:
    """The inverse of :func:`coarsen`: (B, L, L, C / 4)."""
    batch, half, _, channels = map_BHHC.shape
    split = map_BHHC.view(batch, half, half, 2, 2, channels // 4)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(batch, 2 * half, 2 * half, channels // 4)


class CoarseMap(nn.Module):
    """A map over pairs of neighbouring-base pairs: outer sum, products and pair features, then residual blocks.

    Args:
        width: of the per-base features.
        channels: of the map.
        dilations: one residual block each.
        heads: bilinear products of the two sides that enter the map.
        axial_every: after this many blocks every row is pooled and the result handed to its row and column, so
            that partners of one base see each other; 0 for never.
        features: F, channels of the pair features.
    """

    def __init__(
        self,
        *,
        width: int,
        channels: int,
        dilations: Sequence[int],
        heads: int,
        axial_every: int,
        dropout: float,
        features: int = PAIR_FEATURES,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.row = nn.Linear(2 * width, channels)
        self.column = nn.Linear(2 * width, channels, bias=False)
        self.query = nn.Linear(2 * width, 8 * heads)
        self.key = nn.Linear(2 * width, 8 * heads)
        self.enter = nn.Linear(4 * features + heads, channels)
        self.blocks = nn.ModuleList(ResidualBlock(channels, dilation, dropout) for dilation in dilations)
        places = [k for k in range(len(dilations)) if axial_every and (k + 1) % axial_every == 0]
        self.axial = nn.ModuleDict({str(k): _RowPool(channels) for k in places})
        self.norm = nn.LayerNorm(channels, bias=False)

    def forward(self, x_BLW: Tensor, features_BLLF: Tensor, lengths_B: Tensor) -> Tensor:
        """(B, H, H, C), zero where either side is padding."""
        batch, length, width = x_BLW.shape
        half = length // 2
        mask = map_mask((lengths_B + 1) // 2, half, x_BLW.dtype)
        two_BHW = x_BLW.reshape(batch, half, 2 * width)
        query_BGHK = self.query(two_BHW).view(batch, half, self.heads, 8).transpose(1, 2)
        key_BGKH = self.key(two_BHW).view(batch, half, self.heads, 8).permute(0, 2, 3, 1)
        products_BHHG = (query_BGHK @ key_BGKH).permute(0, 2, 3, 1) * 8**-0.5
        parts = [coarsen(features_BLLF).to(products_BHHG.dtype), products_BHHG]
        x = self.enter(torch.cat(parts, dim=-1))
        x = (x + self.row(two_BHW)[:, :, None] + self.column(two_BHW)[:, None, :]) * mask
        for number, block in enumerate(self.blocks):
            x = block(x, mask)
            if str(number) in self.axial:
                x = self.axial[str(number)](x, mask)
        return self.norm(x).to(mask.dtype)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(norm(x)))), masked so that padding stays zero."""

    def __init__(self, channels: int, dilation: int, dropout: float) -> None:
        super().__init__()
        # Without a bias, zero stays zero: padding needs no mask here.
        self.norm = nn.LayerNorm(channels, bias=False)
        self.first = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout2d(dropout)
        for conv in (self.first, self.second):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x_BHHC: Tensor, mask: Tensor) -> Tensor:
        h = self.norm(x_BHHC).to(mask.dtype)
        h = self.first(h.permute(0, 3, 1, 2))
        h = self.dropout(F.relu(h, inplace=True)).permute(0, 2, 3, 1) * mask
        h = self.second(h.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return torch.addcmul(x_BHHC, h, mask)


class _RowPool(nn.Module):
    """Attention-weighted mean over each row, added to the row and the column of that position."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.score = nn.Linear(channels, heads)
        self.mix = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, 2 * channels)

    def forward(self, x_BHHC: Tensor, mask: Tensor) -> Tensor:
        batch, half, _, channels = x_BHHC.shape
        normed = self.norm(x_BHHC).to(mask.dtype)
        score_BHHG = self.score(normed).float().masked_fill(mask == 0, -1e4)
        weight_BHGH = score_BHHG.softmax(dim=2).to(mask.dtype).transpose(2, 3)
        pooled_BHGC = weight_BHGH @ normed
        # Each head keeps its own share of the channels.
        share = channels // self.heads
        kept = [pooled_BHGC[:, :, g, g * share : (g + 1) * share] for g in range(self.heads)]
        delta = self.out(F.relu(self.mix(torch.cat(kept, dim=-1))))
        row, column = delta.chunk(2, dim=-1)
        return x_BHHC + (row[:, :, None] + column[:, None, :]) * mask
