"""The head behind contacts and distances: the pair head of secondary structure, and a map above it.

The pair head may come trained from ``fold`` (the paper's transfer learning) or start at random. Its coarse map and its
pair probabilities go through residual blocks; every pair of bases then gets the logit of a contact and a histogram of
distances. What relatives with known 3D structure tell is an input of the map, and takes the place of what is usual.
Shape suffixes: B batch, L bases, H = half of L, C channels, E channels of evidence, S ranges of separation, K outputs
of a pair or bins of distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.rna.chains import FARTHEST
from rnafm_cli.structure.pair import (
    PairConfig,
    PairHead,
    PairInputs,
    ResidualBlock,
    base_mask,
    coarsen,
    map_mask,
    refine,
)
from rnafm_cli.weights.files import known_values

BIN_EDGES = (2.0, 3.0, 3.5, 4.0, *(float(k) for k in range(5, 21)))
"""Å. Bonded neighbours lie below the first edge, base pairs between the first two."""
BIN_CENTRES = (1.6, 2.8, 3.3, 3.75, *(k + 0.5 for k in range(4, 20)), FARTHEST)
EVIDENCE = 9
"""Pair probabilities of the pair head and of the prior, and their scaled logarithms; five maps of relatives."""
REACH = 3
"""Pairs this many steps away on both sides still tell of a pair directly."""
_OUTPUTS = 1 + len(BIN_CENTRES)
_DILATIONS = (1, 2, 4)
_EPSILON = 1e-3
_LEAST_SHARE = 0.01
"""Of a bin, whatever relatives tell."""
_SEPARATIONS = (*range(1, 41), 48, 56, 68, 80, 100, 130, 160, 220)
SEPARATION_RANGES = len(_SEPARATIONS) + 1
"""Exact up to 40, then wider and wider."""


@dataclass(frozen=True, kw_only=True)
class TertiaryConfig:
    """Everything that fixes a head's tensors and its arithmetic."""

    pair: PairConfig
    channels: int = 64
    """Of the map above the pair head."""
    blocks: int = 3
    """Its residual blocks."""
    fine: int = 16
    """Channels that the map brings to full resolution."""
    patch: int = 32
    """Channels made of the evidence around each pair."""
    dropout: float = 0.1
    sd_scale: float = 1.0
    """What the deviation of the histogram is multiplied by, found by cross-validation."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TertiaryConfig:
        """From a model card's plain values."""
        kept = known_values(cls, values)
        return cls(**{**kept, "pair": PairConfig.from_dict(kept["pair"])})


@dataclass
class TertiaryLogits:
    """Symmetric maps, float32: ``contact_BLL`` log-odds; ``bins_BLLK`` logits of the bins of distance, None where no
    distances were asked for.
    """

    contact_BLL: Tensor
    bins_BLLK: Tensor | None

    def contacts(self) -> Tensor:
        """(B, L, L) probability of a contact."""
        return self.contact_BLL.sigmoid()

    def distances(self) -> tuple[Tensor, Tensor]:
        """Expected distance and its standard deviation, both (B, L, L) Å, from 0 to 20."""
        assert self.bins_BLLK is not None
        share_BLLK = self.bins_BLLK.softmax(dim=-1)
        centres_K = torch.tensor(BIN_CENTRES, device=share_BLLK.device)
        mean_BLL = share_BLLK @ centres_K
        squares_BLL = share_BLLK @ centres_K.square()
        return mean_BLL, (squares_BLL - mean_BLL.square()).clamp(min=0.0).sqrt()


