"""The MRL head: mean ribosome load of a 5' UTR, by an ensemble of small convolutional networks.

UTRs are aligned at their 3' end, where the start codon follows, so that a position tells its distance and its reading
frame. Shape suffixes: B batch, L positions, D embedding width, K reduced channels, C channels, M members, A assays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.function.head_start import HeadLayout, channel_groups
from rnafm_cli.function.inputs import Reduction
from rnafm_cli.weights.files import known_values

Architecture = Literal["frames", "cnn", "residual"]
ARCHITECTURES: tuple[Architecture, ...] = ("frames", "cnn", "residual")
LETTER_CHANNELS = 5
NEAR_START = 15
"""Bases next to the start codon that the network sees one by one."""
_HIDDEN = 64


@dataclass(frozen=True, kw_only=True)
class LoadConfig:
    """Everything that fixes the head's tensors and its arithmetic."""

    assays: tuple[str, ...]
    """Names of the outputs."""
    means: tuple[float, ...]
    """Of each assay's training labels; with ``deviations`` they turn outputs into ribosome loads."""
    deviations: tuple[float, ...]
    embedding: int = 0
    """Width of the encoder's representations; 0 for a head without them."""
    letters: bool = True
    """Whether the letters are shown; a head on embeddings alone is for comparison."""
    reduced: int = 32
    architecture: Architecture = "frames"
    """frames: convolutions along codons, pooled by reading frame; cnn: three convolutions and a dense layer (Sample et
    al. 2019); residual: six residual blocks and a mean, as in RNA-FM's tutorial."""
    length: int = 100
    """Bases at the 3' end that count."""
    channels: int = 64
    dropout: float = 0.2
    members: int = 3

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LoadConfig:
        """From a model card's plain values; other keys are left alone."""
        return cls(**known_values(cls, values))


@dataclass
class UtrInputs:
    """A batch of UTRs whose last bases lie in the last column.

    Args:
        letters_BL: 1 to 4 for A, C, G, U; 5 for another letter; 0 before the sequence begins.
        reduced_BLK: reduced embeddings, zero before the sequence begins, or None.
    """

    letters_BL: Tensor
    reduced_BLK: Tensor | None = None


class LoadHead(nn.Module):
    """Standardised ribosome load and the logarithm of its variance, by each member for each assay."""

    def __init__(self, config: LoadConfig) -> None:
        super().__init__()
        self.config = config
        self.reduction = Reduction(config.embedding, config.reduced) if config.embedding else None
        inputs = LETTER_CHANNELS + (config.reduced if config.embedding else 0)
        make = {"frames": _Frames, "cnn": _ThreeConvolutions, "residual": _Residual}[config.architecture]
        self.members = nn.ModuleList(make(inputs, config) for _ in range(config.members))

    @property
    def layout(self) -> HeadLayout:
        """Where inputs and outputs lie in its tensors."""
        first = "convs.0" if self.config.architecture == "cnn" else "first"
        members = range(len(self.members))
        return HeadLayout(
            channels=channel_groups(
                {"letters": LETTER_CHANNELS, "embedding": self.config.reduced if self.config.embedding else 0}
            ),
            inputs=tuple(f"members.{k}.{first}.weight" for k in members),
            outputs=tuple(f"members.{k}.out.{part}" for k in members for part in ("weight", "bias")),
            names=self.config.assays,
            rows=2,
        )

    def forward(self, inputs: UtrInputs) -> tuple[Tensor, Tensor]:
        """(M, B, A) means and (M, B, A) log variances, both of standardised labels."""
        x_BKL = self._channels(inputs)
        out_MBA2 = torch.stack([member(x_BKL) for member in self.members]).float()
        out_MBA2 = out_MBA2.unflatten(-1, (len(self.config.assays), 2))
        return out_MBA2[..., 0], out_MBA2[..., 1].clamp(-6.0, 3.0)

    def _channels(self, inputs: UtrInputs) -> Tensor:
        letters_BL = inputs.letters_BL
        parts = [F.one_hot(letters_BL, 6)[..., 1:5].float(), (letters_BL > 0)[..., None].float()]
        if not self.config.letters:
            parts[0] = torch.zeros_like(parts[0])
        if self.config.embedding:
            if inputs.reduced_BLK is None:
                raise ValueError("this head needs embeddings")
            parts.append(inputs.reduced_BLK.float())
        return torch.cat(parts, dim=-1).transpose(1, 2)


