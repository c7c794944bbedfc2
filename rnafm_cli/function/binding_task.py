"""Training of the RBP head: one network for all sets, each row with a loss on its own set's output.

Shape suffixes: B batch, L positions of a window, K reduced channels, P proteins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.embed import embed_batch
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.function.binding import BindingConfig, BindingHead, WindowInputs
from rnafm_cli.function.heads import HeadStart
from rnafm_cli.function.inputs import NucleotideCache, Reduction, aligned_letters, aligned_rows
from rnafm_cli.function.metrics import Ranking, crossed_error, fit_platt, rank
from rnafm_cli.function.recipes import BindingRecipe
from rnafm_cli.function.rows import BindingRows, repeats, shown_rows
from rnafm_cli.function.trainer import Scored
from rnafm_cli.training.head_state import rows_sha256
from rnafm_cli.training.labelled_rows import LabelledRows
from rnafm_cli.training.run_log import CsvLog

__all__ = ["BindingFeatures", "BindingTask", "binding_config", "measured_rows"]


_COLUMNS = ("step", "seconds", "set", "inputs", "rows", "auprc", "auroc")
_SCORE_BATCH = 1000


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


class BindingTask:
    """Rows, loss and measurement of an RBP head.

    Args:
        reduction: with its axes found; None for a head without embeddings.
        dev: the development rows to measure on, one set for each protein.
        start: a head to begin from.
    """

    kind = "rbp"
    measure_name = "mean AUPRC"

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
        self._table: CsvLog | None = None

    def new_head(self) -> BindingHead:
        """A head with initial values, its reduction fixed unless the encoder is trained too."""
        head = BindingHead(self.config)
        if head.reduction is not None and self._reduction is not None:
            head.reduction.load_state_dict(self._reduction.state_dict())
            head.reduction.requires_grad_(self._recipe.run.encoder == "full")
        if self._start is not None:
            self._start.begin(head)
        return head

    def round(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Batches of one round; rows that do not fill a batch wait for another round."""
        order, size = shown_rows(self._repeats, rng), min(self._recipe.optim.batch, len(self._data.sequences))
        return [order[k : k + size] for k in range(0, len(order) - size + 1, size)]

    def loss(self, head: nn.Module, encoder: Encoder | None, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Cross-entropy (nats) of each row's own protein."""
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
        return F.binary_cross_entropy_with_logits(logits_B, labels_B, pos_weight=self._weights[own])

    def open_scores(self, path: Path, step: int) -> None:
        """Go on with the table at ``path``; rows after ``step`` are dropped."""
        self._table = CsvLog(path, _COLUMNS, step)

    @torch.inference_mode()
    def measure(self, head: nn.Module, encoder: Encoder | None, *, step: int, seconds: float) -> Scored:
        """AUPRC and AUROC of every set with all inputs and with letters alone; calibration with all inputs."""
        metrics: dict[str, Any] = {}
        calibration: dict[str, dict[str, float]] = {}
        shown = {"letters"} if self._reduction is None else {"embeddings+letters", "letters"}
        means: dict[str, list[float]] = {name: [] for name in sorted(shown)}
        for number, rows in enumerate(self._dev):
            for inputs, values in means.items():
                logits = self._logits(head, encoder, number, embedded=inputs != "letters")[:, number]
                found = rank(rows.values, logits)
                self._note(found, inputs, rows.name, step, seconds)
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
        return Scored(float(np.mean(means[sorted(shown)[0]])), metrics, {"calibration": calibration})

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

    def _note(self, found: Ranking, inputs: str, name: str, step: int, seconds: float) -> None:
        if self._table is not None:
            row = {"step": step, "seconds": seconds, "set": name, "inputs": inputs, "rows": found.rows}
            self._table.add(row | {"auprc": found.auprc.estimate, "auroc": found.auroc.estimate})
