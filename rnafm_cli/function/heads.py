"""The networks behind ``rbp`` and ``mrl``, read from their files, with their encoder for prediction, or as a start.

Both are convolutional and read letters, embeddings reduced to a few channels and, of windows, structure. Shape
suffixes: B batch, L positions of a row, H = about L / 2 pooled positions, D embedding width, K channels of the input, C
channels, P proteins, M members, A assays, N nucleotides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.embed import encode
from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.errors import WeightsError
from rnafm_cli.rna.alphabet import letter_codes
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import known_values, load_tensors

Values = Sequence[np.ndarray | Tensor | None]
"""Of the nucleotides of each sequence; None where there are none."""
CLIP = 4.0
"""Reduced channels end at this many standard deviations, so that they can be kept as bytes."""
_LETTERS = 5
"""Channels: one-hot A, C, G, U, and whether there is a base at all."""
_STRUCTURE = 2
"""Channels: how likely a base is unpaired, and whether that is known."""
_EMBEDDING = "embedding"
_CODES_4 = np.arange(1, 5)[:, None]


class Reduction(nn.Module):
    """A linear map of embeddings to a few channels of about unit variance.

    Its directions are the principal axes of the embeddings' scatter within groups of nucleotides that have the same
    letter and the same two neighbours. What the letters say is told to a head directly; these axes hold the rest.
    """

    mean: Tensor

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.weight = nn.Parameter(torch.zeros(channels, width))

    def forward(self, rows_ND: Tensor) -> Tensor:
        """The channels of (..., D), clipped at ``CLIP``."""
        weight = self.weight.to(rows_ND.dtype)
        return ((rows_ND - self.mean.to(rows_ND.dtype)) @ weight.T).clamp(-CLIP, CLIP)

    @torch.no_grad()
    def fit(self, rows_ND: NDArray[np.float32], codes_N: NDArray[np.integer]) -> None:
        """Find the axes from a sample of embeddings.

        Args:
            codes_N: number of the group of each row: its letter and its neighbours'.
        """
        rows = rows_ND.astype(np.float64)
        counts = np.bincount(codes_N)
        sums = np.zeros((len(counts), rows.shape[1]))
        np.add.at(sums, codes_N, rows)
        inner = rows - (sums / np.maximum(counts, 1)[:, None])[codes_N]
        _, axes = np.linalg.eigh(inner.T @ inner / len(rows))
        chosen = axes[:, ::-1][:, : len(self.weight)].T
        # The sign of an axis is free: make its largest entry positive, so that runs agree.
        largest = np.abs(chosen).argmax(axis=1)
        chosen = chosen * np.sign(chosen[np.arange(len(chosen)), largest])[:, None]
        mean = rows.mean(axis=0)
        spread = np.maximum(((rows - mean) @ chosen.T).std(axis=0), 1e-6)
        self.mean.copy_(torch.from_numpy(mean.astype(np.float32)))
        self.weight.zero_()
        self.weight[: len(chosen)] = torch.from_numpy((chosen / spread[:, None]).astype(np.float32))


class FunctionHead(nn.Module):
    """What both heads share: how their inputs are laid out, and how their tensors are, for a start from another head.

    Args:
        outputs: their names.
        channels: of each group of inputs, in order; groups of none are left out.
        width: of the rows it reads; None for as wide as the longest sequence.
    """

    kind: Literal["rbp", "mrl"]
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

    def inputs(self, sequences: Sequence[str], reduced: Values | None = None, unpaired: Values | None = None) -> Tensor:
        """(B, K, L) of sequences as the head reads them, on its device, zero outside them.

        A row of a fixed width has its sequence in the middle, others have theirs at the end.

        Args:
            reduced: reduced embeddings of each, (its length, channels).
            unpaired: how likely its nucleotides are unpaired, NaN where unknown.
        """
        width = self._width or max(map(len, sequences))
        starts = [(width - len(s)) // 2 if self._width else width - len(s) for s in sequences]
        places = [slice(start, start + len(s)) for s, start in zip(sequences, starts, strict=True)]
        if unpaired is None or "structure" not in self.channels:
            unpaired = [None] * len(sequences)
        rows_BKL = np.zeros((len(sequences), self.channel_count, width), dtype=np.float32)
        for row_KL, sequence, unpaired_L, place in zip(rows_BKL, sequences, unpaired, places, strict=True):
            row_KL[:4, place] = letter_codes(sequence) == _CODES_4
            row_KL[4, place] = 1.0
            if unpaired_L is not None:
                values_L = np.asarray(unpaired_L, dtype=np.float32).reshape(-1)
                known_L = np.isfinite(values_L)
                row_KL[self.channels["structure"], place] = np.where(known_L, values_L - np.float32(0.5), 0.0), known_L
        x_BKL = torch.from_numpy(rows_BKL).to(next(self.parameters()).device)
        if reduced is not None and _EMBEDDING in self.channels:
            first, end = self.channels[_EMBEDDING].start, self.channels[_EMBEDDING].stop
            for number, (values_LK, place) in enumerate(zip(reduced, places, strict=True)):
                if values_LK is not None:
                    x_BKL[number, first : first + self.config.reduced, place] = torch.as_tensor(values_LK).T
                    # A channel that is left over says that the embedding is known.
                    x_BKL[number, first + self.config.reduced : end, place] = 1.0
        return x_BKL


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

    kind = "rbp"
    output_layers = ("place", "attention", "value", "composition")

    def __init__(self, config: BindingConfig) -> None:
        embedding, structure = (config.reduced + 1) * bool(config.embedding), _STRUCTURE * config.structure
        channels = {"letters": _LETTERS, _EMBEDDING: embedding, "structure": structure}
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
            self.first.weight[:, _LETTERS:] *= 0.3

    def forward(self, x_BKL: Tensor) -> Tensor:
        """(B, P) logits of what :meth:`inputs` gives."""
        x_BCL = F.relu(self.first_norm(self.first(x_BKL)))
        real_B1H = F.max_pool1d(x_BKL[:, _LETTERS - 1 : _LETTERS], 2, ceil_mode=True).to(x_BCL.dtype)
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


_NEAR_START = 15
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

    kind = "mrl"
    output_layers = ("out",)
    rows_per_output = 2

    def __init__(self, config: MrlConfig) -> None:
        channels = {"letters": _LETTERS, _EMBEDDING: config.reduced if config.embedding else 0}
        super().__init__(config, config.assays, channels)
        self.members = nn.ModuleList(_Frames(self.channel_count, config) for _ in range(config.members))

    def forward(self, x_BKL: Tensor) -> tuple[Tensor, Tensor]:
        """(M, B, A) means and (M, B, A) log variances, both of standardised labels, of what :meth:`inputs` gives."""
        if not self.config.letters:
            x_BKL = torch.cat([torch.zeros_like(x_BKL[:, :4]), x_BKL[:, 4:]], dim=1)
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
        self.near_channels = _LETTERS if config.letters else inputs
        self.near = nn.Linear(_NEAR_START * self.near_channels, _HIDDEN)
        self.hidden = nn.Linear(6 * width + _HIDDEN, _HIDDEN)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(_HIDDEN, 2 * len(config.assays))
        if config.letters:
            with torch.no_grad():
                # What is learned starts from the letters; the other channels join in.
                self.first.weight[:, _LETTERS:] *= 0.1

    def forward(self, x_BKL: Tensor) -> Tensor:
        """(B, 2 A)."""
        # Whole codons, counted from the start codon: the frame of a position is its place in the last axis below.
        x_BKL = F.pad(x_BKL, (-x_BKL.shape[-1] % 3, 0))
        x_BKL = F.pad(x_BKL, (max(0, _NEAR_START - x_BKL.shape[-1]), 0))
        h_BCL = self.first(x_BKL)
        inside_B1L = x_BKL[:, _LETTERS - 1 : _LETTERS].to(h_BCL.dtype)
        h_BCL = h_BCL * inside_B1L
        for block in self.blocks:
            h_BCL = block(h_BCL, inside_B1L)
        h_BCL = F.relu(self.norm(h_BCL)) * inside_B1L
        by_frame_BCN3 = h_BCL.unflatten(-1, (-1, 3)).float()
        highest = by_frame_BCN3.amax(2).flatten(1)
        # A sum: two upstream starts are worse than one.
        total = by_frame_BCN3.sum(2).flatten(1) / 10.0
        near = F.relu(self.near(x_BKL[:, : self.near_channels, -_NEAR_START:].flatten(1)))
        pooled = self.dropout(torch.cat([highest, total, near.float()], dim=1))
        return self.out(self.dropout(F.relu(self.hidden(pooled))))


def mixture(found: tuple[Tensor, Tensor], assay: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(M, B) means of the members for an assay, and (B,) the standard deviation of their mixture, by an MRL head."""
    mean_MB, log_variance_MB = (part_MBA[..., assay].cpu().numpy().astype(np.float64) for part_MBA in found)
    return mean_MB, np.sqrt(np.exp(log_variance_MB).mean(0) + mean_MB.var(0))


