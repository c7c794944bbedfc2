"""RNA-FM's own structure head: a residual network over the map of all base pairs.

The network is evaluated in strips of rows that flow through all layers, each layer holding back the few
rows it still needs. Memory grows with the length, not with its square, and of the half below the
diagonal only what a pair above it can see is computed.

Shape suffixes: L nucleotides, D encoder width, E reduced width, C channels, R rows and W columns of a strip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RELEASED_THRESHOLDS = {"rna-fm-ss-pdb": 0.33993712, "rna-fm-ss-bprna": 0.47729617}
"""Probability above which upstream's configurations call a pair, by the model they belong to."""

STRIP_PIXELS = 8192
"""Pixels of a strip on a CPU: few enough to stay in its cache, enough to keep two cores busy."""
COLUMN_STEP = 16
"""Strips begin at multiples of this column, so that convolutions come in few shapes and their set-up is reused."""


@dataclass(frozen=True, kw_only=True)
class PairResNetConfig:
    """Shape of the head; the defaults are those of the released files."""

    width: int = 640
    reduced: int = 128
    channels: int = 64
    blocks: int = 32

    def dilation(self, block: int) -> int:
        """Dilation of a block's second convolution: 1, 2, 4, 1, 2, 4, ..."""
        return 1 << block % 3

    def reaches(self) -> list[int]:
        """How far below the diagonal a pixel can still change a logit on or above it.

        Returns:
            one number per convolution, the first (1x1) and the last included: output column j of row i matters
            only if j >= i - reach, since all that follows moves it along both axes.
        """
        dilations = [d for k in range(self.blocks) for d in (1, self.dilation(k))] + [1]
        return [2 * sum(dilations[n:]) for n in range(len(dilations) + 1)]


