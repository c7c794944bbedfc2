"""The two networks: which proteins bind a window of RNA, and the mean ribosome load of a 5' UTR.

Both are convolutional and read letters, embeddings reduced to a few channels and, of windows, structure. Shape
suffixes: B batch, L positions of a row, H = about L / 2 pooled positions, D embedding width, K reduced channels, C
channels, P proteins, M members, A assays, N nucleotides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.rna.alphabet import letter_codes

Alignment = Literal["middle", "end"]
Values = Sequence[np.ndarray | Tensor | None]
"""Of the nucleotides of each sequence; None where there are none."""
UNKNOWN = 5
"""Code of a letter other than A, C, G, U; 0 is for positions outside the sequence."""
LETTER_CHANNELS = 5
"""One-hot A, C, G, U, and whether there is a base at all."""
STRUCTURE_CHANNELS = 2
"""How likely a base is unpaired, and whether that is known."""
EMBEDDING = "embedding"
CLIP = 4.0
"""Reduced channels end at this many standard deviations, so that they can be kept as bytes."""
_FLOOR = 1e-6


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


def aligned_rows(rows: Values, width: int, alignment: Alignment, *, channels: int, fill: float = 0.0) -> Tensor:
    """(B, L, K) float32 of per-nucleotide values, ``fill`` outside and where there are none."""
    values_BLK = torch.full((len(rows), width, channels), fill)
    for number, values in enumerate(rows):
        if values is not None:
            start = offset_of(len(values), width, alignment)
            values_BLK[number, start : start + len(values)] = torch.as_tensor(values).reshape(len(values), channels)
    return values_BLK


@dataclass
class HeadInputs:
    """A batch of aligned sequences.

    Args:
        letters_BL: as :func:`aligned_letters` gives them.
        reduced_BLK: reduced embeddings, zero outside the sequence, or None.
        has_embedding_B: rows whose embeddings may be used; all if None.
        unpaired_BL: probability (or score) of being unpaired, NaN where unknown, or None.
    """

    letters_BL: Tensor
    reduced_BLK: Tensor | None = None
    has_embedding_B: Tensor | None = None
    unpaired_BL: Tensor | None = None


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
        chosen = axes[:, ::-1][:, : len(self.weight)].T
        # The sign of an axis is free: make its largest entry positive, so that runs agree.
        largest = np.abs(chosen).argmax(axis=1)
        chosen = chosen * np.sign(chosen[np.arange(len(chosen)), largest])[:, None]
        mean = rows.mean(axis=0)
        spread = ((rows - mean) @ chosen.T).std(axis=0)
        self.mean.copy_(torch.from_numpy(mean.astype(np.float32)))
        weight = torch.zeros_like(self.weight)
        weight[: len(chosen)] = torch.from_numpy((chosen / np.maximum(spread, _FLOOR)[:, None]).astype(np.float32))
        self.weight.copy_(weight)


class FunctionHead(nn.Module):
    """What both heads share: how their inputs are laid out, and how their tensors are, for a start from another head.

    Args:
        config: of the head.
        outputs: their names.
        channels: of each group of inputs, in order; groups of none are left out.
        width: of the rows it reads; None for as wide as the longest.
    """

    kind: Literal["rbp", "mrl"]
    alignment: Alignment
    output_layers: tuple[str, ...]
    """Layers (or parameters) whose first axis is the outputs, ``rows_per_output`` of each."""
    rows_per_output = 1

    def __init__(
        self, config: Any, outputs: Sequence[str], channels: dict[str, int], *, width: int | None = None
    ) -> None:
        super().__init__()
        self.config, self.outputs, self._width = config, tuple(outputs), width
        ends = list(accumulate(channels.values(), initial=0))
        self.channels = {name: slice(*ends[k : k + 2]) for k, name in enumerate(channels) if channels[name]}
        """Group of inputs -> its columns in the second axis of the layers called ``first``."""
        self.channel_count = ends[-1]
        self.reduction = Reduction(config.embedding, config.reduced) if config.embedding else None

    def inputs(
        self, sequences: Sequence[str], reduced: Values | None = None, unpaired: Values | None = None
    ) -> HeadInputs:
        """Sequences as the head reads them, on its device.

        Args:
            reduced: (L, K) reduced embeddings of each.
            unpaired: (L,) how likely its nucleotides are unpaired, NaN where unknown.
        """
        device, width = next(self.parameters()).device, self._width or max(map(len, sequences))
        found = HeadInputs(aligned_letters(sequences, width, self.alignment).to(device))
        if reduced is not None and self.config.embedding:
            found.reduced_BLK = aligned_rows(reduced, width, self.alignment, channels=self.config.reduced).to(device)
            found.has_embedding_B = torch.tensor([rows is not None for rows in reduced], device=device)
        if unpaired is not None:
            unpaired_BL1 = aligned_rows(unpaired, width, self.alignment, channels=1, fill=float("nan"))
            found.unpaired_BL = unpaired_BL1[..., 0].to(device)
        return found


class _Block(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), zero outside the sequences."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.norm1 = nn.BatchNorm1d(width)
        self.conv1 = nn.Conv1d(width, width, kernel, padding=padding, dilation=dilation, bias=False)
        self.norm2 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, kernel, padding=padding, dilation=dilation, bias=False)

    def forward(self, x_BCL: Tensor, inside_B1L: Tensor) -> Tensor:
        # Norms shift zeros: without the mask a sequence would see how far its batch is padded.
        h_BCL = self.conv1(F.relu(self.norm1(x_BCL)) * inside_B1L)
        return x_BCL + self.conv2(F.relu(self.norm2(h_BCL)) * inside_B1L) * inside_B1L


@dataclass(frozen=True, kw_only=True)
class BindingConfig:
    """Everything that fixes the tensors and the arithmetic of an RBP head."""

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


class BindingHead(FunctionHead):
    """Logits of every protein for each window, after PrismNet (Sun et al. 2021).

    All proteins share one trunk, and each has its own attention over the window. A shorter sequence lies in the middle.
    """

    kind, alignment = "rbp", "middle"
    output_layers = ("place", "attention", "value", "composition")

    def __init__(self, config: BindingConfig) -> None:
        embedding = config.reduced + 1 if config.embedding else 0
        structure = STRUCTURE_CHANNELS if config.structure else 0
        channels = {"letters": LETTER_CHANNELS, EMBEDDING: embedding, "structure": structure}
        super().__init__(config, config.proteins, channels, width=config.window)
        width, proteins = config.channels, len(config.proteins)
        self.first = nn.Conv1d(self.channel_count, width, config.kernel, padding=config.kernel // 2, bias=False)
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

    def forward(self, inputs: HeadInputs) -> Tensor:
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

    def _channels(self, inputs: HeadInputs, inside_B1L: Tensor) -> Tensor:
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


NEAR_START = 15
"""Bases next to the start codon that the MRL network sees one by one."""
_HIDDEN = 64


@dataclass(frozen=True, kw_only=True)
class MrlConfig:
    """Everything that fixes the tensors and the arithmetic of an MRL head."""

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
    length: int = 100
    """Bases at the 3' end that count."""
    channels: int = 64
    dropout: float = 0.2
    members: int = 3