Head = TypeVar("Head", BindingHead, MrlHead)


def built_head(kind: type[BindingHead] | type[MrlHead], tensors: dict[str, Tensor], card: Card) -> Any:
    """The network of a head's file; a WeightsError where its card describes none, or does not fit the tensors."""
    config: Any
    config, named = (BindingConfig, "proteins") if kind is BindingHead else (MrlConfig, "assays")
    if not card.config.get(named):
        raise WeightsError(f"the card of '{card.name}' names no {named}")
    head = kind(config(**known_values(config, card.config)))
    load_tensors(head, tensors, card)
    return head


class HeadPredictor(Generic[Head]):
    """A head of a model, in evaluation mode on its device, with the encoder that it reads.

    Args:
        embeddings: let the head read embeddings, if it was trained with them; else no encoder is needed.
        batch_tokens: tokens per batch of the encoder.

    Raises:
        WeightsError: when the model has no such head, or it does not fit its card or belongs to another encoder.
    """

    def __init__(self, model: NamedModel, kind: type[Head], *, embeddings: bool, batch_tokens: int) -> None:
        self.name = model.name
        tensors, self.card = model.component(kind.kind)
        reads = embeddings and bool(self.card.config.get("embedding"))
        if reads:
            model.check_nucleotides(kind.kind)
        self.head: Head = built_head(kind, tensors, self.card).to(model.runtime.device).eval()
        self.runtime, self.batch_tokens = model.runtime, batch_tokens
        self.encoder = model.encoder_for(kind.kind) if reads else None

    def reduced(self, records: Sequence[SequenceRecord]) -> list[Tensor | None]:
        """Reduced embeddings of each record, (its length, channels); None in their place if none are read."""
        if self.encoder is None or self.head.reduction is None:
            return [None] * len(records)
        with torch.inference_mode():
            found = encode(records, self.encoder, self.runtime, batch_tokens=self.batch_tokens)
            return [self.head.reduction(one.rows_LD.to(self.runtime.device)).cpu() for one in found]

    def provenance(self, **more: Any) -> dict[str, Any]:
        """What made a result, for the attributes of its file."""
        model = {"model": self.name, "weights_sha256": self.card.weights_sha256}
        return {**model, "encoder_sha256": self.card.encoder_sha256, **more}


