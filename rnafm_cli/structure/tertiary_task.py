"""Heads for contacts and distances as a task of the trainer: drawn chains, the loss, maps of held-out chains.

Shape suffixes: B batch, L residues, S ranges of separation, K outputs of a pair or bins of distance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.runtime import Runtime, mixed_precision
from rnafm_cli.encoder.workers import buckets
from rnafm_cli.rna.chains import FARTHEST, LONG_RANGE, Chain
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.batches import ChainBatch, Example, collate_chains, draw_batches
from rnafm_cli.structure.predict import Query
from rnafm_cli.structure.tertiary import HEAD_KIND, TertiaryMaps, TertiaryPredictor
from rnafm_cli.structure.tertiary_data import ChainSet, chains_sha256
from rnafm_cli.structure.tertiary_head import (
    BIN_CENTRES,
    BIN_EDGES,
    SEPARATION_RANGES,
    TertiaryConfig,
    TertiaryHead,
    TertiaryLogits,
    separation_ranges,
)
from rnafm_cli.training.recipes import LossSection, TertiaryRecipe
from rnafm_cli.training.trainer import Scored, Task, seed_torch

_READOUT = ("out", "direct", "separation")
_CELLS_AT_ONCE = 200_000
_PSEUDO_COUNT = 5.0


def distance_bins(distance: Tensor) -> Tensor:
    """Number of the bin that a distance (Å) lies in."""
    return torch.bucketize(distance.contiguous(), torch.tensor(BIN_EDGES), right=True)


def tertiary_loss(logits: TertiaryLogits, batch: ChainBatch, weights: LossSection) -> dict[str, Tensor]:
    """Parts of the loss: ``contact`` and ``bins`` (cross-entropy, nats), ``square`` (of distance / 20), ``total``.

    Every chain counts alike, as in the scores: means over its pairs, then over the chains that know anything.
    """
    assert logits.bins_BLLK is not None
    length = batch.contact_BLL.shape[1]
    position = torch.arange(length)
    apart_LL = position[None, :] - position[:, None]
    upper_LL = apart_LL > 0
    known_BLL = (batch.contact_BLL >= 0) & upper_LL
    weight_BLL = known_BLL * torch.where(apart_LL >= LONG_RANGE, 1.0, weights.near)
    target_BLL = (batch.contact_BLL == 1).float()
    contact_BLL = F.binary_cross_entropy_with_logits(logits.contact_BLL, target_BLL, reduction="none")
    measured_BLL = ~batch.distance_BLL.isnan() & upper_LL
    distance_BLL = torch.nan_to_num(batch.distance_BLL, nan=FARTHEST)
    log_share_BLLK = logits.bins_BLLK.log_softmax(dim=-1)
    bins_BLL = -log_share_BLLK.gather(-1, distance_bins(distance_BLL)[..., None])[..., 0]
    expected_BLL = log_share_BLLK.exp() @ torch.tensor(BIN_CENTRES)
    square_BLL = ((expected_BLL - distance_BLL) / FARTHEST).square()
    parts = {
        "contact": _mean(contact_BLL, weight_BLL),
        "bins": _mean(bins_BLL, measured_BLL.float()),
        "square": _mean(square_BLL, measured_BLL.float()),
    }
    parts["total"] = torch.stack([getattr(weights, name) * value for name, value in parts.items()]).sum()
    return parts


def usual_logits(chains: Iterable[Chain]) -> Tensor:
    """(S, K) log-odds of a contact, and log-shares of the bins, at each range of separation.

    Ranges without examples take the values of the one before.
    """
    contact_S2 = torch.zeros(SEPARATION_RANGES, 2, dtype=torch.float64)
    bins_SK = torch.zeros(SEPARATION_RANGES, len(BIN_CENTRES), dtype=torch.float64)
    for chain in chains:
        upper_LL = torch.ones(len(chain), len(chain)).triu(1).bool()
        range_LL = separation_ranges(len(chain))
        contact_LL = torch.from_numpy(chain.contacts()).long()
        known_LL = upper_LL & (contact_LL >= 0)
        _count(contact_S2, range_LL[known_LL], contact_LL[known_LL])
        if (clipped_LL := chain.clipped_distances()) is not None:
            distance_LL = torch.from_numpy(clipped_LL)
            measured_LL = upper_LL & ~distance_LL.isnan()
            _count(bins_SK, range_LL[measured_LL], distance_bins(distance_LL[measured_LL]))
    contact_SK, distance_SK = _shares(contact_S2), _shares(bins_SK)
    odds_S = (contact_SK[:, 1] / contact_SK[:, 0]).log()
    return torch.cat([odds_S[:, None], distance_SK.log()], dim=1).float()


def _mean(value_BLL: Tensor, weight_BLL: Tensor) -> Tensor:
    total_B = weight_BLL.sum(dim=(1, 2))
    mean_B = (value_BLL * weight_BLL).sum(dim=(1, 2)) / total_B.clamp(min=1e-6)
    return mean_B.sum() / (total_B > 0).sum().clamp(min=1)


def _count(table: Tensor, rows: Tensor, columns: Tensor) -> None:
    table.index_put_((rows, columns), torch.ones(len(rows), dtype=table.dtype), accumulate=True)


def _shares(counts: Tensor) -> Tensor:
    """Shares of each row, pulled towards those of the row before, so that empty rows repeat it."""
    overall = counts.sum(dim=0) + 1.0
    rows, before = [], overall / overall.sum()
    for row in counts:
        before = (row + _PSEUDO_COUNT * before) / (row.sum() + _PSEUDO_COUNT)
        rows.append(before.clamp(min=1e-4))
    return torch.stack(rows)


class TertiaryTask(Task):
    """Chains, loss and measurement of a head for contacts and distances.

    Args:
        config: of the head.
        fold: tensors of a trained pair head to begin with; None for a random one.
        held_out: fold that is predicted at the end: ``maps`` then holds what is predicted; None to train on all.
        metrics: for the card.
    """

    kind = HEAD_KIND
    row_name = "chains"
    parts = ("contact", "bins", "square")
    files, midway = ("head", None), False

    def __init__(
        self,
        recipe: TertiaryRecipe,
        data: ChainSet,
        config: TertiaryConfig,
        *,
        fold: dict[str, Tensor] | None = None,
        held_out: int | None = None,
        metrics: dict[str, object] | None = None,
    ) -> None:
        self._recipe, self._config, self._fold, self._metrics = recipe, config, fold, metrics or {}
        self._examples, self._held_out = data.outside(held_out), data.inside(held_out)
        self._weights, self.maps = data.weights(held_out, recipe.sampling), list[TertiaryMaps]()
        self._lengths = np.minimum([len(one.chain) for one in self._examples], recipe.sampling.crop)
        self.rows_sha256 = chains_sha256([one.chain for one in self._examples])
        self._trunk_rate = recipe.optim.trunk_rate if fold is not None else recipe.optim.rate

    def new_head(self) -> TertiaryHead:
        """A head that knows already what is usual at each separation."""
        head = TertiaryHead(self._config)
        if self._fold is not None:
            head.fold.load_state_dict(self._fold)
        head.set_usual(usual_logits(one.chain for one in self._examples))
        head.fold.requires_grad_(self._trunk_rate > 0)
        return head

    def rates(self, head: nn.Module, rate: float) -> list[tuple[nn.Module, float]]:
        """The last linear maps learn fast, a pair head that comes trained slowly or not at all."""
        parts = dict(head.named_children())
        trunk = parts.pop("fold")
        readout = nn.ModuleDict({name: parts.pop(name) for name in _READOUT})
        found = [(nn.ModuleDict(parts), rate), (readout, self._recipe.optim.readout_rate), (trunk, self._trunk_rate)]
        return found if self._trunk_rate > 0 else found[:2]

    def batches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Chains drawn by their weights, of similar length in each batch."""
        return draw_batches(self._lengths, self._weights, self._recipe.sampling, rng)

    def loss(
        self, head: nn.Module, encoder: object, rows: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Contacts, distance bins and squared errors together."""
        batch = collate_chains(
            [self._examples[k] for k in rows],
            self._config.pair,
            crop=self._recipe.sampling.crop,
            rng=rng,
            variation=self._recipe.variation,
        )
        seed_torch(rng)
        if not self._trunk_rate > 0:
            head.get_submodule("fold").eval()
        with mixed_precision("cpu", bf16=self._recipe.run.bf16):
            logits = head(batch.inputs)
        parts = tertiary_loss(logits, batch, self._recipe.loss)
        return parts.pop("total"), {name: float(value.detach()) for name, value in parts.items()}

    def measure(self, head: nn.Module, encoder: object) -> Scored:
        """Predict the chains that are held out; their scores are the cross-validation's."""
        assert isinstance(head, TertiaryHead)
        self.maps = predict_chains(head, self._held_out, bf16=self._recipe.run.bf16)
        return Scored(0.0, self._metrics)


def predict_chains(head: TertiaryHead, examples: Sequence[Example], *, bf16: bool = True) -> list[TertiaryMaps]:
    """Maps of whole chains, in the order of the examples."""
    runtime = Runtime(torch.device("cpu"), torch.bfloat16 if bf16 else torch.float32)
    predictor = TertiaryPredictor(head, runtime, ("contact", "distance"))
    found: dict[int, TertiaryMaps] = {}
    for group in buckets([len(one.chain) ** 2 for one in examples], _CELLS_AT_ONCE):
        part = [examples[k] for k in group]
        queries = [Query(SequenceRecord(one.chain.id, one.chain.sequence)) for one in part]
        found |= zip(group, predictor.run(queries, [one.guide for one in part]), strict=True)
    return [found[k] for k in range(len(examples))]
