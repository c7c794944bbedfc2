"""What else a letter shall tell: what relatives have in its place, its partner, and how often it is unpaired.

Shape suffixes: B rows, R rows with aligned windows, T tokens with <cls>/<eos>, D width, A letters of aligned windows,
U letters of folded windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.pretrain.alignments import NO_PARTNER, UNTOLD, AlignedWindow
from rnafm_cli.pretrain.config import TargetSection
from rnafm_cli.pretrain.sampling import mix64, uniform
from rnafm_cli.rna.alphabet import NUCLEOTIDE
from rnafm_cli.rna.thermo import pair_probabilities

__all__ = ["TERMS", "TargetDraft", "TargetHeads", "Targets"]


TERMS = ("profile", "partner", "unpaired")
_PARTNER_WIDTH = 64
_LEAST_DISTANCE = 4
_FAR_BELOW = -1e4


@dataclass(frozen=True)
class Targets:
    """Of one micro-batch; places are flat, row * T + column."""

    aligned_A: Tensor
    profile_A4: Tensor
    partner_A: Tensor
    """Flat place of the partner, ``NO_PARTNER`` or ``UNTOLD``."""
    folded_U: Tensor
    unpaired_U: Tensor

    def to(self, device: torch.device) -> Targets:
        """The same on a device."""
        return Targets(**{name: values.to(device, non_blocking=True) for name, values in vars(self).items()})


class TargetDraft:
    """Collects the targets of a micro-batch, window by window."""

    def __init__(self, section: TargetSection) -> None:
        self._section = section
        self._aligned: list[np.ndarray] = [np.empty(0, np.int64)]
        self._profile: list[np.ndarray] = [np.empty((0, 4), np.float32)]
        self._partner: list[np.ndarray] = [np.empty(0, np.int64)]
        self._folded: list[np.ndarray] = [np.empty(0, np.int64)]
        self._unpaired: list[np.ndarray] = [np.empty(0, np.float32)]

    def add(self, first: int, tokens_L: np.ndarray, key: np.uint64, aligned: AlignedWindow | None) -> None:
        """Count in a window whose first letter has the flat place ``first``.

        Args:
            tokens_L: its true letters.
            aligned: what its family says, None for a sequence of the corpus.
        """
        section = self._section
        if aligned is not None:
            self._aligned.append(first + np.arange(len(tokens_L)))
            self._profile.append(aligned.profile_L4)
            self._partner.append(np.where(aligned.partner_L >= 0, aligned.partner_L + first, aligned.partner_L))
        if (
            section.unpaired
            and len(tokens_L) <= section.longest
            and uniform(mix64(key ^ np.uint64(12))) < section.folded
        ):
            p_LL = pair_probabilities(NUCLEOTIDE.decode(tokens_L))
            self._folded.append(first + np.arange(len(tokens_L)))
            self._unpaired.append((1 - p_LL.sum(axis=1)).clip(0, 1).astype(np.float32))

    def finish(self) -> Targets:
        """All of it as tensors."""
        columns = (self._aligned, self._profile, self._partner, self._folded, self._unpaired)
        return Targets(*(torch.from_numpy(np.concatenate(values)) for values in columns))


class TargetHeads(nn.Module):
    """Small heads on the last layer for the terms that have a weight; saved in checkpoints, not in the model file."""

    def __init__(self, width: int, section: TargetSection) -> None:
        super().__init__()
        heads: dict[str, nn.Module] = {
            "profile": nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 4)),
            "partner": nn.ModuleDict(
                {
                    "query": nn.Linear(width, _PARTNER_WIDTH),
                    "key": nn.Linear(width, _PARTNER_WIDTH),
                    "none": nn.Linear(width, 1),
                }
            ),
            "unpaired": nn.Linear(width, 1),
        }
        self.heads = nn.ModuleDict({term: heads[term] for term in TERMS if getattr(section, term)})

    def forward(self, x_BTD: Tensor, tokens_BT: Tensor, segments_BT: Tensor | None, targets: Targets) -> Tensor:
        """(3,) mean cross-entropies in nats, in the order of ``TERMS``; 0 for a term without a weight or a target."""
        flat_ND = x_BTD.flatten(0, 1)
        # Every head has a part in every loss, however small, or processes would wait for each other's gradients.
        nothing = sum(
            (parameter.sum() * 0.0 for parameter in self.heads.parameters()), x_BTD.new_zeros((), dtype=torch.float32)
        )
        losses = dict.fromkeys(TERMS, nothing)
        if "profile" in self.heads and len(targets.aligned_A):
            found_A4 = self.heads["profile"](flat_ND[targets.aligned_A]).float().log_softmax(dim=-1)
            losses["profile"] = nothing - (targets.profile_A4 * found_A4).sum(dim=-1).mean()
        if "partner" in self.heads and bool((targets.partner_A != UNTOLD).any()):
            losses["partner"] = nothing + self._partner_loss(x_BTD, tokens_BT, segments_BT, targets)
        if "unpaired" in self.heads and len(targets.folded_U):
            logits_U = self.heads["unpaired"](flat_ND[targets.folded_U])[:, 0].float()
            losses["unpaired"] = nothing + F.binary_cross_entropy_with_logits(logits_U, targets.unpaired_U)
        return torch.stack([losses[term] for term in TERMS])

    def _partner_loss(self, x_BTD: Tensor, tokens_BT: Tensor, segments_BT: Tensor | None, targets: Targets) -> Tensor:
        """Each told letter chooses its partner among the letters of its window, or none."""
        head: nn.ModuleDict = self.heads["partner"]  # type: ignore[assignment]
        told = targets.partner_A != UNTOLD
        place_A, partner_A = targets.aligned_A[told], targets.partner_A[told]
        width = tokens_BT.shape[1]
        row_R, own_A = torch.unique(place_A // width, return_inverse=True)
        x_RTD = x_BTD[row_R]
        score_RTT = (head["query"](x_RTD) @ head["key"](x_RTD).transpose(1, 2)).float() * _PARTNER_WIDTH**-0.5
        segments_RT = torch.zeros_like(tokens_BT)[row_R] if segments_BT is None else segments_BT[row_R]
        letter_RT = (tokens_BT[row_R] != NUCLEOTIDE.cls) & (tokens_BT[row_R] != NUCLEOTIDE.eos) & (segments_RT >= 0)
        column_T = torch.arange(width, device=x_BTD.device)
        allowed_RTT = (segments_RT[:, :, None] == segments_RT[:, None, :]) & letter_RT[:, None, :]
        allowed_RTT &= (column_T[:, None] - column_T).abs() >= _LEAST_DISTANCE
        score_AT = score_RTT.masked_fill(~allowed_RTT, _FAR_BELOW)[own_A, place_A % width]
        none_A1 = head["none"](x_BTD.flatten(0, 1)[place_A]).float()
        choice_A = torch.where(partner_A == NO_PARTNER, width, partner_A % width)
        return F.cross_entropy(torch.cat([score_AT, none_A1], dim=1), choice_A)
