"""Training of one contact or distance head: the loss, drawn batches, a running mean of the weights, exact resume.

Shape suffixes: B batch, L residues, S ranges of separation, K outputs of a pair or bins of distance.

Everything random follows from the seed and the step, so a run that was stopped and resumed ends with the same weights.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.rna.chains import FARTHEST, LONG_RANGE, Chain
from rnafm_cli.structure.batches import ChainBatch, Dropouts, Example, collate_chains, draw_batches
from rnafm_cli.structure.fold_training import head_config
from rnafm_cli.structure.pair import PairConfig
from rnafm_cli.structure.tertiary_data import chains_sha256
from rnafm_cli.structure.tertiary_head import (
    BIN_CENTRES,
    BIN_EDGES,
    SEPARATION_RANGES,
    TertiaryHead,
    TertiaryLogits,
    separation_ranges,
)
from rnafm_cli.structure.tertiary_recipe import LossSection, TertiaryRecipe
from rnafm_cli.training.head_state import CHECKPOINT, HeadState
from rnafm_cli.training.optimizers import decay_groups, rate_at
from rnafm_cli.training.run_log import CsvLog
from rnafm_cli.training.stop_signals import StopSignals
from rnafm_cli.weights.files import Card, save_model_file

__all__ = ["HEAD_FILE", "Start", "TertiaryTrainer", "distance_bins", "new_head", "tertiary_loss", "usual_logits"]


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


HEAD_FILE = "head.safetensors"
_READOUT = ("out", "direct", "separation")
_PARTS = ("total", "contact", "bins", "square")
_COLUMNS = ("step", "round", *_PARTS, "rate", "grad_norm", "cells_per_s", "seconds")


@dataclass(frozen=True)
class Start:
    """A pair head to begin with: its configuration, and its tensors; without them it only gives the shape."""

    config: PairConfig
    tensors: dict[str, Tensor] | None


def new_head(
    recipe: TertiaryRecipe, examples: Sequence[Example], shown: frozenset[str], *, start: Start | None, seed: int
) -> TertiaryHead:
    """A head to train on some examples; of what is usual at each separation it knows already.

    Args:
        shown: inputs that it will see.
        start: pair head to begin with; None for a random one of the recipe's shape.
    """
    torch.manual_seed(seed)
    if start is not None:
        pair = dataclasses.replace(start.config, inputs=tuple(name for name in start.config.inputs if name in shown))
    else:
        rows_LD = next((one.embedding_LD for one in examples if one.embedding_LD is not None), None)
        width = rows_LD.shape[1] if rows_LD is not None and "embedding" in shown else 0
        pair = head_config(recipe.trunk_recipe(), width, prior="prior" in shown)
        pair = dataclasses.replace(pair, inputs=tuple(name for name in pair.inputs if name in shown))
    head = TertiaryHead(recipe.network(pair))
    if start is not None and start.tensors is not None:
        head.fold.load_state_dict(start.tensors)
    head.set_usual(usual_logits(one.chain for one in examples))
    return head


class TertiaryTrainer:
    """A run in a folder: a checkpoint, ``metrics.csv`` and, at the end, ``head.safetensors`` with its card.

    Args:
        examples: what is trained on, and the probability of drawing each.
        shown: inputs that the head sees.
        card: name, kind, hash of the encoder and source of the data; the rest is filled in.
        soft: share of the target that the examples' soft maps give.
    """

    def __init__(
        self,
        recipe: TertiaryRecipe,
        examples: Sequence[Example],
        weights: np.ndarray,
        folder: Path,
        *,
        shown: frozenset[str],
        card: Card,
        start: Start | None = None,
        soft: float = 0.0,
    ) -> None:
        self.recipe, self.examples, self.weights, self.folder = recipe, examples, weights, folder
        self._shown, self._card, self._soft = shown, card, soft
        self._rows_sha256 = chains_sha256([one.chain for one in examples])
        optim = recipe.optim
        self.head = new_head(recipe, examples, shown, start=start, seed=optim.seed)
        trained = start is not None and start.tensors is not None
        trunk_rate = optim.trunk_rate if trained else optim.rate
        self._trunk_learns = trunk_rate > 0
        self.head.fold.requires_grad_(self._trunk_learns)
        self._optimizer = torch.optim.AdamW(
            [
                {**group, "scale": rate / optim.rate}
                for part, rate in self._parts(trunk_rate)
                for group in decay_groups(part, optim.weight_decay)
                if group["params"]
            ],
            lr=optim.rate,
            betas=(optim.beta1, optim.beta2),
            eps=optim.eps,
            fused=True,
        )
        self._mean = {name: value.detach().clone() for name, value in self.head.state_dict().items()}
        self.step, self._round, self._batch = 0, 0, 0
        self._seconds = 0.0

    def train(self, *, max_minutes: float | None = None) -> bool:
        """Go on from the folder's checkpoint, if any; True when all steps are done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._restore()
        log = _Log(self.folder / "metrics.csv", self.step)
        run = self.recipe.run
        started = saved = time.monotonic()
        before = self._seconds
        stopped = False
        with StopSignals() as signals:
            for chosen, rng in self._batches():
                parts, norm, cells = self._advance(chosen, rng)
                now = time.monotonic()
                self._seconds = before + now - started
                log.add(parts, norm, cells)
                if self.step % run.log_steps == 0 or self.step >= self.recipe.optim.steps:
                    log.write(self.step, self._round, rate_at(self.step - 1, self.recipe.optim), self._seconds)
                out_of_time = max_minutes is not None and now - started >= 60 * max_minutes
                stopped = out_of_time or signals.received is not None
                if stopped or self.step >= self.recipe.optim.steps:
                    break
                if now - saved >= 60 * run.save_minutes:
                    self._save()
                    saved = now
        log.close()
        finished = self.step >= self.recipe.optim.steps
        if finished:
            self.export({})
            (self.folder / CHECKPOINT).unlink(missing_ok=True)
        else:
            self._save()
        return finished

    def mean_head(self) -> TertiaryHead:
        """The head with the running mean of its weights, in evaluation mode."""
        averaged = copy.deepcopy(self.head)
        averaged.load_state_dict(self._mean)
        return averaged.eval()

    def export(self, metrics: dict[str, Any]) -> Card:
        """Write the head and its card."""
        head = self.mean_head()
        return save_model_file(
            self.folder / HEAD_FILE,
            head.state_dict(),
            dataclasses.replace(
                self._card,
                config=dataclasses.asdict(head.config),
                dtype="float16",
                recipe={**self.recipe.to_dict(), "step": self.step, "seconds": round(self._seconds)},
                seed=self.recipe.optim.seed,
                metrics=metrics,
            ),
        )

    def _parts(self, trunk_rate: float) -> list[tuple[nn.Module, float]]:
        optim = self.recipe.optim
        readout = nn.ModuleDict({name: getattr(self.head, name) for name in _READOUT})
        rest = nn.ModuleDict(
            {
                name: part
                for name, part in self.head.named_children()
                if name not in ("fold", *_READOUT) and list(part.parameters())
            }
        )
        parts: list[tuple[nn.Module, float]] = [(rest, optim.rate), (readout, optim.readout_rate)]
        return [*parts, (self.head.fold, trunk_rate)] if self._trunk_learns else parts

    def _batches(self) -> Iterator[tuple[list[Example], np.random.Generator]]:
        seed, section = self.recipe.optim.seed, self.recipe.sampling
        lengths = np.minimum([len(one.chain) for one in self.examples], section.crop)
        if self.step >= self.recipe.optim.steps:
            return
        while True:
            rng = np.random.default_rng([seed, self._round])
            batches = draw_batches(lengths, self.weights, self.recipe.draw_rules(), rng)
            while self._batch < len(batches):
                rng = np.random.default_rng([seed, self._round, self._batch])
                chosen = [self.examples[k] for k in batches[self._batch]]
                self._batch += 1
                yield chosen, rng
            self._round, self._batch = self._round + 1, 0

    def _advance(self, chosen: list[Example], rng: np.random.Generator) -> tuple[dict[str, float], float, int]:
        variation, optim = self.recipe.variation, self.recipe.optim
        batch = self._collate(chosen, variation.noise, rng)
        torch.manual_seed(int(rng.integers(2**62)))
        self.head.train()
        if not self._trunk_learns:
            self.head.fold.eval()
        with mixed_precision("cpu", bf16=self.recipe.run.bf16):
            logits = self.head(batch.inputs)
        parts = tertiary_loss(logits, batch, self.recipe.loss, soft=self._soft)
        for group in self._optimizer.param_groups:
            group["lr"] = rate_at(self.step, optim) * group["scale"]
        self._optimizer.zero_grad(set_to_none=True)
        parts["total"].backward()
        norm = float(nn.utils.clip_grad_norm_(self.head.parameters(), optim.clip or math.inf))
        if math.isfinite(norm):
            self._optimizer.step()
        self.step += 1
        # Early weights are far from where they end: a short memory at first.
        decay = min(optim.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.head.state_dict().items():
                self._mean[name].lerp_(value, 1 - decay)
        return {name: float(value.detach()) for name, value in parts.items()}, norm, batch.contact_BLL.numel()

    def _collate(self, chosen: list[Example], noise: float, rng: np.random.Generator) -> ChainBatch:
        variation = self.recipe.variation
        dropouts = Dropouts(
            embedding=variation.drop_embedding, sequence=variation.drop_sequence, prior=variation.drop_prior
        )
        return collate_chains(
            chosen, crop=self.recipe.sampling.crop, rng=rng, shown=self._shown, dropouts=dropouts, noise=noise
        )

    def _save(self) -> None:
        state = HeadState(
            trained=self.head.state_dict(),
            mean=self._mean,
            optimizer=self._optimizer.state_dict(),
            step=self.step,
            round=self._round,
            batch=self._batch,
            seconds=self._seconds,
            best=0.0,
            since_best=0,
            head=dataclasses.asdict(self.head.config),
            rows_sha256=self._rows_sha256,
            encoder_sha256=self._card.encoder_sha256,
        )
        state.save(self.folder / CHECKPOINT)

    def _restore(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        state = HeadState.load(path)
        state.check_same_run(
            path,
            trained=self.head.state_dict(),
            head=dataclasses.asdict(self.head.config),
            rows_sha256=self._rows_sha256,
            encoder_sha256=self._card.encoder_sha256,
            what="chains",
        )
        state.restore(self.head, self._optimizer)
        self._mean = state.mean
        self.step, self._round, self._batch = state.step, state.round, state.batch
        self._seconds = state.seconds


class _Log:
    """Collects steps and writes a row of their means when asked."""

    def __init__(self, path: Path, step: int) -> None:
        self._table = CsvLog(path, _COLUMNS, step)
        self._clear()

    def add(self, parts: dict[str, float], norm: float, cells: int) -> None:
        self._parts.append([parts.get(name, math.nan) for name in _PARTS])
        self._norms.append(norm)
        self._cells += cells

    def write(self, step: int, number: int, rate: float, seconds: float) -> None:
        means = np.mean(self._parts, axis=0)
        row: dict[str, Any] = {name: float(value) for name, value in zip(_PARTS, means, strict=True)}
        row |= {"step": step, "round": number, "rate": rate, "grad_norm": float(np.mean(self._norms))}
        row |= {"cells_per_s": self._cells / max(1e-9, time.monotonic() - self._start), "seconds": seconds}
        self._table.add(row)
        self._clear()

    def close(self) -> None:
        self._table.close()

    def _clear(self) -> None:
        self._parts: list[list[float]] = []
        self._norms: list[float] = []
        self._cells = 0
        self._start = time.monotonic()