class MrlHead(FunctionHead):
    """Standardised ribosome load and the logarithm of its variance, by each member of an ensemble for each assay.

    UTRs are aligned at their 3' end, where the start codon follows, so that a position tells its distance and its
    reading frame.
    """

    kind, alignment = "mrl", "end"
    output_layers = ("out",)
    rows_per_output = 2

    def __init__(self, config: MrlConfig) -> None:
        channels = {"letters": LETTER_CHANNELS, EMBEDDING: config.reduced if config.embedding else 0}
        super().__init__(config, config.assays, channels)
        self.members = nn.ModuleList(_Frames(self.channel_count, config) for _ in range(config.members))

    def forward(self, inputs: HeadInputs) -> tuple[Tensor, Tensor]:
        """(M, B, A) means and (M, B, A) log variances, both of standardised labels."""
        letters_BL = inputs.letters_BL
        parts = [F.one_hot(letters_BL, 6)[..., 1:5].float(), (letters_BL > 0)[..., None].float()]
        if not self.config.letters:
            parts[0] = torch.zeros_like(parts[0])
        if self.config.embedding:
            if inputs.reduced_BLK is None:
                raise ValueError("this head needs embeddings")
            parts.append(inputs.reduced_BLK.float())
        x_BKL = torch.cat(parts, dim=-1).transpose(1, 2)
        out_MBA2 = torch.stack([member(x_BKL) for member in self.members]).float()
        out_MBA2 = out_MBA2.unflatten(-1, (len(self.config.assays), 2))
        return out_MBA2[..., 0], out_MBA2[..., 1].clamp(-6.0, 3.0)


class _Frames(nn.Module):
    """Convolutions whose dilations are multiples of a codon, then pools over each of the three reading frames."""

    def __init__(self, inputs: int, config: MrlConfig) -> None:
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


def mixture(found: tuple[Tensor, Tensor], assay: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(M, B) means of the members for an assay, and (B,) the standard deviation of their mixture.

    Args:
        found: what :class:`MrlHead` gives.
    """
    mean_MB, log_variance_MB = (part_MBA[..., assay].cpu().numpy().astype(np.float64) for part_MBA in found)
    return mean_MB, np.sqrt(np.exp(log_variance_MB).mean(0) + mean_MB.var(0))
