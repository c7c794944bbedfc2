"""Contact and distance heads as a task of the trainer: drawn chains, the loss, maps of held-out chains.

Shape suffixes: B batch, L residues, S ranges of separation, K outputs of a pair or bins of distance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.batches import buckets
from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.rna.chains import FARTHEST, LONG_RANGE, Chain
from rnafm_cli.structure.batches import ChainBatch, Example, SoftMaps, collate_chains, draw_batches
from rnafm_cli.structure.fold_task import Start, head_config
from rnafm_cli.structure.pair import PairConfig, pair_inputs
from rnafm_cli.structure.tertiary_data import chains_sha256
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

__all__ = [
    "PredictedMaps",
    "TertiaryTask",
    "distance_bins",
    "map_head_config",
    "predict_chains",
    "soft_maps",
    "tertiary_loss",
    "usual_logits",
]


_READOUT = ("out", "direct", "separation")
_CELLS_AT_ONCE = 200_000
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


def map_head_config(recipe: TertiaryRecipe, pair: PairConfig) -> TertiaryConfig:
    """The head that a recipe describes, above a given pair head."""
    section = recipe.map
    return TertiaryConfig(
        pair=pair,
        widths=tuple(section.channels + k * section.growth for k in range(section.levels)),
        blocks=section.blocks,
        fine=section.fine,
        patch=section.patch,
        dropout=section.dropout,
        readout=section.readout,
    )


class TertiaryTask(Task):
    """Chains, loss and measurement of a contact or distance head.

    Args:
        examples: what is trained on, and the probability of drawing each.
        shown: inputs that the head sees.
        start: a pair head to begin with; None for a random one of the recipe's shape.
        soft: share of the target that the examples' soft maps give.
        held_out: chains to predict at the end; ``maps`` then holds what is predicted.
    """

    row_name = "chains"
    parts = ("contact", "bins", "square")

    def __init__(
        self,
        kind: Literal["contact", "distance"],
        recipe: TertiaryRecipe,
        examples: Sequence[Example],
        weights: np.ndarray,
        *,
        shown: frozenset[str],
        start: Start | None = None,
        soft: float = 0.0,
        held_out: Sequence[Example] = (),
        metrics: dict[str, object] | None = None,
    ) -> None:
        self.kind, self._recipe, self._examples, self._weights = kind, recipe, examples, weights
        self._shown, self._start, self._soft, self._held_out = shown, start, soft, held_out
        self._metrics, self.maps = metrics or {}, list[PredictedMaps]()
        self._lengths = np.minimum([len(one.chain) for one in examples], recipe.sampling.crop)
        self.rows_sha256 = chains_sha256([one.chain for one in examples])
        trained = start is not None and start.tensors is not None
        self._trunk_rate = recipe.optim.trunk_rate if trained else recipe.optim.rate

    def new_head(self) -> TertiaryHead:
        """A head that knows already what is usual at each separation."""
        start, shown = self._start, self._shown
        if start is not None:
            # Tensors for families stay, though chains are shown without.
            names = [name for name in start.config.inputs if name in shown or name == "template"]
            pair = dataclasses.replace(start.config, inputs=tuple(names))
        else:
            rows_LD = next((one.embedding_LD for one in self._examples if one.embedding_LD is not None), None)
            width = rows_LD.shape[1] if rows_LD is not None and "embedding" in shown else 0
            names = [name for name in ("embedding", "sequence", "prior") if name in shown]
            pair = head_config(self._recipe.trunk, width, inputs=names)
        head = TertiaryHead(map_head_config(self._recipe, pair))
        if start is not None and start.tensors is not None:
            head.fold.load_state_dict(start.tensors)
        head.set_usual(usual_logits(one.chain for one in self._examples))
        head.fold.requires_grad_(self._trunk_rate > 0)
        return head

    def rates(self, head: nn.Module, rate: float) -> list[tuple[nn.Module, float]]:
        """The last linear maps learn fast, a pair head that comes trained slowly or not at all."""
        parts = {name: part for name, part in head.named_children() if name != "fold"}
        readout = nn.ModuleDict({name: parts.pop(name) for name in _READOUT})
        found: list[tuple[nn.Module, float]] = [
            (nn.ModuleDict(parts), rate),
            (readout, self._recipe.optim.readout_rate),
        ]
        return [*found, (head.get_submodule("fold"), self._trunk_rate)] if self._trunk_rate > 0 else found

    def batches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Chains drawn by their weights, of similar length in each batch."""
        return draw_batches(self._lengths, self._weights, self._recipe.sampling, rng)

    def loss(
        self, head: nn.Module, encoder: object, rows: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Contacts, distance bins and squared errors together."""
        variation = self._recipe.variation
        batch = collate_chains(
            [self._examples[k] for k in rows],
            crop=self._recipe.sampling.crop,
            rng=rng,
            shown=self._shown,
            variation=variation,
            noise=variation.noise,
        )
        seed_torch(rng)
        if not self._trunk_rate > 0:
            head.get_submodule("fold").eval()
        with mixed_precision("cpu", bf16=self._recipe.run.bf16):
            logits = head(batch.inputs)
        parts = tertiary_loss(logits, batch, self._recipe.loss, soft=self._soft)
        return parts.pop("total"), {name: float(value.detach()) for name, value in parts.items()}

    def measure(self, head: nn.Module, encoder: object) -> Scored:
        """Predict the chains that are held out; their scores are the cross-validation's."""
        assert isinstance(head, TertiaryHead)
        self.maps = predict_chains(head, self._held_out, shown=self._shown, bf16=self._recipe.run.bf16)
        return Scored(0.0, self._metrics)


@dataclass(frozen=True)
class PredictedMaps:
    """What is predicted of one chain: contact probabilities, distances and their deviation (Å), all (L, L)."""

    chain: Chain
    contact_LL: np.ndarray
    distance_LL: np.ndarray
    sd_LL: np.ndarray | None = None
    regression_LL: np.ndarray | None = None
    """Distances by the other readout."""


@torch.inference_mode()
def predict_chains(
    head: TertiaryHead, examples: Sequence[Example], *, shown: frozenset[str], bf16: bool = True
) -> list[PredictedMaps]:
    """Maps of whole chains, in the order of the examples."""
    found: dict[int, PredictedMaps] = {}
    for group in buckets([len(one.chain) ** 2 for one in examples], _CELLS_AT_ONCE):
        part = [examples[k] for k in group]
        logits = _run(head, part, shown, bf16)
        contact = logits.contacts().numpy()
        distance, sd = (values.numpy() for values in logits.distances())
        regression = logits.distances("regression")[0].numpy()
        for row, (k, one) in enumerate(zip(group, part, strict=True)):
            square = (row, slice(len(one.chain)), slice(len(one.chain)))
            maps = [values[square].copy() for values in (contact, distance, sd, regression)]
            found[k] = PredictedMaps(one.chain, *maps)
    return [found[k] for k in range(len(examples))]


@torch.inference_mode()
def soft_maps(heads: Sequence[TertiaryHead], example: Example, *, shown: frozenset[str], bf16: bool = True) -> SoftMaps:
    """The mean of what several heads say of a chain."""
    every = [_run(head, [example], shown, bf16) for head in heads]
    contact_LL = torch.stack([logits.contacts()[0] for logits in every]).mean(dim=0)
    shares = [logits.bins_BLLK[0].softmax(dim=-1) for logits in every if logits.bins_BLLK is not None]
    return SoftMaps(contact_LL.half().clone(), torch.stack(shares).mean(dim=0).half().clone())


def _run(head: TertiaryHead, part: Sequence[Example], shown: frozenset[str], bf16: bool) -> TertiaryLogits:
    reads = "embedding" in shown and head.config.pair.embedding > 0
    embeddings = [one.embedding_LD for one in part if one.embedding_LD is not None] if reads else []
    priors = [one.prior_LL for one in part if one.prior_LL is not None] if "prior" in shown else []
    inputs = pair_inputs(
        [one.chain.sequence for one in part],
        embeddings=[rows_LD.float() for rows_LD in embeddings] or None,
        priors=priors or None,
        width=head.config.pair.embedding,
        use_sequence="sequence" in shown,
    )
    with mixed_precision("cpu", bf16=bf16):
        return head(inputs)
