"""The pair head: each base chooses its partner, or none, starting from what thermodynamics says.

Logits are the network's output added to the logarithm of the prior's pair probabilities, so that an untrained head
is the prior and training can only correct it. Any subset of the three inputs works.

Maps are kept channels-last. Shape suffixes: B batch, L bases (padded to an even number), H half of them, D embedding
width, W width per base, C channels, I input width, F features of a pair, G heads.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.encoder.network import EncoderLayer, rotary_tables
from rnafm_cli.rna.alphabet import letter_codes
from rnafm_cli.weights.files import known_values

if TYPE_CHECKING:
    from rnafm_cli.families.alignment import Template

INPUTS = ("embedding", "sequence", "prior")
"""What a head may be told beside what its RNA's families say, the input ``template``."""
MIN_DISTANCE = 4
PRIOR_FLOOR = 5e-4
"""Prior probabilities below this count as zero: training reads them from a cache that ends here."""
_EPSILON = 1e-4
_MIXER_HEAD = 48
"""Width of an attention head of the mixer."""


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    """Everything that fixes the pair head's tensors and its arithmetic."""

    embedding: int
    """Width of the encoder's representations; 0 for a head without them."""
    width: int = 64
    mixer_width: int = 144
    mixer_layers: int = 0
    """Transformer layers over the bases; 0 for none."""
    channels: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4, 1, 2)
    """A residual block of the coarse map each."""
    heads: int = 16
    """Bilinear products of the two sides that enter the map."""
    fine: int = 16
    """Channels of the full-resolution part."""
    axial_every: int = 4
    """After this many blocks every row is pooled and the result handed to its row and column, so that partners of one
    base see each other; 0 for never."""
    dropout: float = 0.1
    inputs: tuple[str, ...] = INPUTS
    """Inputs that training showed; others must not be given."""
    parameters: tuple[str, ...] = ("turner2004",)
    """Energy parameters behind the prior, whose pair probabilities are averaged."""

    @property
    def pair_features(self) -> int:
        """Channels of what is known of each pair of bases beforehand."""
        return 11 if "template" in self.inputs else 8

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PairConfig:
        """From a model card's plain values."""
        return cls(**known_values(cls, values))


@dataclass(frozen=True, eq=False)
class Guide:
    """What a head is told of an RNA, or a part of it; None where it does without.

    Args:
        rows_LD: the encoder's representations, special tokens stripped.
        prior_LL: ViennaRNA's pair probabilities, symmetric.
        template: what the RNA's families say.
    """

    sequence: str
    rows_LD: Tensor | None = None
    prior_LL: NDArray[np.float32] | None = None
    template: Template | None = None

    def part(self, bases: slice) -> Guide:
        """The same of some of the bases."""
        return Guide(
            self.sequence[bases],
            None if self.rows_LD is None else self.rows_LD[bases],
            None if self.prior_LL is None else self.prior_LL[bases, bases],
            None if self.template is None else self.template.part(bases),
        )


@dataclass
class PairInputs:
    """A batch padded to an even length; what is not known of an RNA is zero.

    Args:
        lengths_B: bases of each RNA.
        letters_BL: 1 to 4 for A, C, G, U, 0 otherwise and in padding.
        prior_BLL: pair probabilities, symmetric.
        template_BLL: consensus pairs that the RNA's families let expect, symmetric.
        known_BL2: with it, how likely a base stands on a family's profile, and a tenth of -log10 of the E-value.
        has_sequence_B, has_embedding_B, has_prior_B, has_template_B: RNAs for which the input may be used.
        embedding_BLD: the encoder's representations, special tokens stripped.
        relatives_BLL5: what known 3D structures of the families let expect: the maps of
            :class:`rnafm_cli.families.shapes.Relatives`.
    """

    lengths_B: Tensor
    letters_BL: Tensor
    prior_BLL: Tensor
    template_BLL: Tensor
    known_BL2: Tensor
    has_sequence_B: Tensor
    has_embedding_B: Tensor
    has_prior_B: Tensor
    has_template_B: Tensor
    embedding_BLD: Tensor | None = None
    relatives_BLL5: Tensor | None = None

    def to(self, device: torch.device) -> PairInputs:
        """The same batch on another device."""
        return PairInputs(**{name: value.to(device) for name, value in vars(self).items() if value is not None})


