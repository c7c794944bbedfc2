"""The RBP head: which proteins bind a window of RNA, all of them at once.

A convolutional network over letters, reduced embeddings and structure, after PrismNet (Sun et al. 2021), with one
trunk for all proteins. Each protein has its own attention over the window. Shape suffixes: B batch, L positions of the
window, H = about L / 2 pooled positions, D embedding width, K reduced channels, C channels, P proteins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.function.head_start import HeadLayout, channel_groups
from rnafm_cli.function.inputs import Reduction
from rnafm_cli.weights.files import known_values

LETTER_CHANNELS = 5
"""One-hot A, C, G, U, and whether there is a base at all."""
STRUCTURE_CHANNELS = 2
"""How likely a base is unpaired, and whether that is known."""


@dataclass(frozen=True, kw_only=True)
class BindingConfig:
    """Everything that fixes the head's tensors and its arithmetic."""

    proteins: tuple[str, ...]
    """Names of the outputs."""
    embedding: int = 0
    """Width of the encoder's representations; 0 for a head without them."""
    reduced: int = 24
    """Channels to which representations are reduced."""
    structure: bool = False
    """Whether it can be shown how likely bases are unpaired."""
    window: int = 101
    channels: int = 96
    kernel: int = 9
    block_kernel: int = 5
    dilations: tuple[int, ...] = (1, 2)
    """One residual block each, after pooling by two."""
    dropout: float = 0.25

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BindingConfig:
        """From a model card's plain values; other keys are left alone."""
        return cls(**known_values(cls, values))


@dataclass
class WindowInputs:
    """A batch of windows, shorter sequences in the middle of theirs.

    Args:
        letters_BL: 1 to 4 for A, C, G, U; 5 for another letter; 0 outside the sequence.
        reduced_BLK: reduced embeddings, zero outside the sequence, or None.
        has_embedding_B: windows whose embeddings may be used; all if None.
        unpaired_BL: probability (or score) of being unpaired, NaN where unknown, or None.
    """

    letters_BL: Tensor
    reduced_BLK: Tensor | None = None
    has_embedding_B: Tensor | None = None
    unpaired_BL: Tensor | None = None


class BindingHead(nn.Module):
    """Logits of every protein for each window."""

    def __init__(self, config: BindingConfig) -> None:
        super().__init__()
        self.config = config
        self.reduction = Reduction(config.embedding, config.reduced) if config.embedding else None
        known = LETTER_CHANNELS + (config.reduced + 1 if config.embedding else 0)
        known += STRUCTURE_CHANNELS if config.structure else 0
        width, proteins = config.channels, len(config.proteins)
        self.first = nn.Conv1d(known, width, config.kernel, padding=config.kernel // 2, bias=False)
        self.first_norm = nn.BatchNorm1d(width)
        self.blocks = nn.ModuleList(_Block(width, config.block_kernel, dilation) for dilation in config.dilations)
        self.last_norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(config.dropout)
        self.attention = nn.Conv1d(width, proteins, 1)
        self.value = nn.Conv1d(width, proteins, 1)
        self.place = nn.Parameter(torch.zeros(proteins, -(-config.window // 2)))
        self.composition = nn.Linear(2 * width, proteins)
        nn.init.normal_(self.attention.weight, std=0.02)
        with torch.no_grad():
            # What is learned starts from the letters; the other channels join in.
            self.first.weight[:, LETTER_CHANNELS:] *= 0.3

    @property
    def layout(self) -> HeadLayout:
        """Where inputs and outputs lie in its tensors."""
        embedding = self.config.reduced + 1 if self.config.embedding else 0
        sizes = {"letters": LETTER_CHANNELS, "embedding": embedding, "structure": STRUCTURE_CHANNELS}
        sizes["structure"] *= self.config.structure
        layers = ("attention", "value", "composition")
        return HeadLayout(
            channels=channel_groups(sizes),
            inputs=("first.weight",),
            outputs=("place", *(f"{layer}.{part}" for layer in layers for part in ("weight", "bias"))),
            names=self.config.proteins,
        )

    def forward(self, inputs: WindowInputs) -> Tensor:
        """(B, P) logits."""
        inside_B1L = (inputs.letters_BL > 0)[:, None].float()
        x_BCL = F.relu(self.first_norm(self.first(self._channels(inputs, inside_B1L))))
        real_B1H = F.max_pool1d(inside_B1L, 2, ceil_mode=True).to(x_BCL.dtype)
        x_BCH = F.max_pool1d(x_BCL, 2, ceil_mode=True) * real_B1H
        for block in self.blocks:
            x_BCH = block(x_BCH, real_B1H)
        x_BCH = self.dropout(F.relu(self.last_norm(x_BCH)))
        score_BPH = (self.attention(x_BCH) + self.place).float().masked_fill(real_B1H == 0, -1e4)
        weight_BPH = score_BPH.softmax(dim=-1)
        logits_BP = (weight_BPH * self.value(x_BCH).float()).sum(-1)
        x_BCH, real_B1H = (x_BCH * real_B1H).float(), real_B1H.float()
        pooled_BC2 = torch.cat([x_BCH.sum(-1) / real_B1H.sum(-1).clamp(min=1), x_BCH.amax(-1)], dim=-1)
        return logits_BP + self.composition(pooled_BC2).float()

    def _channels(self, inputs: WindowInputs, inside_B1L: Tensor) -> Tensor:
        letters_BL = inputs.letters_BL
        batch, length = letters_BL.shape
        parts = [F.one_hot(letters_BL, 6)[..., 1:5].transpose(1, 2).float(), inside_B1L]
        if self.config.embedding:
            shown_B = inputs.has_embedding_B
            if inputs.reduced_BLK is None:
                parts.append(inside_B1L.new_zeros(batch, self.config.reduced + 1, length))
            else:
                flag_B1L = inside_B1L if shown_B is None else inside_B1L * shown_B[:, None, None].float()
                parts += [inputs.reduced_BLK.float().transpose(1, 2) * flag_B1L, flag_B1L]
        if self.config.structure:
            if inputs.unpaired_BL is None:
                parts.append(inside_B1L.new_zeros(batch, STRUCTURE_CHANNELS, length))
            else:
                known_BL = inputs.unpaired_BL.isfinite()
                value_BL = torch.where(known_BL, inputs.unpaired_BL - 0.5, 0.0)
                parts.append(torch.stack([value_BL, known_BL.float()], dim=1) * inside_B1L)
        return torch.cat(parts, dim=1)


class _Block(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x))))))."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.norm1 = nn.BatchNorm1d(width)
        self.conv1 = nn.Conv1d(width, width, kernel, padding=padding, dilation=dilation, bias=False)
        self.norm2 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, kernel, padding=padding, dilation=dilation, bias=False)

    def forward(self, x_BCH: Tensor, real_B1H: Tensor) -> Tensor:
        h_BCH = self.conv1(F.relu(self.norm1(x_BCH)) * real_B1H)
        return x_BCH + self.conv2(F.relu(self.norm2(h_BCH)) * real_B1H) * real_B1H


def protein_of(name: str) -> str:
    """The bare protein of a set's name: ``TIA1`` of ``RBP31_TIA1_Hela_ICLIP``; the name itself if it has no parts."""
    parts = name.split("_")
    return parts[1] if len(parts) > 1 else name


def matching(names: Sequence[str], wanted: str) -> list[str]:
    """The outputs that a name stands for: the one of that name, else all of that bare protein; case is no matter."""
    exact = [name for name in names if name.lower() == wanted.lower()]
    return exact or [name for name in names if protein_of(name).lower() == wanted.lower()]
