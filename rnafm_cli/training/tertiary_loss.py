"""What contact and distance heads are trained for.

Shape suffixes: B batch, L residues, S ranges of separation, K outputs of a pair or bins of distance.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from rnafm_cli.data.chain_batches import ChainBatch
from rnafm_cli.models.tertiary import BIN_CENTRES, BIN_EDGES, SEPARATION_RANGES, TertiaryLogits, separation_ranges
from rnafm_cli.rna.chains import FARTHEST, LONG_RANGE, Chain
from rnafm_cli.training.tertiary_config import LossSection

__all__ = ["distance_bins", "tertiary_loss", "usual_logits"]

_PSEUDO_COUNT = 5.0


def distance_bins(distance: Tensor) -> Tensor:
    """Number of the bin that a distance (Å) lies in."""
    return torch.bucketize(distance.contiguous(), torch.tensor(BIN_EDGES), right=True)


def tertiary_loss(
    logits: TertiaryLogits, batch: ChainBatch, weights: LossSection, *, soft: float = 0.0
) -> dict[str, Tensor]:
    """Parts of the loss: ``contact`` and ``bins`` (cross-entropy, nats), ``square`` (of distance / 20), ``total``.

    Every chain counts alike, as in the scores: means over its pairs, then over the chains that know anything.

    Args:
        soft: share of the target of contacts and bins that other heads give, where the batch has such.
    """
    length = batch.contact_BLL.shape[1]
    position = torch.arange(length)
    apart_LL = position[None, :] - position[:, None]
    upper_LL = apart_LL > 0
    known_BLL = (batch.contact_BLL >= 0) & upper_LL
    target_BLL = (batch.contact_BLL == 1).float()
    if soft and batch.soft_contact_BLL is not None:
        target_BLL = torch.lerp(target_BLL, batch.soft_contact_BLL, soft)
    weight_BLL = known_BLL * torch.where(apart_LL >= LONG_RANGE, 1.0, weights.near)
    contact_BLL = F.binary_cross_entropy_with_logits(logits.contact_BLL, target_BLL, reduction="none")
    parts = {"contact": _mean(contact_BLL, weight_BLL)}

    measured_BLL = ~batch.distance_BLL.isnan() & upper_LL
    assert logits.bins_BLLK is not None
    if weights.bins or weights.square:
        distance_BLL = torch.nan_to_num(batch.distance_BLL, nan=FARTHEST)
        log_share_BLLK = logits.bins_BLLK.log_softmax(dim=-1)
        loss_BLL = -log_share_BLLK.gather(-1, distance_bins(distance_BLL)[..., None])[..., 0]
        if soft and batch.soft_bins_BLLK is not None:
            loss_BLL = torch.lerp(loss_BLL, -(batch.soft_bins_BLLK * log_share_BLLK).sum(dim=-1), soft)
        parts["bins"] = _mean(loss_BLL, measured_BLL.float())
        square_BLL = torch.zeros_like(distance_BLL)
        for readout in ("binned", "regression"):
            found_BLL = _expected(logits, readout)
            square_BLL = square_BLL + (found_BLL - distance_BLL / FARTHEST).square()
        parts["square"] = _mean(square_BLL, measured_BLL.float())
    parts["total"] = torch.stack([getattr(weights, name) * value for name, value in parts.items()]).sum()
    return parts


def usual_logits(chains: Iterable[Chain]) -> Tensor:
    """(S, K) log-odds of a contact, of distance / 20, and log-shares of the bins, at each range of separation.

    Ranges without examples take the values of the one before.
    """
    bins = len(BIN_CENTRES)
    contact_S2 = torch.zeros(SEPARATION_RANGES, 2, dtype=torch.float64)
    bins_SK = torch.zeros(SEPARATION_RANGES, bins, dtype=torch.float64)
    for chain in chains:
        upper_LL = torch.ones(len(chain), len(chain)).triu(1).bool()
        range_LL = separation_ranges(len(chain))
        contact_LL = torch.from_numpy(chain.contacts()).long()
        known_LL = upper_LL & (contact_LL >= 0)
        _count(contact_S2, range_LL[known_LL], contact_LL[known_LL])
        clipped_LL = chain.clipped_distances()
        if clipped_LL is not None:
            distance_LL = torch.from_numpy(clipped_LL)
            measured_LL = upper_LL & ~distance_LL.isnan()
            _count(bins_SK, range_LL[measured_LL], distance_bins(distance_LL[measured_LL]))
    shares = []
    for counts in (contact_S2, bins_SK):
        overall = counts.sum(dim=0) + 1.0
        shares.append(_shares(counts, overall / overall.sum()))
    contact_SK, distance_SK = shares
    centres_K = torch.tensor(BIN_CENTRES, dtype=torch.float64)
    mean_S = ((distance_SK @ centres_K) / FARTHEST).clamp(0.02, 0.98)
    odds_S = (contact_SK[:, 1] / contact_SK[:, 0]).log()
    return torch.cat([odds_S[:, None], mean_S.logit()[:, None], distance_SK.log()], dim=1).float()


def _mean(value_BLL: Tensor, weight_BLL: Tensor) -> Tensor:
    total_B = weight_BLL.sum(dim=(1, 2))
    mean_B = (value_BLL * weight_BLL).sum(dim=(1, 2)) / total_B.clamp(min=1e-6)
    return mean_B.sum() / (total_B > 0).sum().clamp(min=1)


def _expected(logits: TertiaryLogits, readout: str) -> Tensor:
    """(B, L, L) distance / 20."""
    assert logits.bins_BLLK is not None and logits.regression_BLL is not None
    if readout == "regression":
        return logits.regression_BLL.sigmoid()
    return logits.bins_BLLK.softmax(dim=-1) @ (torch.tensor(BIN_CENTRES) / FARTHEST)


def _count(table: Tensor, rows: Tensor, columns: Tensor) -> None:
    table.index_put_((rows, columns), torch.ones(len(rows), dtype=table.dtype), accumulate=True)


def _shares(counts: Tensor, overall: Tensor) -> Tensor:
    """Shares of each row, pulled towards those of the row before, so that empty rows repeat it."""
    rows, before = [], overall
    for row in counts:
        before = (row + _PSEUDO_COUNT * before) / (row.sum() + _PSEUDO_COUNT)
        rows.append(before.clamp(min=1e-4))
    return torch.stack(rows)