def pair_inputs(guides: Sequence[Guide], inputs: Collection[str] = (*INPUTS, "template")) -> PairInputs:
    """A padded batch of RNAs.

    Args:
        inputs: names of what may be shown.
    """
    lengths = [len(guide.sequence) for guide in guides]
    count, widest = len(guides), 2 * -(-max(lengths) // 2)

    def batch(parts: Mapping[int, Any], *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        whole = torch.zeros(count, *shape, dtype=dtype)
        for k, part in parts.items():
            # Only bases are padded, so the first places are a part's whatever its number of axes.
            whole[k][tuple(slice(size) for size in part.shape)] = torch.as_tensor(part)
        return whole

    def given(name: str, values: Sequence[Any]) -> dict[int, Any]:
        return {k: value for k, value in enumerate(values) if value is not None and name in inputs}

    def flags(known: Mapping[int, Any]) -> Tensor:
        return torch.tensor([k in known for k in range(count)])

    letters = given("sequence", [letter_codes(guide.sequence) for guide in guides])
    rows = given("embedding", [guide.rows_LD for guide in guides])
    priors = given("prior", [guide.prior_LL for guide in guides])
    known = given("template", [guide.template for guide in guides])
    relatives = {
        k: np.stack([*vars(one.relatives).values()], axis=-1) for k, one in known.items() if one.relatives is not None
    }
    stands = {k: np.stack([one.coverage_L, 0.1 * one.confidence_L], axis=1) for k, one in known.items()}
    return PairInputs(
        lengths_B=torch.tensor(lengths),
        letters_BL=batch(letters, widest, dtype=torch.long),
        prior_BLL=batch(priors, widest, widest),
        template_BLL=batch({k: one.pairs_LL for k, one in known.items()}, widest, widest),
        known_BL2=batch(stands, widest, 2),
        has_sequence_B=flags(letters),
        has_embedding_B=flags(rows),
        has_prior_B=flags(priors),
        has_template_B=flags(known),
        embedding_BLD=batch(rows, widest, next(iter(rows.values())).shape[1]) if rows else None,
        relatives_BLL5=batch(relatives, widest, widest, 5) if relatives else None,
    )


def base_mask(lengths_B: Tensor, length: int) -> Tensor:
    """(B, L) bool: which positions are bases and not padding."""
    return torch.arange(length, device=lengths_B.device) < lengths_B[:, None]


def map_mask(lengths_B: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """(B, L, L, 1): 1 where both sides are bases, 0 in padding; of autocast's type where that is on."""
    device = lengths_B.device.type
    real_BL = base_mask(lengths_B, length)
    mask = (real_BL[:, :, None] & real_BL[:, None, :])[..., None]
    return mask.to(torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else dtype)


def pair_features(inputs: PairInputs, channels: int) -> Tensor:
    """What is known of each pair of bases beforehand, (B, L, L, F).

    Channels: prior probability and its scaled logarithm, AU, GC, GU, signed logarithm of the distance, too close
    to pair, prior present; where there are more, expected consensus pairs and their scaled logarithm, family known.
    Channels of an absent input are zero.

    Args:
        channels: F, with or without those of the families.
    """
    batch, length = inputs.letters_BL.shape
    device = inputs.letters_BL.device
    features = torch.zeros(batch, length, length, channels, device=device)
    for first, present, map_BLL, has_B in (
        (0, 7, inputs.prior_BLL, inputs.has_prior_B),
        (8, 10, inputs.template_BLL, inputs.has_template_B),
    ):
        if present < channels and bool(has_B.any()):
            on = has_B[:, None, None].float()
            features[..., first] = map_BLL * on
            features[..., first + 1] = (torch.log(map_BLL + _EPSILON) * 0.25 + 1.0) * on
            features[..., present] = on
    # Products of A=1, C=2, G=3, U=5 tell the three canonical pairs apart: AU 5, CG 6, GU 15.
    primes = torch.tensor([0, 1, 2, 3, 5], device=device)[inputs.letters_BL] * inputs.has_sequence_B[:, None]
    product_BLL = primes[:, :, None] * primes[:, None, :]
    for channel, product in enumerate((5, 6, 15), start=2):
        features[..., channel] = product_BLL == product
    position = torch.arange(length, device=device, dtype=torch.float32)
    offset_LL = position[None, :] - position[:, None]
    features[..., 5] = offset_LL.sign() * offset_LL.abs().log1p() / 3.0
    features[..., 6] = offset_LL.abs() < MIN_DISTANCE
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
    """A map over pairs of neighbouring-base pairs: outer sum, products and pair features, then residual blocks."""

    def __init__(self, config: PairConfig) -> None:
        super().__init__()
        sides, channels, count = 2 * config.width, config.channels, len(config.dilations)
        self.heads = config.heads
        self.row = nn.Linear(sides, channels)
        self.column = nn.Linear(sides, channels, bias=False)
        self.query = nn.Linear(sides, 8 * config.heads)
        self.key = nn.Linear(sides, 8 * config.heads)
        self.enter = nn.Linear(4 * config.pair_features + config.heads, channels)
        self.blocks = nn.ModuleList(ResidualBlock(channels, k, config.dropout / 2) for k in config.dilations)
        places = [k for k in range(count) if config.axial_every and (k + 1) % config.axial_every == 0]
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


class BaseMixer(nn.Module):
    """Adds to the features of each base what the other bases of its RNA say; adds nothing before training."""

    def __init__(self, config: PairConfig) -> None:
        super().__init__()
        inner = config.mixer_width
        heads = max(1, inner // _MIXER_HEAD)
        shape = EncoderConfig(layers=config.mixer_layers, width=inner, heads=heads, ffn=4 * inner, positions="rotary")
        self.head_width = inner // heads
        self.enter = nn.Linear(config.embedding + config.width, inner)
        stack = [EncoderLayer(shape) for _ in range(config.mixer_layers)]
        self.layers = nn.ModuleList(stack)
        self.norm = nn.LayerNorm(inner)
        self.leave = nn.Linear(inner, config.width)
        for layer in stack:
            for last in (layer.out, layer.ffn_out):
                nn.init.normal_(last.weight, std=0.02)
                nn.init.zeros_(last.bias)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x_BLI: Tensor, lengths_B: Tensor) -> Tensor:
        """(B, L, W); results of one RNA do not depend on the others or on padding."""
        length = x_BLI.shape[1]
        x = self.enter(x_BLI)
        key_mask = None
        if bool((lengths_B < length).any()):
            key_mask = base_mask(lengths_B, length)[:, None, None, :]
        rotation = rotary_tables(length, self.head_width, x.device)
        for layer in self.layers:
            x, _ = layer(x, key_mask, rotation)
        return self.leave(self.norm(x.to(torch.float32)))


@dataclass
class PairLogits:
    """What a pair head makes of a batch.

    Args:
        pair_BLL: unnormalised log-odds, float32, symmetric, -inf where no pair can be.
        unpaired_BL: the same of no partner.
        map_BHHC: the coarse map behind them.
        features_BLLF: the features of pairs that went in.
    """

    pair_BLL: Tensor
    unpaired_BL: Tensor
    map_BHHC: Tensor
    features_BLLF: Tensor

    def log_choices(self) -> Tensor:
        """(B, L, L + 1) log-probability of base i's choice: partner j, or none in the last column."""
        return torch.cat([self.pair_BLL, self.unpaired_BL[..., None]], dim=-1).log_softmax(dim=-1)

    def probabilities(self) -> Tensor:
        """(B, L, L) symmetric: mean of the probabilities with which the two bases choose each other."""
        choice_BLL = self.log_choices()[..., :-1].exp()
        return 0.5 * (choice_BLL + choice_BLL.transpose(1, 2))


class PairHead(nn.Module):
    """Pair logits from embeddings, letters and a thermodynamic prior; see :class:`PairInputs`."""

    def __init__(self, config: PairConfig) -> None:
        super().__init__()
        self.config = config
        width, channels = config.width, config.channels
        if config.embedding:
            self.embedding_norm = nn.LayerNorm(config.embedding)
            self.embedding_in = nn.Linear(config.embedding, width)
        self.no_embedding = nn.Parameter(torch.zeros(width))
        self.letter = nn.Embedding(5, width)
        self.no_letter = nn.Parameter(torch.zeros(width))
        self.unpaired_in = nn.Linear(2, width)
        if "template" in config.inputs:
            self.family_in = nn.Linear(4, width)
        if config.mixer_layers:
            self.mixer = BaseMixer(config)
        self.base_norm = nn.LayerNorm(width)
        self.base = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(config.dropout)
        self.map = CoarseMap(config)
        self.fine_in = nn.Linear(channels, 4 * config.fine)
        self.fine = nn.Conv2d(config.fine + config.pair_features, config.fine, 3, padding=1)
        self.fine_out = nn.Linear(config.fine, 1)
        self.unpaired_norm = nn.LayerNorm(width)
        self.unpaired_out = nn.Linear(width, 1)
        self.unpaired_row = nn.Linear(2 * config.fine, 1)
        self.prior_weight = nn.Parameter(torch.ones(2))
        self.no_prior = nn.Parameter(torch.tensor([-5.0, 0.0]))
        nn.init.normal_(self.letter.weight, std=0.5)
        for last in (self.fine_out, self.unpaired_out, self.unpaired_row):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, inputs: PairInputs) -> PairLogits:
        """Logits of a batch; results of one RNA do not depend on the others or on padding."""
        inputs = replace(
            inputs,
            prior_BLL=torch.where(inputs.prior_BLL < PRIOR_FLOOR, 0.0, inputs.prior_BLL),
            template_BLL=torch.where(inputs.has_template_B[:, None, None], inputs.template_BLL, 0.0),
        )
        lengths_B, length = inputs.lengths_B, inputs.letters_BL.shape[1]
        real_BL = base_mask(lengths_B, length)
        both_BLL = real_BL[:, :, None] & real_BL[:, None, :]
        unpaired_BL = _left_free(inputs.prior_BLL).clamp(min=_EPSILON)
        x_BLW = self._bases(inputs, unpaired_BL) * real_BL[..., None]
        features_BLLF = pair_features(inputs, self.config.pair_features)
        map_BHHC = self.map(x_BLW, features_BLLF, lengths_B)
        fine = refine(self.fine_in(map_BHHC))
        fine = torch.cat([fine, features_BLLF.to(fine.dtype)], dim=-1)
        # Line by line, so that each large map is freed before the next one is made.
        fine = fine * both_BLL[..., None]
        fine = F.relu(self.fine(fine.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)

        raw_BLL = self.fine_out(fine)[..., 0].float()
        said_BLL, said_BL = self._beforehand(inputs, unpaired_BL)
        position = torch.arange(length, device=lengths_B.device)
        allowed_LL = (position[:, None] - position[None, :]).abs() >= MIN_DISTANCE
        pair_BLL = 0.5 * (raw_BLL + raw_BLL.transpose(1, 2)) + said_BLL
        pair_BLL = pair_BLL.masked_fill(~(both_BLL & allowed_LL), float("-inf"))

        masked = fine * both_BLL[..., None]
        count_B = lengths_B[:, None, None].to(masked.dtype)
        row = torch.cat([masked.sum(dim=2) / count_B, masked.amax(dim=2)], dim=-1)
        own_BL = (self.unpaired_out(self.unpaired_norm(x_BLW)) + self.unpaired_row(row))[..., 0].float()
        return PairLogits(pair_BLL, said_BL + own_BL, map_BHHC, features_BLLF)

    def _bases(self, inputs: PairInputs, unpaired_BL: Tensor) -> Tensor:
        """(B, L, W) features of the bases."""
        absent = self.no_embedding
        batch, length = inputs.letters_BL.shape
        normed_BLD = absent.new_zeros(batch, length, self.config.embedding)
        if inputs.embedding_BLD is not None and self.config.embedding:
            there = inputs.has_embedding_B[:, None, None]
            normed_BLD = torch.where(there, self.embedding_norm(inputs.embedding_BLD.float()), normed_BLD)
            embedded = self.embedding_in(normed_BLD)
            x = torch.where(there, embedded, absent.to(embedded.dtype))
        else:
            x = absent.expand(batch, length, -1)
        letters = torch.where(inputs.has_sequence_B[:, None, None], self.letter(inputs.letters_BL), self.no_letter)
        on_BL = inputs.has_prior_B[:, None].float().expand_as(unpaired_BL)
        x = x + letters + self.unpaired_in(torch.stack([unpaired_BL * on_BL, on_BL], dim=-1))
        if "template" in self.config.inputs:
            on_BL1 = inputs.has_template_B[:, None, None].float().expand(batch, length, 1)
            free_BL1 = _left_free(inputs.template_BLL)[..., None]
            x = x + self.family_in(torch.cat([free_BL1, on_BL1, inputs.known_BL2], dim=-1) * on_BL1)
        if self.config.mixer_layers:
            x = x + self.mixer(torch.cat([normed_BLD, x.float()], dim=-1), inputs.lengths_B)
        x = self.dropout(x)
        return x + self.base(self.base_norm(x))

    def _beforehand(self, inputs: PairInputs, unpaired_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Log-odds of pairs and of none before the network speaks."""
        weight = self.prior_weight.float()
        default_pair, default_unpaired = self.no_prior.float()
        has_B1, has_B11 = inputs.has_prior_B[:, None], inputs.has_prior_B[:, None, None]
        if "template" not in self.config.inputs:
            return (
                torch.where(has_B11, weight[0] * torch.log(inputs.prior_BLL + _EPSILON), default_pair),
                torch.where(has_B1, weight[1] * torch.log(unpaired_BL), default_unpaired),
            )
        # The family's pairs, and the prior where the family leaves bases free.
        guide_BLL = torch.where(has_B11, inputs.prior_BLL, torch.exp(default_pair))
        guide_BL = torch.where(has_B1, unpaired_BL, torch.exp(default_unpaired))
        free_BL = _left_free(inputs.template_BLL)
        guide_BLL = inputs.template_BLL + free_BL[:, :, None] * free_BL[:, None, :] * guide_BLL
        guide_BL = (free_BL * guide_BL).clamp(min=_EPSILON)
        return weight[0] * torch.log(guide_BLL + _EPSILON), weight[1] * torch.log(guide_BL)


def _left_free(p_BLL: Tensor) -> Tensor:
    """(B, L) probability that a base pairs with none."""
    return (1.0 - p_BLL.sum(dim=-1)).clamp(min=0.0)


@torch.inference_mode()
def head_probabilities(
    head: PairHead,
    guides: Sequence[Guide],
    *,
    inputs: Collection[str] | None = None,
    precision: AbstractContextManager[object] | None = None,
) -> list[np.ndarray]:
    """Pair probabilities of a few RNAs of similar length, one padded batch.

    Args:
        head: in evaluation mode.
        inputs: names of what it is shown; what it was trained with if None.
        precision: the arithmetic, see :func:`rnafm_cli.encoder.runtime.mixed_precision`; the head's own if None.

    Returns:
        per RNA (L, L) float32, symmetric.
    """
    batch = pair_inputs(guides, head.config.inputs if inputs is None else inputs).to(head.no_letter.device)
    with precision or nullcontext():
        p_BLL = head(batch).probabilities().float().cpu().numpy()
    return [p_LL[:size, :size].copy() for p_LL, size in zip(p_BLL, batch.lengths_B.tolist(), strict=True)]
