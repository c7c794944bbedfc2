"""RBP and MRL heads as tasks of the trainer: rows, losses, measurement.

One network serves all sets or assays, and each row has a loss on its own set's output. Shape suffixes: B batch,
L positions, P proteins, M members, A assays.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.embed import embed_batch
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.encoder.workers import buckets
from rnafm_cli.function.cache import NucleotideCache
from rnafm_cli.function.heads import BindingConfig, BindingHead, FunctionHead, MrlConfig, MrlHead, mixture
from rnafm_cli.function.metrics import crossed_error, fit_platt, rank, regress
from rnafm_cli.function.rows import TrainingRows
from rnafm_cli.training.recipes import BindingRecipe, MrlRecipe
from rnafm_cli.training.trainer import Scored, Task, rows_sha256, seed_torch

_SCORE_LETTERS = 20_000
_SPREAD_WEIGHT = 0.1
"""Weight of the likelihood that teaches the variance, beside the squared error; means learn from the latter alone."""


class RowTask(Task):
    """What the two have in common: rows of tables, and embeddings from a cache or from an encoder that learns along.

    Args:
        width: of the encoder's representations; 0 for a head without them.
        embeddings: reduced ones of rows, for a frozen encoder.
        structures: unpaired probabilities of rows.
        begin: told the new head, to fill it with the run's reduction or another head's weights.
    """

    head_type: type[BindingHead] | type[MrlHead]

    def __init__(
        self,
        recipe: Any,
        rows: TrainingRows,
        width: int,
        *,
        embeddings: NucleotideCache | None = None,
        structures: NucleotideCache | None = None,
        begin: Callable[[FunctionHead], None] = lambda head: None,
    ) -> None:
        self._recipe, self._rows, self._begin = recipe, rows, begin
        self._embeddings, self._structures = embeddings, structures
        self._sets, self._values = torch.from_numpy(rows.sets), torch.from_numpy(rows.values)
        self.rows_sha256 = rows_sha256(rows.sequences[: len(rows)], rows.values, rows.sets)
        self.config = self.head_config(width)

    @abstractmethod
    def head_config(self, width: int) -> Any:
        """The head that the recipe describes."""

    def new_head(self) -> nn.Module:
        """A head with initial values, or with those of the start."""
        head: FunctionHead = self.head_type(self.config)
        self._begin(head)
        return head

    def _shown_rows(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Row numbers of one round in random order, (largest set / its set) to a power times each on average.

        A row shown 1.4 times comes once or twice.
        """
        sizes = np.bincount(self._rows.sets).astype(np.float64)
        repeats_N = ((sizes.max() / np.maximum(sizes, 1)) ** self._recipe.data.set_power)[self._rows.sets]
        times = np.floor(repeats_N + rng.random(len(repeats_N))).astype(np.int64)
        return rng.permutation(np.repeat(np.arange(len(repeats_N)), times))

    def _run(
        self,
        head: nn.Module,
        encoder: Encoder | None,
        rows: np.ndarray,
        embedded_B: NDArray[np.bool_],
        structured_B: NDArray[np.bool_] | None = None,
    ) -> Any:
        """What a head says of some rows; the masks tell which are shown with embeddings and with structure."""
        assert isinstance(head, FunctionHead)
        sequences, bf16 = [self._rows.sequences[k] for k in rows], self._recipe.run.bf16
        reduced: list[Any] = [None] * len(rows)
        if encoder is not None and head.reduction is not None and embedded_B.any():
            live = embed_batch(encoder, sequences, bf16=bf16)
            reduced = [head.reduction(one) if shown else None for one, shown in zip(live, embedded_B, strict=True)]
        elif self._embeddings is not None:
            reduced = [self._embeddings[k] if shown else None for k, shown in zip(rows, embedded_B, strict=True)]
        unpaired = None
        if self._structures is not None and structured_B is not None:
            unpaired = [self._structures[k] if shown else None for k, shown in zip(rows, structured_B, strict=True)]
        x_BKL = head.inputs(sequences, reduced, unpaired)
        with mixed_precision("cpu", bf16=bf16):
            return head(x_BKL)

    def _measured(
        self, head: nn.Module, encoder: Encoder | None, number: int, embedded: bool = True
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """What a head says of the development rows of a set, in parts, with the numbers of these rows in the set."""
        dev = self._rows.dev
        first = len(self._rows) + sum(len(rows) for rows in dev[:number])
        for group in buckets([len(sequence) for sequence in dev[number].sequences], _SCORE_LETTERS):
            rows = np.asarray(group)
            yield rows, self._run(head, encoder, first + rows, np.full(len(rows), embedded))


class BindingTask(RowTask):
    """Rows, loss and measurement of an RBP head."""

    kind, measure_name = "rbp", "mean AUPRC"
    score_columns = ("set", "inputs", "rows", "auprc", "auroc")
    head_type = BindingHead
    _recipe: BindingRecipe

    def head_config(self, width: int) -> BindingConfig:
        """The head that the recipe describes."""
        shape = dataclasses.asdict(self._recipe.head)
        dilations = tuple((1, 2, 4)[k % 3] for k in range(shape.pop("blocks")))
        structure = self._recipe.data.structured > 0
        return BindingConfig(
            proteins=self._rows.names, embedding=width, structure=structure, dilations=dilations, **shape
        )

    def batches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Batches of one round; rows that do not fill a batch wait for another round."""
        order, size = self._shown_rows(rng), min(self._recipe.optim.batch, len(self._rows))
        return [order[k : k + size] for k in range(0, len(order) - size + 1, size)]

    def loss(
        self, head: nn.Module, encoder: Encoder | None, rows: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy (nats) of each row's own protein."""
        seed_torch(rng)
        data, own = self._recipe.data, self._sets[rows]
        shown = rng.random((2, len(rows))) >= [[data.drop_embedding], [data.drop_structure]]
        logits_B = self._run(head, encoder, rows, *shown).gather(1, own[:, None])[:, 0].float()
        weights_B = self._bound_weights_P[own]
        return F.binary_cross_entropy_with_logits(logits_B, self._values[rows], pos_weight=weights_B), {}

    @cached_property
    def _bound_weights_P(self) -> Tensor:
        bound_P = np.bincount(self._rows.sets, weights=self._rows.values)
        unbound_P = np.bincount(self._rows.sets) - bound_P
        return torch.from_numpy((unbound_P / bound_P) ** self._recipe.data.balance).float()

    @torch.inference_mode()
    def measure(self, head: nn.Module, encoder: Encoder | None) -> Scored:
        """AUPRC and AUROC of every set with all inputs and with letters alone; calibration with all inputs."""
        metrics: dict[str, Any] = {}
        table: list[dict[str, Any]] = []
        calibration: dict[str, dict[str, float]] = {}
        shown = ("embeddings+letters", "letters") if self.config.embedding else ("letters",)
        for number, rows in enumerate(self._rows.dev):
            for inputs in shown:
                logits = np.empty(len(rows), dtype=np.float32)
                for group, logits_BP in self._measured(head, encoder, number, embedded=inputs != "letters"):
                    logits[group] = logits_BP[:, number].float().numpy()
                found = rank(rows.values, logits)
                table.append({"set": rows.name, "inputs": inputs} | {key: found[key] for key in self.score_columns[2:]})
                if inputs == shown[0]:
                    calibration[rows.name] = dataclasses.asdict(fit_platt(rows.values, logits))
                    metrics[rows.name] = {
                        "auprc": round(found["auprc"], 4),
                        "auroc": round(found["auroc"], 4),
                        "calibration_error": round(crossed_error(rows.values, logits), 4),
                        "rows": found["rows"],
                        "positives": found["positives"],
                    }
        means = {inputs: float(np.mean([row["auprc"] for row in table if row["inputs"] == inputs])) for inputs in shown}
        metrics |= {f"mean auprc, {inputs}": round(value, 4) for inputs, value in means.items()}
        return Scored(means[shown[0]], metrics, {"calibration": calibration}, table)


class MrlTask(RowTask):
    """Rows, loss and measurement of an MRL head."""

    kind, measure_name = "mrl", "mean R2"
    score_columns = ("assay", "rows", "r2", "determination", "mae", "mse")
    head_type = MrlHead
    _recipe: MrlRecipe

    def head_config(self, width: int) -> MrlConfig:
        """The head that the recipe describes."""
        rows, shape = self._rows, dataclasses.asdict(self._recipe.head)
        return MrlConfig(assays=rows.names, means=rows.means, deviations=rows.deviations, embedding=width, **shape)

    def batches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Batches of one round, of similar length each, in random order."""
        order, size = self._shown_rows(rng), self._recipe.optim.batch
        lengths = np.array([len(self._rows.sequences[k]) for k in order])
        order = order[np.argsort(lengths, kind="stable")]
        # A batch of one has no statistics to normalise by.
        batches = [part for k in range(0, len(order), size) if len(part := order[k : k + size]) > 1]
        return [batches[k] for k in rng.permutation(len(batches))]

    def loss(
        self, head: nn.Module, encoder: Encoder | None, rows: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Squared error of each row's own assay, and the likelihood of the spread around it, means over members."""
        seed_torch(rng)
        embedded_B = rng.random(len(rows)) >= self._recipe.data.drop_embedding
        mean_MBA, log_variance_MBA = self._run(head, encoder, rows, embedded_B)
        own = self._sets[rows][None, :, None].expand(len(mean_MBA), -1, 1)
        square_MB = (mean_MBA.gather(2, own)[..., 0] - self._values[rows]) ** 2
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
        for number, rows in enumerate(self._rows.dev):
            predicted, deviation = np.empty(len(rows)), np.empty(len(rows))
            for group, found in self._measured(head, encoder, number):
                mean_MB, deviation[group] = mixture(found, number)
                predicted[group] = mean_MB.mean(0)
            scale = self.config.deviations[number]
            predicted = predicted * scale + self.config.means[number]
            scored = regress(rows.values, predicted)
            error = (predicted - rows.values) / (deviation * scale)
            factors[rows.name] = float(np.sqrt((error**2).mean()))
            figures = {key: round(scored[key], 4) for key in self.score_columns[2:]}
            within = round(float((np.abs(error) < factors[rows.name]).mean()), 3)
            metrics[rows.name] = {**figures, "within one sd": within, "rows": scored["rows"]}
            table.append({"assay": rows.name, "rows": scored["rows"], **figures})
        score = float(np.mean([row["r2"] for row in table]))
        return Scored(score, metrics | {"mean r2": round(score, 4)}, {"sd_factors": factors}, table)
