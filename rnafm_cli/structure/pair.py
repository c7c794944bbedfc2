"""The pair head: each base chooses its partner, or none, starting from what thermodynamics says.

Logits are the network's output added to the logarithm of the prior's pair probabilities, so that an untrained head
is the prior and training can only correct it. Any subset of the three inputs works.

Maps are kept channels-last. Shape suffixes: B batch, L bases (padded to an even number inside), H half of them, D
embedding width, W width per base, C channels, I input width, F features of a pair, G heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.encoder.network import EncoderLayer, rotary_tables
from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.rna.alphabet import letter_codes
from rnafm_cli.weights.files import known_values

if TYPE_CHECKING:
    from rnafm_cli.families.alignment import Template

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


_HEAD_WIDTH = 48


class BaseMixer(nn.Module):
    """Adds to the features of each base what the other bases of its RNA say; adds nothing before training.

    Args:
        inputs: width of what comes in.
        width: width of what goes out.
        layers: transformer layers with rotary positions.
        inner: their width, a multiple of 48.
    """

    def __init__(self, inputs: int, width: int, *, layers: int, inner: int) -> None:
        super().__init__()
        shape = EncoderConfig(
            layers=layers, width=inner, heads=max(1, inner // _HEAD_WIDTH), ffn=4 * inner, positions="rotary"
        )
        self.head_width = inner // shape.heads
        self.enter = nn.Linear(inputs, inner)
        stack = [EncoderLayer(shape) for _ in range(layers)]
        self.layers = nn.ModuleList(stack)
        self.norm = nn.LayerNorm(inner)
        self.leave = nn.Linear(inner, width)
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


INPUTS = ("embedding", "sequence", "prior")
"""What a head may be told beside what its RNA's families say, the input ``template``."""
MIN_DISTANCE = 4
PRIOR_FLOOR = 5e-4
"""Prior probabilities below this count as zero: training reads them from a cache that ends here."""

_EPSILON = 1e-4


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
    heads: int = 16
    fine: int = 16
    """Channels of the full-resolution part."""
    axial_every: int = 4
    dropout: float = 0.1
    inputs: tuple[str, ...] = INPUTS
    """Inputs that training showed; others must not be given."""
    parameters: tuple[str, ...] = ("turner2004",)
    """Energy parameters behind the prior, whose pair probabilities are averaged."""

    @property
    def pair_features(self) -> int:
        """Channels of what is known of each pair of bases beforehand."""
        return PAIR_FEATURES + TEMPLATE_FEATURES * ("template" in self.inputs)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PairConfig:
        """From a model card's plain values."""
        return cls(**known_values(cls, values))


@dataclass
class PairInputs:
    """A padded batch.

    Args:
        lengths_B: bases of each RNA.
        letters_BL: 1 to 4 for A, C, G, U, 0 otherwise and in padding.
        embedding_BLD: the encoder's representations, special tokens stripped, or None.
        prior_BLL: pair probabilities, symmetric, or None.
        template_BLL: consensus pairs that the RNA's families let expect, symmetric, or None.
        known_BL2: with it, how likely a base stands on a family's profile, and a tenth of -log10 of the E-value.
        relatives_BLL5: what known 3D structures of the families let expect: the maps of
            :class:`rnafm_cli.families.shapes.Relatives`; None where there are none, or the head is about pairs alone.
        has_sequence_B, has_embedding_B, has_prior_B, has_template_B: RNAs for which the input may be used; all if None.
    """

    lengths_B: Tensor
    letters_BL: Tensor
    embedding_BLD: Tensor | None = None
    prior_BLL: Tensor | None = None
    template_BLL: Tensor | None = None
    known_BL2: Tensor | None = None
    relatives_BLL5: Tensor | None = None
    has_sequence_B: Tensor | None = None
    has_embedding_B: Tensor | None = None
    has_prior_B: Tensor | None = None
    has_template_B: Tensor | None = None

    def to(self, device: torch.device) -> PairInputs:
        """The same batch on another device."""
        return PairInputs(**{name: value.to(device) for name, value in vars(self).items() if value is not None})


