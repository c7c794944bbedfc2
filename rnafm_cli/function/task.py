"""RBP and MRL heads as tasks of the trainer: rows, losses, measurement.

One network serves all sets or assays, and each row has a loss on its own set's output. Shape suffixes: B batch,
L positions, K reduced channels, P proteins, M members, A assays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.embed import embed_batch
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.encoder.workers import buckets
from rnafm_cli.function.binding import BindingConfig, BindingHead, WindowInputs
from rnafm_cli.function.heads import HeadStart
from rnafm_cli.function.inputs import NucleotideCache, Reduction, aligned_letters, aligned_rows
from rnafm_cli.function.metrics import crossed_error, fit_platt, rank, regress
from rnafm_cli.function.ribosome_load import LoadConfig, LoadHead, UtrInputs
from rnafm_cli.function.rows import BindingRows, LoadRows, repeats, shown_rows
from rnafm_cli.training.labelled_rows import LabelledRows
from rnafm_cli.training.recipes import BindingRecipe, LoadRecipe
from rnafm_cli.training.trainer import Scored, Task, rows_sha256, seed_torch

__all__ = ["BindingFeatures", "BindingTask", "LoadTask", "binding_config", "load_config", "measured_rows"]


_SCORE_BATCH = 1000
_SPREAD_WEIGHT = 0.1
"""Weight of the likelihood that teaches the variance, beside the squared error; means learn from the latter alone."""

Head = TypeVar("Head", BindingHead, LoadHead)


def _begun(head: Head, reduction: Reduction | None, start: HeadStart | None, *, trained: bool) -> Head:
    """A new head with the run's reduction, fixed unless the encoder is trained too, and a start's weights."""
    if head.reduction is not None and reduction is not None:
        head.reduction.load_state_dict(reduction.state_dict())
        head.reduction.requires_grad_(trained)
    if start is not None:
        start.begin(head)
    return head


def binding_config(recipe: BindingRecipe, proteins: Sequence[str], embedding: int) -> BindingConfig:
    """The head that a recipe describes, for an encoder of width ``embedding`` (0: none)."""
    shape = recipe.head
    return BindingConfig(
        proteins=tuple(proteins),
        embedding=embedding,
        reduced=shape.reduced,
        structure=recipe.data.structured > 0,
        channels=shape.channels,
        kernel=shape.kernel,
        block_kernel=shape.block_kernel,
        dilations=tuple((1, 2, 4)[k % 3] for k in range(shape.blocks)),
        dropout=shape.dropout,
    )


def measured_rows(sets: Sequence[LabelledRows], most: int) -> list[LabelledRows]:
    """The development rows that runs measure on: at most so many of each set, drawn once with seed 0."""
    if most <= 0:
        return list(sets)
    return [rows.take(np.sort(np.random.default_rng(0).permutation(len(rows))[:most])) for rows in sets]


@dataclasses.dataclass
class BindingFeatures:
    """What was computed of windows beforehand.

    Args:
        embeddings, structures: caches, or None.
        embedded, structured: from a training row's number to its place in the cache; -1 for rows that are not in it.
        dev_embedded: places of the measured development rows in the cache, set by set.
    """

    embeddings: NucleotideCache | None = None
    embedded: np.ndarray | None = None
    dev_embedded: Sequence[np.ndarray] = ()
    structures: NucleotideCache | None = None
    structured: np.ndarray | None = None


class BindingTask(Task):
    """Rows, loss and measurement of an RBP head.

    Args:
        reduction: with its axes found; None for a head without embeddings.
        dev: the development rows to measure on, one set for each protein.
        start: a head to begin from.
    """

    kind, measure_name = "rbp", "mean AUPRC"
    score_columns = ("set", "inputs", "rows", "auprc", "auroc")

    def __init__(
        self,
        recipe: BindingRecipe,
        rows: BindingRows,
        config: BindingConfig,
        *,
        reduction: Reduction | None,
        features: BindingFeatures,
        dev: Sequence[LabelledRows],
        start: HeadStart | None = None,
    ) -> None:
        self._start = start
        self.config = config
        self.rows_sha256 = rows_sha256(rows.sequences, rows.labels, rows.sets)
        self._recipe, self._data, self._reduction = recipe, rows, reduction
        self._features, self._dev = features, list(dev)
        self._letters = aligned_letters(rows.sequences, config.window, "middle").to(torch.uint8)
        self._repeats = repeats(rows.sets, recipe.data.set_power)
        bound = np.bincount(rows.sets, weights=rows.labels, minlength=len(rows.proteins))
        unbound = np.bincount(rows.sets, minlength=len(rows.proteins)) - bound
        self._weights = torch.from_numpy((unbound / bound) ** recipe.data.balance).float()

    def new_head(self) -> BindingHead:
        """A head with initial values, or with those of the start."""
        trained = self._recipe.run.encoder == "full"
        return _begun(BindingHead(self.config), self._reduction, self._start, trained=trained)

    def batches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Batches of one round; rows that do not fill a batch wait for another round."""
        order, size = shown_rows(self._repeats, rng), min(self._recipe.optim.batch, len(self._data.sequences))
        return [order[k : k + size] for k in range(0, len(order) - size + 1, size)]

    def loss(
        self, head: nn.Module, encoder: Encoder | None, rows: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy (nats) of each row's own protein."""
        seed_torch(rng)
        inputs = WindowInputs(self._letters[torch.from_numpy(rows)].long())
        data = self._recipe.data
        keep = rng.random((2, len(rows))) >= np.array([[data.drop_embedding], [data.drop_structure]])
        if encoder is not None:
            live = embed_batch(encoder, [self._data.sequences[k] for k in rows], bf16=self._recipe.run.bf16)
            assert isinstance(head, BindingHead) and head.reduction is not None
            inputs.reduced_BLK = self._padded([head.reduction(one) for one in live])
            inputs.has_embedding_B = torch.from_numpy(keep[0])
        elif self._features.embeddings is not None and self._features.embedded is not None:
            places = np.where(keep[0], self._features.embedded[rows], -1)
            inputs.reduced_BLK = self._cached(places)
            inputs.has_embedding_B = torch.from_numpy(places >= 0)
        if self._features.structures is not None and self._features.structured is not None:
            cache, window = self._features.structures, self.config.window
            places = np.where(keep[1], self._features.structured[rows], -1)
            known = [cache[k] if k >= 0 else None for k in places]
            inputs.unpaired_BL = aligned_rows(known, window, "middle", channels=1, fill=float("nan"))[..., 0]
        with mixed_precision("cpu", bf16=self._recipe.run.bf16):
            logits_BP = head(inputs)
        own = torch.from_numpy(self._data.sets[rows])
        logits_B = logits_BP.gather(1, own[:, None])[:, 0].float()
        labels_B = torch.from_numpy(self._data.labels[rows])
        return F.binary_cross_entropy_with_logits(logits_B, labels_B, pos_weight=self._weights[own]), {}

    @torch.inference_mode()
    def measure(self, head: nn.Module, encoder: Encoder | None) -> Scored:
        """AUPRC and AUROC of every set with all inputs and with letters alone; calibration with all inputs."""
        metrics: dict[str, Any] = {}
        table: list[dict[str, Any]] = []
        calibration: dict[str, dict[str, float]] = {}
        shown = {"letters"} if self._reduction is None else {"embeddings+letters", "letters"}
        means: dict[str, list[float]] = {name: [] for name in sorted(shown)}
        for number, rows in enumerate(self._dev):
            for inputs, values in means.items():
                logits = self._logits(head, encoder, number, embedded=inputs != "letters")[:, number]
                found = rank(rows.values, logits)
                row = {"set": rows.name, "inputs": inputs, "rows": found.rows}
                table.append(row | {"auprc": found.auprc.estimate, "auroc": found.auroc.estimate})
                values.append(found.auprc.estimate)
                if inputs != sorted(shown)[0]:
                    continue
                curve = fit_platt(rows.values, logits)
                calibration[rows.name] = dataclasses.asdict(curve)
                metrics[rows.name] = {
                    "auprc": round(found.auprc.estimate, 4),
                    "auroc": round(found.auroc.estimate, 4),
                    "calibration_error": round(crossed_error(rows.values, logits), 4),
                    "rows": found.rows,
                    "positives": found.positives,
                }
        for inputs, values in means.items():
            metrics[f"mean auprc, {inputs}"] = round(float(np.mean(values)), 4)
        return Scored(float(np.mean(means[sorted(shown)[0]])), metrics, {"calibration": calibration}, table)

    def _logits(self, head: nn.Module, encoder: Encoder | None, number: int, *, embedded: bool) -> np.ndarray:
        sequences = self._dev[number].sequences
        found = []
        for first in range(0, len(sequences), _SCORE_BATCH):
            part = sequences[first : first + _SCORE_BATCH]
            inputs = WindowInputs(aligned_letters(part, self.config.window, "middle"))
            if embedded and encoder is not None:
                assert isinstance(head, BindingHead) and head.reduction is not None
                live = [r for k in range(0, len(part), 64) for r in embed_batch(encoder, part[k : k + 64], bf16=True)]
                inputs.reduced_BLK = self._padded([head.reduction(one) for one in live])
            elif embedded:
                inputs.reduced_BLK = self._cached(self._features.dev_embedded[number][first : first + _SCORE_BATCH])
            with mixed_precision("cpu", bf16=self._recipe.run.bf16):
                found.append(head(inputs).float().numpy())
        return np.concatenate(found)

    def _cached(self, places: np.ndarray) -> Tensor:
        cache = self._features.embeddings
        assert cache is not None
        return self._padded([cache[k] if k >= 0 else None for k in places])

    def _padded(self, rows: Sequence[np.ndarray | Tensor | None]) -> Tensor:
        return aligned_rows(rows, self.config.window, "middle", channels=self.config.reduced)


def load_config(recipe: LoadRecipe, rows: LoadRows, embedding: int) -> LoadConfig:
    """The head that a recipe describes, for an encoder of width ``embedding`` (0: none)."""
    shape = recipe.head
    return LoadConfig(
        assays=rows.names,
        means=rows.means,
        deviations=rows.deviations,
        embedding=embedding,
        letters=shape.letters,
        reduced=shape.reduced,
        architecture=shape.architecture,
        channels=shape.channels,
        dropout=shape.dropout,
        members=shape.members,
    )


class LoadTask(Task):
    """Rows, loss and measurement of an MRL head.

    Args:
        reduction: with its axes found; None for a head without embeddings.
        cache: reduced embeddings of the training rows, then of the development rows set by set; None where there are
            none, or where the encoder is trained.
        start: a head to begin from.
    """

    kind, measure_name = "mrl", "mean R2"
    score_columns = ("assay", "rows", "r2", "determination", "mae", "mse")

    def __init__(
        self,
        recipe: LoadRecipe,
        rows: LoadRows,
        config: LoadConfig,
        *,
        reduction: Reduction | None,
        cache: NucleotideCache | None,
        start: HeadStart | None = None,
    ) -> None:
        self._start = start
        self.config = config
        self.rows_sha256 = rows_sha256(rows.sequences, rows.labels, rows.assays)
        self._recipe, self._data, self._reduction, self._cache = recipe, rows, reduction, cache
        self._lengths = np.asarray([len(sequence) for sequence in rows.sequences])
        self._repeats = repeats(rows.assays, recipe.data.set_power)

    def new_head(self) -> LoadHead:
        """A head with initial values, or with those of the start."""
        trained = self._recipe.run.encoder == "full"
        return _begun(LoadHead(self.config), self._reduction, self._start, trained=trained)

    def batches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Batches of one round, of similar length each, in random order."""
        order, size = shown_rows(self._repeats, rng), self._recipe.optim.batch
        order = order[np.argsort(self._lengths[order], kind="stable")]
        # A batch of one has no statistics to normalise by.
        batches = [part for k in range(0, len(order), size) if len(part := order[k : k + size]) > 1]
        return [batches[k] for k in rng.permutation(len(batches))]

    def loss(
        self, head: nn.Module, encoder: Encoder | None, rows: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Squared error of each row's own assay, and the likelihood of the spread around it, means over members."""
        seed_torch(rng)
        sequences = [self._data.sequences[k] for k in rows]
        shown_B = rng.random(len(rows)) >= self._recipe.data.drop_embedding
        mean_MBA, log_variance_MBA = self._run(head, encoder, sequences, rows, shown_B)
        own = torch.from_numpy(self._data.assays[rows])[None, :, None].expand(len(mean_MBA), -1, 1)
        labels_B = torch.from_numpy(self._data.labels[rows])
        square_MB = (mean_MBA.gather(2, own)[..., 0] - labels_B) ** 2
        log_variance_MB = log_variance_MBA.gather(2, own)[..., 0]
        unlikely_MB = 0.5 * (log_variance_MB + square_MB.detach() * torch.exp(-log_variance_MB))
        # A sum over members, so that each learns as it would alone.
        return (square_MB + _SPREAD_WEIGHT * unlikely_MB).mean(1).sum(0), {}

    @torch.inference_mode()
    def measure(self, head: nn.Module, encoder: Encoder | None) -> Scored:
        """R2 of both kinds, MAE and MSE of each assay, and what turns standard deviations into honest ones."""
        metrics: dict[str, Any] = {}
        factors: dict[str, float] = {}
        table: list[dict[str, Any]] = []
        place = len(self._data.sequences)
        for number, rows in enumerate(self._data.dev):
            mean, deviation = np.empty(len(rows)), np.empty(len(rows))
            for group in buckets([len(s) for s in rows.sequences], 20_000):
                places = np.asarray(group) + place
                found = self._run(head, encoder, [rows.sequences[k] for k in group], places)
                mean[group], deviation[group] = _pooled(*found, number)
            place += len(rows)
            scale = self.config.deviations[number]
            predicted = mean * scale + self.config.means[number]
            scored = regress(rows.values, predicted)
            error = (predicted - rows.values) / (deviation * scale)
            factors[rows.name] = float(np.sqrt((error**2).mean()))
            metrics[rows.name] = {
                "r2": round(scored.r2.estimate, 4),
                "determination": round(scored.determination, 4),
                "mae": round(scored.mae, 4),
                "mse": round(scored.mse, 4),
                "within one sd": round(float((np.abs(error) < factors[rows.name]).mean()), 3),
                "rows": scored.rows,
            }
            figures = {key: metrics[rows.name][key] for key in ("r2", "determination", "mae", "mse")}
            table.append({"assay": rows.name, "rows": scored.rows, **figures})
        score = float(np.mean([metrics[rows.name]["r2"] for rows in self._data.dev]))
        return Scored(score, metrics | {"mean r2": round(score, 4)}, {"sd_factors": factors}, table)

    def _run(
        self,
        head: nn.Module,
        encoder: Encoder | None,
        sequences: Sequence[str],
        places: np.ndarray,
        shown_B: np.ndarray | None = None,
    ) -> tuple[Tensor, Tensor]:
        assert isinstance(head, LoadHead)
        width = max(map(len, sequences))
        inputs = UtrInputs(aligned_letters(sequences, width, "end"))
        rows: list[Any] | None = None
        if encoder is not None and head.reduction is not None:
            live = embed_batch(encoder, sequences, bf16=self._recipe.run.bf16)
            rows = [head.reduction(one) for one in live]
        elif self._cache is not None:
            rows = [self._cache[k] for k in places]
        if rows is not None and shown_B is not None:
            rows = [row if shown else None for row, shown in zip(rows, shown_B, strict=True)]
        if rows is not None:
            inputs.reduced_BLK = aligned_rows(rows, width, "end", channels=self.config.reduced)
        with mixed_precision("cpu", bf16=self._recipe.run.bf16):
            mean_MBA, log_variance_MBA = head(inputs)
        return mean_MBA, log_variance_MBA


def _pooled(mean_MBA: Tensor, log_variance_MBA: Tensor, assay: int) -> tuple[np.ndarray, np.ndarray]:
    """(B,) mean and standard deviation of the members' mixture."""
    mean_MB, variance_MB = mean_MBA[..., assay].numpy(), np.exp(log_variance_MBA[..., assay].numpy())
    return mean_MB.mean(0), np.sqrt(variance_MB.mean(0) + mean_MB.var(0))