class TertiaryHead(nn.Module):
    """Contact logits and distances from all that a pair head is told, and from relatives with known structure."""

    def __init__(self, config: TertiaryConfig) -> None:
        super().__init__()
        self.config = config
        channels, around = config.channels, config.pair.pair_features + EVIDENCE
        self.fold = PairHead(config.pair)
        self.enter = nn.Linear(config.pair.channels + 4 * EVIDENCE, channels)
        self.body = nn.ModuleList(
            ResidualBlock(channels, _DILATIONS[k % len(_DILATIONS)], config.dropout) for k in range(config.blocks)
        )
        self.norm = nn.LayerNorm(channels, bias=False)
        self.fine_in = nn.Linear(channels, 4 * config.fine)
        self.fine = nn.Conv2d(config.fine + around, config.fine, 3, padding=1)
        self.patch = nn.Conv2d(around, config.patch, 2 * REACH + 1, padding=REACH)
        self.dropout = nn.Dropout2d(config.dropout)
        self.out = nn.Linear(config.fine + config.patch, _OUTPUTS)
        self.direct = nn.Conv2d(EVIDENCE, _OUTPUTS, 2 * REACH + 1, padding=REACH, bias=False)
        self.separation = nn.Embedding(SEPARATION_RANGES, _OUTPUTS)
        self.relative_sd = nn.Parameter(torch.tensor([0.7, 1.0, 1.5]))
        """Å of deviation from relatives in any case, for each Å between them, and more the fewer they are."""
        for parameter in (self.out.weight, self.out.bias, self.direct.weight, self.separation.weight):
            nn.init.zeros_(parameter)
        # Probable pairs nearby mean a contact: the head starts from the free guess and learns the rest.
        with torch.no_grad():
            slope_K = torch.tensor([3.0, *(2.0 - 0.2 * centre for centre in BIN_CENTRES)])
            middle = slice(REACH - 1, REACH + 2)
            self.direct.weight[:, 0, middle, middle] = 0.5 * slope_K[:, None, None]
            self.direct.weight[:, 0, REACH, REACH] = slope_K

    def forward(self, inputs: PairInputs, *, distances: bool = True) -> TertiaryLogits:
        """Maps of a batch; results of one RNA do not depend on the others or on padding.

        Args:
            distances: compute the outputs about distances, too.
        """
        length, lengths_B = inputs.letters_BL.shape[1], inputs.lengths_B
        pairs = self.fold(inputs)
        real_BL = base_mask(lengths_B, length)
        both_BLL1 = (real_BL[:, :, None] & real_BL[:, None, :])[..., None]
        evidence_BLLE = self._evidence(pairs.probabilities(), inputs) * both_BLL1
        # Contacts come first, so that leaving out the distances takes rows off the same products.
        wanted = slice(None) if distances else slice(1)
        image_BELL = evidence_BLLE.permute(0, 3, 1, 2)
        usual_BLLK = F.conv2d(image_BELL, self.direct.weight[wanted], padding=REACH).permute(0, 2, 3, 1).float()
        usual_BLLK = usual_BLLK + self.separation.weight[:, wanted][separation_ranges(length, usual_BLLK.device)]
        if inputs.relatives_BLL5 is not None:
            usual_BLLK = self._instead(usual_BLLK, inputs.relatives_BLL5, distances=distances)
        evidence_BLLE = evidence_BLLE.to(pairs.map_BHHC.dtype)
        x_BHHC = self.enter(torch.cat([pairs.map_BHHC, coarsen(evidence_BLLE)], dim=-1))
        mask = map_mask((lengths_B + 1) // 2, length // 2, x_BHHC.dtype)
        x_BHHC = x_BHHC * mask
        for block in self.body:
            x_BHHC = block(x_BHHC, mask)
        x_BHHC = self.norm(x_BHHC).to(pairs.map_BHHC.dtype)
        around = torch.cat([pairs.features_BLLF.to(x_BHHC.dtype), evidence_BLLE], dim=-1) * both_BLL1
        fine = torch.cat([refine(self.fine_in(x_BHHC)) * both_BLL1, around], dim=-1)
        parts = [self.fine(fine.permute(0, 3, 1, 2)), self.patch(around.permute(0, 3, 1, 2))]
        fine = self.dropout(F.relu(torch.cat(parts, dim=1))).permute(0, 2, 3, 1)
        raw_BLLK = F.linear(fine, self.out.weight[wanted], self.out.bias[wanted]).float() + usual_BLLK
        # 5' base first: what lies on either side of a helix is not the same, so the two halves are not averaged.
        upper_LL1 = torch.ones(length, length, dtype=torch.bool, device=raw_BLLK.device).triu()[..., None]
        raw_BLLK = torch.where(upper_LL1, raw_BLLK, raw_BLLK.transpose(1, 2))
        return TertiaryLogits(raw_BLLK[..., 0], raw_BLLK[..., 1:] if distances else None)

    def _evidence(self, p_BLL: Tensor, inputs: PairInputs) -> Tensor:
        """(B, L, L, E) of :data:`EVIDENCE`; those of an absent input are zero."""
        prior_BLL = inputs.prior_BLL * inputs.has_prior_B[:, None, None]
        maps = [p_BLL, _scaled_log(p_BLL), prior_BLL, _scaled_log(prior_BLL)]
        if inputs.relatives_BLL5 is None:
            maps += [torch.zeros_like(p_BLL)] * (EVIDENCE - len(maps))
        else:
            contact, seen, distance, spread, measured = inputs.relatives_BLL5.unbind(dim=-1)
            maps += [contact * seen, seen, (1.0 - distance / FARTHEST) * measured, 0.2 * spread * measured, measured]
        return torch.stack(maps, dim=-1)

    def _instead(self, usual_BLLK: Tensor, relatives_BLL5: Tensor, *, distances: bool) -> Tensor:
        """What relatives tell in place of what is usual, the more the better they know."""
        contact, seen, distance, spread, measured = relatives_BLL5.unbind(dim=-1)
        logits = [torch.logit(0.03 + 0.94 * contact)[..., None]]
        weights = [seen.sqrt()[..., None]]
        if distances:
            floor, between, few = self.relative_sd.abs()
            sd = floor + between * spread + few * (1.0 - measured)
            edges = torch.tensor(BIN_EDGES, device=usual_BLLK.device)
            below = torch.special.ndtr((edges - distance[..., None]) / sd[..., None])
            share = torch.diff(F.pad(F.pad(below, (1, 0), value=0.0), (0, 1), value=1.0), dim=-1)
            logits.append(torch.log(share + _LEAST_SHARE))
            weights.append(measured.sqrt()[..., None].expand_as(share))
        return torch.lerp(usual_BLLK, torch.cat(logits, dim=-1), torch.cat(weights, dim=-1))

    @torch.no_grad()
    def set_usual(self, usual_SK: Tensor) -> None:
        """Start from what is usual at each separation.

        Args:
            usual_SK: log-odds of a contact, and log-shares of the bins, for each range.
        """
        self.separation.weight.copy_(usual_SK)


def _scaled_log(p_BLL: Tensor) -> Tensor:
    """0 for no probability, 1 for certainty."""
    return torch.log(p_BLL / _EPSILON + 1.0) / math.log(1.0 / _EPSILON + 1.0)


def separation_ranges(length: int, device: torch.device | None = None) -> Tensor:
    """(L, L) number of the range that |i - j| lies in, below ``SEPARATION_RANGES``."""
    position = torch.arange(length, device=device)
    apart_LL = (position[:, None] - position).abs()
    return torch.bucketize(apart_LL, torch.tensor(_SEPARATIONS, device=device), right=True)