@dataclass
class PairLogits:
    """Unnormalised log-odds, float32: ``pair_BLL`` symmetric (-inf where no pair can be), ``unpaired_BL``."""

    pair_BLL: Tensor
    unpaired_BL: Tensor

    def log_choices(self) -> Tensor:
        """(B, L, L + 1) log-probability of base i's choice: partner j, or none in the last column."""
        return torch.cat([self.pair_BLL, self.unpaired_BL[..., None]], dim=-1).log_softmax(dim=-1)

    def probabilities(self) -> Tensor:
        """(B, L, L) symmetric: mean of the probabilities with which the two bases choose each other."""
        choice_BLL = self.log_choices()[..., :-1].exp()
        return 0.5 * (choice_BLL + choice_BLL.transpose(1, 2))


@dataclass
class PairView:
    """What a pair head makes of a batch.

    Args:
        logits: without the base that makes the length even.
        map_BHHC: the coarse map behind them.
        features_BLLF: the features of pairs that went in.
    """

    logits: PairLogits
    map_BHHC: Tensor
    features_BLLF: Tensor


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
            self.mixer = BaseMixer(
                config.embedding + width, width, layers=config.mixer_layers, inner=config.mixer_width
            )
        self.base_norm = nn.LayerNorm(width)
        self.base = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(config.dropout)
        self.map = CoarseMap(
            width=width,
            channels=channels,
            dilations=config.dilations,
            heads=config.heads,
            axial_every=config.axial_every,
            dropout=config.dropout / 2,
            features=config.pair_features,
        )
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
        return self.explore(inputs).logits

    def explore(self, inputs: PairInputs) -> PairView:
        """Logits and the maps behind them, for heads that build on this one."""
        full = inputs.letters_BL.shape[1]
        inputs = padded(inputs, 2)
        lengths_B, letters_BL = inputs.lengths_B, inputs.letters_BL
        batch, length = letters_BL.shape
        present = [
            _present(flag, value is not None, letters_BL)
            for flag, value in (
                (inputs.has_sequence_B, letters_BL),
                (inputs.has_embedding_B, inputs.embedding_BLD),
                (inputs.has_prior_B, inputs.prior_BLL),
                (inputs.has_template_B, inputs.template_BLL),
            )
        ]
        has_sequence_B, has_embedding_B, has_prior_B, has_template_B = present
        real_BL = base_mask(lengths_B, length)
        prior_BLL = inputs.prior_BLL
        if prior_BLL is not None:
            prior_BLL = prior_BLL.float()
            prior_BLL = torch.where(prior_BLL < PRIOR_FLOOR, 0.0, prior_BLL)
        unpaired_BL = 1.0 - prior_BLL.sum(dim=-1) if prior_BLL is not None else torch.ones(batch, length)
        unpaired_BL = unpaired_BL.to(lengths_B.device).clamp(min=_EPSILON)
        template_BLL = inputs.template_BLL if "template" in self.config.inputs else None
        family_BL4 = torch.zeros(batch, length, 4, device=letters_BL.device)
        if template_BLL is not None:
            shown_B = has_template_B[:, None, None]
            template_BLL = torch.where(shown_B, template_BLL.float(), 0.0)
            free_BL = _left_free(template_BLL)
            on_BL = has_template_B[:, None].float().expand_as(free_BL)
            assert inputs.known_BL2 is not None
            family_BL4 = torch.cat([torch.stack([free_BL, on_BL], dim=-1), inputs.known_BL2], dim=-1) * on_BL[..., None]

        x_BLW = self._bases(inputs, has_sequence_B, has_embedding_B, has_prior_B, unpaired_BL, family_BL4)
        x_BLW = x_BLW * real_BL[..., None]
        features_BLLF = pair_features(
            letters_BL,
            prior_BLL,
            has_sequence_B,
            has_prior_B,
            template_BLL=template_BLL,
            has_template_B=has_template_B,
            channels=self.config.pair_features,
        )
        map_BHHC = self.map(x_BLW, features_BLLF, lengths_B)
        fine = refine(self.fine_in(map_BHHC))
        fine = torch.cat([fine, features_BLLF.to(fine.dtype)], dim=-1)
        both_BLL = real_BL[:, :, None] & real_BL[:, None, :]
        fine = fine * both_BLL[..., None]
        fine = F.relu(self.fine(fine.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)

        raw_BLL = self.fine_out(fine)[..., 0].float()
        pair_BLL = 0.5 * (raw_BLL + raw_BLL.transpose(1, 2))
        weight = self.prior_weight.float()
        default_pair, default_unpaired = self.no_prior.float()
        # What is said before the network speaks.
        if "template" in self.config.inputs:
            guide_BLL, guide_BL = self._guide(prior_BLL, unpaired_BL, template_BLL, has_prior_B)
            pair_BLL = pair_BLL + weight[0] * torch.log(guide_BLL + _EPSILON)
            base_BL = (weight[1] * torch.log(guide_BL)).expand(batch, length)
        elif prior_BLL is not None:
            shown_B = has_prior_B[:, None, None]
            pair_BLL = pair_BLL + torch.where(shown_B, weight[0] * torch.log(prior_BLL + _EPSILON), default_pair)
            base_BL = torch.where(shown_B[..., 0], weight[1] * torch.log(unpaired_BL), default_unpaired)
        else:
            pair_BLL, base_BL = pair_BLL + default_pair, default_unpaired.expand(batch, length)
        position = torch.arange(length, device=letters_BL.device)
        allowed_LL = (position[:, None] - position[None, :]).abs() >= MIN_DISTANCE
        pair_BLL = pair_BLL.masked_fill(~(both_BLL & allowed_LL), float("-inf"))

        masked = fine * both_BLL[..., None]
        count_B = lengths_B[:, None, None].to(masked.dtype)
        row = torch.cat([masked.sum(dim=2) / count_B, masked.amax(dim=2)], dim=-1)
        own_BL = self.unpaired_out(self.unpaired_norm(x_BLW)) + self.unpaired_row(row)
        logits = PairLogits(pair_BLL[:, :full, :full], (base_BL + own_BL[..., 0].float())[:, :full])
        return PairView(logits, map_BHHC, features_BLLF)

    def _guide(
        self, prior_BLL: Tensor | None, unpaired_BL: Tensor, template_BLL: Tensor | None, has_prior_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Probabilities of pairs and of none: the family's pairs, and the prior where the family leaves bases free."""
        default_pair, default_unpaired = self.no_prior.float()
        guide_BLL, guide_BL = torch.exp(default_pair), torch.exp(default_unpaired)
        if prior_BLL is not None:
            guide_BLL = torch.where(has_prior_B[:, None, None], prior_BLL, guide_BLL)
            guide_BL = torch.where(has_prior_B[:, None], unpaired_BL, guide_BL)
        if template_BLL is not None:
            free_BL = _left_free(template_BLL)
            guide_BLL = template_BLL + free_BL[:, :, None] * free_BL[:, None, :] * guide_BLL
            guide_BL = (free_BL * guide_BL).clamp(min=_EPSILON)
        return guide_BLL, guide_BL

    def _bases(
        self,
        inputs: PairInputs,
        has_sequence_B: Tensor,
        has_embedding_B: Tensor,
        has_prior_B: Tensor,
        unpaired_BL: Tensor,
        family_BL4: Tensor,
    ) -> Tensor:
        absent = self.no_embedding
        batch, length = inputs.letters_BL.shape
        normed_BLD = absent.new_zeros(batch, length, self.config.embedding)
        if inputs.embedding_BLD is not None and self.config.embedding:
            there = has_embedding_B[:, None, None]
            normed_BLD = torch.where(there, self.embedding_norm(inputs.embedding_BLD.float()), normed_BLD)
            embedded = self.embedding_in(normed_BLD)
            x = torch.where(there, embedded, absent.to(embedded.dtype))
        else:
            x = absent.expand(batch, length, -1)
        letters = torch.where(has_sequence_B[:, None, None], self.letter(inputs.letters_BL), self.no_letter)
        on_BL = has_prior_B[:, None].float().expand_as(unpaired_BL)
        prior = self.unpaired_in(torch.stack([unpaired_BL * on_BL, on_BL], dim=-1))
        x = x + letters + prior
        if "template" in self.config.inputs:
            x = x + self.family_in(family_BL4)
        if self.config.mixer_layers:
            x = x + self.mixer(torch.cat([normed_BLD, x.float()], dim=-1), inputs.lengths_B)
        x = self.dropout(x)
        return x + self.base(self.base_norm(x))


def _left_free(template_BLL: Tensor) -> Tensor:
    """(B, L) probability that a family pairs a base with none."""
    return (1.0 - template_BLL.sum(dim=-1)).clamp(min=0.0)


def pair_inputs(
    sequences: Sequence[str],
    *,
    embeddings: Sequence[Tensor] | None = None,
    priors: Sequence[np.ndarray] | None = None,
    templates: Sequence[Template | None] | None = None,
    width: int = 0,
    use_sequence: bool = True,
) -> PairInputs:
    """A padded batch of RNAs.

    Args:
        embeddings: per RNA (L, D), special tokens stripped; None to do without.
        priors: per RNA (L, L), symmetric; None to do without.
        templates: per RNA what its families say, None for an RNA without one; None to do without.
        width: D.
        use_sequence: show the letters.
    """
    count, widest = len(sequences), max(map(len, sequences), default=0)
    known = {k: template for k, template in enumerate(templates or ()) if template is not None}
    relatives = {k: template.relatives for k, template in known.items() if template.relatives is not None}

    def batch(parts: Mapping[int, Any], *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        whole = torch.zeros(count, *shape, dtype=dtype)
        for k, part in parts.items():
            # Only bases are padded, so the first places are a part's whatever its number of axes.
            whole[k][tuple(slice(size) for size in part.shape)] = torch.as_tensor(part)
        return whole

    return PairInputs(
        torch.tensor([len(sequence) for sequence in sequences]),
        batch({k: letter_codes(sequence) for k, sequence in enumerate(sequences)}, widest, dtype=torch.long),
        embedding_BLD=None if embeddings is None else batch(dict(enumerate(embeddings)), widest, width),
        prior_BLL=None if priors is None else batch(dict(enumerate(priors)), widest, widest),
        template_BLL=batch({k: one.pairs_LL for k, one in known.items()}, widest, widest) if known else None,
        known_BL2=batch(
            {k: np.stack([one.coverage_L, 0.1 * one.confidence_L], axis=1) for k, one in known.items()}, widest, 2
        )
        if known
        else None,
        relatives_BLL5=batch(
            {k: np.stack([*vars(one).values()], axis=-1) for k, one in relatives.items()}, widest, widest, 5
        )
        if relatives
        else None,
        has_sequence_B=torch.full((count,), use_sequence),
        has_template_B=torch.tensor([k in known for k in range(count)]) if known else None,
    )


@torch.inference_mode()
def pair_probabilities(
    head: PairHead, sequences: Sequence[str], *, bf16: bool = False, **inputs: Any
) -> list[np.ndarray]:
    """Pair probabilities of a few RNAs of similar length, one padded batch.

    Args:
        head: in evaluation mode.
        sequences: upper-case RNA.
        bf16: run the map in bfloat16.
        inputs: ``embeddings``, ``priors``, ``templates`` and ``use_sequence``, see :func:`pair_inputs`.

    Returns:
        per RNA (L, L) float32, symmetric.
    """
    device = head.no_letter.device
    batch = pair_inputs(sequences, width=head.config.embedding, **inputs).to(device)
    with mixed_precision(device.type, bf16=bf16):
        p_BLL = head(batch).probabilities().float().cpu().numpy()
    return [p_BLL[k, : len(sequence), : len(sequence)].copy() for k, sequence in enumerate(sequences)]


def padded(inputs: PairInputs, multiple: int) -> PairInputs:
    """The same batch with its width padded to a multiple."""
    extra = -inputs.letters_BL.shape[1] % multiple
    if not extra:
        return inputs

    def wider(name: str, tensor: Tensor) -> Tensor:
        # The axes stand in the name; F.pad takes the last one first.
        axes = reversed(name.rpartition("_")[2])
        return F.pad(tensor, [size for axis in axes for size in (0, extra if axis == "L" else 0)])

    given = {name: value for name, value in vars(inputs).items() if value is not None}
    return PairInputs(**{name: wider(name, value) for name, value in given.items()})


def _present(flag_B: Tensor | None, given: bool, like: Tensor) -> Tensor:
    if flag_B is None or not given:
        return torch.full((like.shape[0],), given, device=like.device)
    return flag_B