class _Frames(nn.Module):
    """Convolutions whose dilations are multiples of a codon, then pools over each of the three reading frames."""

    def __init__(self, inputs: int, config: LoadConfig) -> None:
        super().__init__()
        width = config.channels
        self.first = nn.Conv1d(inputs, width, 7, padding=3)
        self.blocks = nn.ModuleList(_Block(width, 3, dilation) for dilation in (1, 3, 6, 12))
        self.norm = nn.BatchNorm1d(width)
        # Base by base, embeddings are more numbers than UTRs to fit them on.
        self.near_channels = LETTER_CHANNELS if config.letters else inputs
        self.near = nn.Linear(NEAR_START * self.near_channels, _HIDDEN)
        self.hidden = nn.Linear(6 * width + _HIDDEN, _HIDDEN)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(_HIDDEN, 2 * len(config.assays))
        if config.letters:
            with torch.no_grad():
                # What is learned starts from the letters; the other channels join in.
                self.first.weight[:, LETTER_CHANNELS:] *= 0.1

    def forward(self, x_BKL: Tensor) -> Tensor:
        """(B, 2 A)."""
        # Whole codons, counted from the start codon: the frame of a position is its place in the last axis below.
        x_BKL = F.pad(x_BKL, (-x_BKL.shape[-1] % 3, 0))
        if x_BKL.shape[-1] < NEAR_START:
            x_BKL = F.pad(x_BKL, (NEAR_START - x_BKL.shape[-1], 0))
        inside_B1L = x_BKL[:, LETTER_CHANNELS - 1 : LETTER_CHANNELS]
        h_BCL = self.first(x_BKL)
        inside_B1L = inside_B1L.to(h_BCL.dtype)
        h_BCL = h_BCL * inside_B1L
        for block in self.blocks:
            h_BCL = block(h_BCL, inside_B1L)
        h_BCL = F.relu(self.norm(h_BCL)) * inside_B1L
        by_frame_BCN3 = h_BCL.unflatten(-1, (-1, 3)).float()
        highest = by_frame_BCN3.amax(2).flatten(1)
        # A sum: two upstream starts are worse than one.
        total = by_frame_BCN3.sum(2).flatten(1) / 10.0
        near = F.relu(self.near(x_BKL[:, : self.near_channels, -NEAR_START:].flatten(1)))
        pooled = self.dropout(torch.cat([highest, total, near.float()], dim=1))
        return self.out(self.dropout(F.relu(self.hidden(pooled))))


class _Block(nn.Module):
    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.norm1 = nn.BatchNorm1d(width)
        self.conv1 = nn.Conv1d(width, width, kernel, padding=padding, dilation=dilation, bias=False)
        self.norm2 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, kernel, padding=padding, dilation=dilation, bias=False)

    def forward(self, x_BCL: Tensor, inside_B1L: Tensor) -> Tensor:
        # Norms shift zeros: without the mask a UTR would see how far its batch is padded.
        h_BCL = self.conv1(F.relu(self.norm1(x_BCL)) * inside_B1L)
        return x_BCL + self.conv2(F.relu(self.norm2(h_BCL)) * inside_B1L) * inside_B1L


class _ThreeConvolutions(nn.Module):
    """Three convolutions of 8 bases, flattened, and a dense layer of 40."""

    def __init__(self, inputs: int, config: LoadConfig) -> None:
        super().__init__()
        self.length = config.length
        sizes = [inputs, config.channels, config.channels, config.channels]
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 8) for a, b in zip(sizes, sizes[1:], strict=False))
        self.hidden = nn.Linear(config.length * config.channels, 40)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(40, 2 * len(config.assays))

    def forward(self, x_BKL: Tensor) -> Tensor:
        """(B, 2 A)."""
        x_BKL = F.pad(x_BKL, (self.length - x_BKL.shape[-1], 0))
        for number, conv in enumerate(self.convs):
            x_BKL = F.relu(conv(F.pad(x_BKL, (3, 4))))
            if number:
                x_BKL = self.dropout(x_BKL)
        return self.out(self.dropout(F.relu(self.hidden(x_BKL.flatten(1)))))


class _Residual(nn.Module):
    """A convolution, six residual blocks of which every other halves the length, and the mean."""

    def __init__(self, inputs: int, config: LoadConfig) -> None:
        super().__init__()
        self.length = config.length
        width = config.channels
        self.first = nn.Conv1d(inputs, width, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList(_StridedBlock(width, 2 - number % 2) for number in range(6))
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(width, 2 * len(config.assays))

    def forward(self, x_BKL: Tensor) -> Tensor:
        """(B, 2 A)."""
        x_BCL = self.first(F.pad(x_BKL, (self.length - x_BKL.shape[-1], 0)))
        for block in self.blocks:
            x_BCL = block(x_BCL)
        return self.out(self.dropout(x_BCL.mean(-1)))


class _StridedBlock(nn.Module):
    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm1d(width)
        self.conv1 = nn.Conv1d(width, width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, 3, padding=1, bias=False)
        self.skip: nn.Module = nn.Identity()
        if stride > 1:
            self.skip = nn.Sequential(nn.Conv1d(width, width, 1, stride=stride, bias=False), nn.BatchNorm1d(width))

    def forward(self, x_BCL: Tensor) -> Tensor:
        h_BCL = self.conv1(F.relu(self.norm1(x_BCL)))
        return self.skip(x_BCL) + self.conv2(F.relu(self.norm2(h_BCL)))