class PairResNet(nn.Module):
    """Base-pair logits from encoder representations (Chen et al. 2022; the released ResNet32 files).

    One sequence at a time: in a padded batch the biases would leak from the padding into the map.

    Probabilities are the sigmoid of the logits. The released configurations call pairs with a probability
    strictly above :data:`RELEASED_THRESHOLDS`, best first, whatever their two letters, where |i - j| > 1 and
    neither base is taken yet.
    """

    def __init__(self, config: PairResNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PairResNetConfig()
        self.reduce = nn.Linear(config.width, config.reduced)
        self.first = nn.Conv2d(2 * config.reduced, config.channels, kernel_size=1)
        self.blocks = nn.ModuleList(PairBlock(config.channels, config.dilation(k)) for k in range(config.blocks))
        self.last = nn.Conv2d(config.channels, 1, kernel_size=3)

    @torch.no_grad()
    def forward(
        self, features_LD: Tensor, *, dtype: torch.dtype | None = None, strip_rows: int | None = None
    ) -> Tensor:
        """Logits of one RNA, for inference only (batch statistics are never updated).

        Args:
            features_LD: last-layer representations without the rows of <cls> and <eos>, L >= 1.
            dtype: type of the pair map and the convolutions; the weights' own if None.
            strip_rows: rows computed at a time; chosen by length and device if None. Any value gives the
                same logits, up to rounding.

        Returns:
            (L, L) float32, symmetric: entry (i, j) and (j, i) are the logit of 5' base i with 3' base j, i <= j.
        """
        length = features_LD.shape[0]
        dtype = dtype or self.first.weight.dtype
        if strip_rows is None:
            on_cpu = features_LD.device.type == "cpu"
            strip_rows = max(16, -(-STRIP_PIXELS // length)) if on_cpu else 256
        reaches = self.config.reaches()
        stages: list[_BlockStage | _Convolution] = [
            _BlockStage(cast(PairBlock, block), dtype, reach_between=reaches[2 * k + 1], reach=reaches[2 * k + 2])
            for k, block in enumerate(self.blocks)
        ]
        stages.append(_Convolution(self.last, dtype, reach=0))
        logits_LL = torch.zeros(length, length, device=features_LD.device)
        for strip in self._first_strips(features_LD, dtype, strip_rows, reaches[0]):
            result: _Strip | None = strip
            for stage in stages:
                if result is not None:
                    result = stage.push(result)
            if result is not None:
                logits_LL[result.top : result.bottom, result.left :] = result.image[0, 0]
        return logits_LL.triu_() + logits_LL.triu(1).T

    def _first_strips(self, features_LD: Tensor, dtype: torch.dtype, strip_rows: int, reach: int) -> Iterator[_Strip]:
        # A 1x1 convolution of the concatenation (row i, column j) is a sum of two linear maps of one base each.
        reduced_LE = self.reduce(features_LD.to(self.reduce.weight.dtype))
        row_weight_CE, column_weight_CE = self.first.weight[:, :, 0, 0].chunk(2, dim=1)
        row_LC = F.linear(reduced_LE, row_weight_CE, self.first.bias).float()
        column_LC = F.linear(reduced_LE, column_weight_CE).float()
        length = len(features_LD)
        for top in range(0, length, strip_rows):
            left = _left(top - reach)
            x_RWC = (row_LC[top : top + strip_rows, None] + column_LC[None, left:]).to(dtype)
            yield _Strip(top, left, x_RWC.permute(2, 0, 1)[None], last=top + strip_rows >= length)


class PairBlock(nn.Module):
    """x + conv2(relu(conv1(relu(norm(x))))); conv2 is dilated. Holds the weights; a stage runs them."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, dilation=dilation, bias=False)


@dataclass(frozen=True)
class _Strip:
    """Rows ``top`` to ``bottom`` of the map from column ``left`` to its right edge."""

    top: int
    left: int
    image: Tensor
    """(1, C, R, W), channels last in memory."""
    last: bool
    """Whether the map ends with this strip."""

    @property
    def bottom(self) -> int:
        return self.top + self.image.shape[2]


class _Convolution:
    """A 3x3 convolution over a stream of strips; rows and columns beyond the map are zero.

    Args:
        reach: output column j of row i is needed where j >= i - reach.
        rectify: whether the input goes through a ReLU first.
    """

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype, *, reach: int, rectify: bool = False) -> None:
        self.weight = layer.weight.to(dtype, memory_format=torch.channels_last)
        self.bias = None if layer.bias is None else layer.bias.to(dtype)
        self.dilation, self.reach, self.rectify = layer.dilation[0], reach, rectify
        self.kept: _Strip | None = None

    def push(self, strip: _Strip) -> _Strip | None:
        """The output rows whose input is complete."""
        halo, above, image = self.dilation, self.kept, strip.image
        if above is None:
            above = _Strip(-halo, strip.left, _blank(image, halo), last=False)
        left = max(strip.left, _left(above.top - self.reach))
        joined = torch.cat([above.image[..., left - above.left :], image[..., left - strip.left :]], dim=2)
        if self.rectify:
            joined.relu_()
        if strip.last:
            joined = torch.cat([joined, _blank(joined, halo)], dim=2)
        else:
            # A copy: a view would hold the memory of the whole strip in every layer.
            kept = joined[:, :, -2 * halo :].clone()
            self.kept = _Strip(strip.bottom - kept.shape[2], left, kept, last=False)
        if joined.shape[2] <= 2 * halo:
            return None
        output = F.conv2d(joined, self.weight, self.bias, padding=(0, halo), dilation=halo)
        return _Strip(above.top + halo, left, output, strip.last)


class _BlockStage:
    """One residual block over a stream of strips."""

    def __init__(self, block: PairBlock, dtype: torch.dtype, *, reach_between: int, reach: int) -> None:
        # Statistics stay in float32 whatever the type of the map: rounding them would shift every pixel alike.
        names = ("running_mean", "running_var", "weight", "bias")
        self.norm: dict[str, Any] = {name: getattr(block.norm, name).float() for name in names} | {
            "eps": block.norm.eps
        }
        self.conv1 = _Convolution(block.conv1, dtype, reach=reach_between, rectify=True)
        self.conv2 = _Convolution(block.conv2, dtype, reach=reach, rectify=True)
        self.waiting: list[_Strip] = []
        """Input whose sum with the block's output is still to come."""

    def push(self, strip: _Strip) -> _Strip | None:
        """The output rows whose input is complete."""
        normed = F.batch_norm(strip.image, **self.norm)
        hidden = self.conv1.push(_Strip(strip.top, strip.left, normed, strip.last))
        output = None if hidden is None else self.conv2.push(hidden)
        self.waiting.append(strip)
        if output is None:
            return None
        done, self.waiting = self.waiting, []
        for old in done:
            rows = max(0, min(old.bottom, output.bottom) - old.top)
            place = old.top - output.top
            output.image[:, :, place : place + rows] += old.image[:, :, :rows, output.left - old.left :]
            if old.bottom > output.bottom:
                self.waiting.append(_Strip(old.top + rows, old.left, old.image[:, :, rows:].clone(), old.last))
        return output


def _blank(image: Tensor, rows: int) -> Tensor:
    """Rows of zeros, as wide as an image."""
    return image.new_zeros(1, rows, image.shape[3], image.shape[1]).permute(0, 3, 1, 2)


def _left(column: int) -> int:
    return max(0, column) // COLUMN_STEP * COLUMN_STEP