@torch.no_grad()
def begin_from(head: FunctionHead, start: FunctionHead, *, same_embeddings: bool) -> str:
    """Take over another head's weights; the reduction of embeddings is left alone.

    Outputs are matched by name and input channels by what they show, so that a head of other proteins or assays, or one
    that reads more than the other did, goes on from what was learned before. Channels that the other lacks start at
    zero: the new head first says what the other said. Outputs that it lacks stay as they are.

    Args:
        same_embeddings: whether embedding channels mean the same to both.

    Returns:
        a line that says what was taken; a WeightsError tells that the heads differ in size.
    """
    own, given = _learned(head), _learned(start)
    for kind, names in (("lacks", own.keys() - given.keys()), ("also has", given.keys() - own.keys())):
        if names:
            raise WeightsError(f"the head to start from has another shape: it {kind} {min(names)}")
    shown = [name for name in head.channels if name in start.channels and (name != _EMBEDDING or same_embeddings)]
    shared = [name for name in head.outputs if name in start.outputs]
    rows = head.rows_per_output
    for name, tensor in own.items():
        if name.endswith("first.weight"):
            tensor.zero_()
            for group in shown:
                _copy(tensor[:, head.channels[group]], given[name][:, start.channels[group]], name)
        elif set(name.split(".")) & set(head.output_layers):
            for output in shared:
                to, source = (each.outputs.index(output) * rows for each in (head, start))
                _copy(tensor[to : to + rows], given[name][source : source + rows], name)
        else:
            _copy(tensor, given[name], name)
    fresh = len(head.outputs) - len(shared)
    return f"starting from another head: {', '.join(shown)}; {len(shared)} outputs" + (f", {fresh} fresh" * bool(fresh))


def _learned(head: FunctionHead) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in head.state_dict().items() if not name.startswith("reduction.")}


def _copy(to: Tensor, source: Tensor, name: str) -> None:
    if to.shape != source.shape:
        raise WeightsError(
            f"the head to start from has another size: {name} is {tuple(source.shape)}, not {tuple(to.shape)}",
            hint="give the same [head] in the recipe",
        )
    to.copy_(source)
