"""Training of the MRL head: all assays at once, each standardised and with its own output.

Shape suffixes: B batch, L positions, M members, A assays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnafm_cli.encoder.batches import buckets
from rnafm_cli.encoder.embed import embed_batch
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.function.heads import HeadStart
from rnafm_cli.function.inputs import NucleotideCache, Reduction, aligned_letters, aligned_rows
from rnafm_cli.function.metrics import regress
from rnafm_cli.function.recipes import LoadRecipe
from rnafm_cli.function.ribosome_load import LoadConfig, LoadHead, UtrInputs
from rnafm_cli.function.rows import LoadRows, repeats, shown_rows
from rnafm_cli.function.trainer import Scored
from rnafm_cli.training.head_state import rows_sha256
from rnafm_cli.training.run_log import CsvLog

__all__ = ["LoadTask", "load_config"]


_COLUMNS = ("step", "seconds", "assay", "rows", "r2", "determination", "mae", "mse")
_SPREAD_WEIGHT = 0.1
"""Weight of the likelihood that teaches the variance, beside the squared error; means learn from the latter alone."""


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


class LoadTask:
    """Rows, loss and measurement of an MRL head.

    Args:
        reduction: with its axes found; None for a head without embeddings.
        cache: reduced embeddings of the training rows, then of the development rows set by set; None where there are
            none, or where the encoder is trained.
        start: a head to begin from.
    """

    kind = "mrl"
    measure_name = "mean R2"

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
        self._table: CsvLog | None = None

    def new_head(self) -> LoadHead:
        """A head with initial values, its reduction fixed unless the encoder is trained too."""
        head = LoadHead(self.config)
        if head.reduction is not None and self._reduction is not None:
            head.reduction.load_state_dict(self._reduction.state_dict())
            head.reduction.requires_grad_(self._recipe.run.encoder == "full")
        if self._start is not None:
            self._start.begin(head)
        return head

    def round(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Batches of one round, of similar length each, in random order."""
        order, size = shown_rows(self._repeats, rng), self._recipe.optim.batch
        order = order[np.argsort(self._lengths[order], kind="stable")]
        # A batch of one has no statistics to normalise by.
        batches = [part for k in range(0, len(order), size) if len(part := order[k : k + size]) > 1]
        return [batches[k] for k in rng.permutation(len(batches))]

    def loss(self, head: nn.Module, encoder: Encoder | None, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Squared error of each row's own assay, and the likelihood of the spread around it, means over members."""
        sequences = [self._data.sequences[k] for k in rows]
        shown_B = rng.random(len(rows)) >= self._recipe.data.drop_embedding
        mean_MBA, log_variance_MBA = self._run(head, encoder, sequences, rows, shown_B)
        own = torch.from_numpy(self._data.assays[rows])[None, :, None].expand(len(mean_MBA), -1, 1)
        labels_B = torch.from_numpy(self._data.labels[rows])
        square_MB = (mean_MBA.gather(2, own)[..., 0] - labels_B) ** 2
        log_variance_MB = log_variance_MBA.gather(2, own)[..., 0]
        unlikely_MB = 0.5 * (log_variance_MB + square_MB.detach() * torch.exp(-log_variance_MB))
        # A sum over members, so that each learns as it would alone.
        return (square_MB + _SPREAD_WEIGHT * unlikely_MB).mean(1).sum(0)

    def open_scores(self, path: Path, step: int) -> None:
        """Go on with the table at ``path``; rows after ``step`` are dropped."""
        self._table = CsvLog(path, _COLUMNS, step)

    @torch.inference_mode()
    def measure(self, head: nn.Module, encoder: Encoder | None, *, step: int, seconds: float) -> Scored:
        """R2 of both kinds, MAE and MSE of each assay, and what turns standard deviations into honest ones."""
        metrics: dict[str, Any] = {}
        factors: dict[str, float] = {}
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
            if self._table is not None:
                row = {"step": step, "seconds": seconds, "assay": rows.name, "rows": scored.rows}
                figures = {key: metrics[rows.name][key] for key in ("r2", "determination", "mae", "mse")}
                self._table.add(row | figures)
        score = float(np.mean([metrics[rows.name]["r2"] for rows in self._data.dev]))
        return Scored(score, metrics | {"mean r2": round(score, 4)}, {"sd_factors": factors})

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
