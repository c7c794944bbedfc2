"""An RBP or MRL head from files: rows assembled, embeddings computed where they are missing, the run started."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.errors import UsageError
from rnafm_cli.function.binding import BindingConfig
from rnafm_cli.function.heads import HeadStart, load_head_start
from rnafm_cli.function.inputs import (
    CLIP,
    NucleotideCache,
    Reduction,
    embed_reduced,
    fit_reduction,
    unpaired_probabilities,
)
from rnafm_cli.function.ribosome_load import LoadConfig
from rnafm_cli.function.rows import assemble_binding, assemble_loads, drawn_rows
from rnafm_cli.function.task import (
    BindingFeatures,
    BindingTask,
    LoadTask,
    binding_config,
    load_config,
    measured_rows,
)
from rnafm_cli.rna import thermo
from rnafm_cli.training.recipes import BindingRecipe, LoadRecipe
from rnafm_cli.training.stop_signals import StopSignals
from rnafm_cli.training.trainer import Outcome, Task, Trainer
from rnafm_cli.weights.files import Card

__all__ = ["FunctionFiles", "run_binding", "run_load"]


Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class FunctionFiles:
    """What ``rnafm finetune rbp`` or ``mrl`` was asked to work on.

    Args:
        sets: tables, one a protein or an assay, or folders of them.
        model: name or file of the encoder; None for a head without one.
        init_from: model, or file of a head, whose weights are the start.
    """

    sets: tuple[Path, ...]
    output: Path
    name: str
    model: str | None = "rnafm-mini"
    init_from: str | None = None
    weights_dir: Path | None = None
    max_minutes: float | None = None
    threads: int | None = None


def run_binding(files: FunctionFiles, recipe: BindingRecipe, *, report: Report) -> Outcome:
    """Train, or go on with, the RBP head in ``files.output``.

    Raises:
        UsageError: when the recipe wants pairing and ViennaRNA is missing.
        InputError: when the tables cannot be used.
        WeightsError: when the encoder cannot be used.
    """
    if recipe.data.structured and not thermo.available():
        raise UsageError(
            "data.structured needs ViennaRNA's Python package", hint="pip install ViennaRNA, or set it to 0"
        )
    preparation = _Preparation(files, bf16=recipe.run.bf16, frozen=recipe.run.encoder == "frozen", report=report)
    window = BindingConfig(proteins=()).window
    rows = assemble_binding(files.sets, recipe.data, window=window, report=report, run=files.output)
    dev = measured_rows(rows.dev, recipe.run.score_rows)
    start = preparation.start("rbp", recipe.head.reduced)
    reduction = preparation.reduction(recipe.head.reduced, rows.sequences, recipe.data.seed, start)
    features, numbers = BindingFeatures(), np.arange(len(rows.sequences))
    whole = True
    if reduction is not None and preparation.frozen:
        chosen = drawn_rows(rows, recipe.data.embedded, seed=recipe.data.seed)
        features.embedded = np.full(len(numbers), -1)
        features.embedded[chosen] = np.arange(len(chosen))
        ends = np.cumsum([len(chosen), *map(len, dev)])
        features.dev_embedded = [np.arange(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        sequences = [rows.sequences[k] for k in chosen] + [s for part in dev for s in part.sequences]
        features.embeddings, whole = preparation.embeddings(sequences, reduction)
    if whole and recipe.data.structured:
        chosen = drawn_rows(rows, recipe.data.structured / len(numbers), seed=recipe.data.seed)
        features.structured = np.full(len(numbers), -1)
        features.structured[chosen] = np.arange(len(chosen))
        features.structures, whole = preparation.structures([rows.sequences[k] for k in chosen])
    if not whole:
        return preparation.stopped()
    config = binding_config(recipe, rows.proteins, preparation.width)
    task = BindingTask(recipe, rows, config, reduction=reduction, features=features, dev=dev, start=start)
    return preparation.train(recipe, task, rows.counts)


def run_load(files: FunctionFiles, recipe: LoadRecipe, *, report: Report) -> Outcome:
    """Train, or go on with, the MRL head in ``files.output``.

    Raises:
        InputError: when the tables cannot be used.
        WeightsError: when the encoder cannot be used.
    """
    preparation = _Preparation(files, bf16=recipe.run.bf16, frozen=recipe.run.encoder == "frozen", report=report)
    length = LoadConfig(assays=(), means=(), deviations=()).length
    rows = assemble_loads(files.sets, recipe.data, length=length, report=report, run=files.output)
    start = preparation.start("mrl", recipe.head.reduced)
    reduction = preparation.reduction(recipe.head.reduced, rows.sequences, recipe.data.seed, start)
    cache, whole = None, True
    if reduction is not None and preparation.frozen:
        sequences = rows.sequences + [s for part in rows.dev for s in part.sequences]
        cache, whole = preparation.embeddings(sequences, reduction)
    if not whole:
        return preparation.stopped()
    config = load_config(recipe, rows, preparation.width)
    task = LoadTask(recipe, rows, config, reduction=reduction, cache=cache, start=start)
    return preparation.train(recipe, task, rows.counts)


class _Preparation:
    """Encoder and caches of a run, within its time."""

    def __init__(self, files: FunctionFiles, *, bf16: bool, frozen: bool, report: Report) -> None:
        self._files, self._bf16, self.frozen, self._report = files, bf16, frozen, report
        self._started = time.monotonic()
        self._signal: int | None = None
        if files.threads is not None:
            torch.set_num_threads(files.threads)
        files.output.mkdir(parents=True, exist_ok=True)
        self._encoder: Encoder | None = None
        self._sha256: str | None = None
        if files.model is not None:
            self._encoder, card = load_encoder(files.model, weights_dir=files.weights_dir)
            self._encoder.config.check_nucleotides(files.model)
            self._encoder.requires_grad_(False).eval()
            self._sha256 = card.weights_sha256

    @property
    def width(self) -> int:
        """Of the encoder's representations; 0 without one."""
        return self._encoder.config.width if self._encoder is not None else 0

    def start(self, kind: Literal["rbp", "mrl"], channels: int) -> HeadStart | None:
        """The head that the run begins from, if it was given one."""
        if self._files.init_from is None:
            return None
        return load_head_start(
            self._files.init_from,
            kind,
            encoder_sha256=self._sha256,
            channels=channels,
            weights_dir=self._files.weights_dir,
            report=self._report,
        )

    def reduction(
        self, channels: int, sequences: Sequence[str], seed: int, start: HeadStart | None
    ) -> Reduction | None:
        """The reduction of the run: that of the start, else found; kept in the run's folder."""
        if self._encoder is None:
            return None
        found, path = Reduction(self.width, channels), self._files.output / f"reduction-{channels}.safetensors"
        if path.exists():
            found.load_state_dict(load_file(path))
            return found
        if start is not None and start.reduction is not None:
            found.load_state_dict(start.reduction.state_dict())
        else:
            fit_reduction(found, self._encoder, sequences, seed=seed, bf16=self._bf16)
        save_file(found.state_dict(), path)
        return found

    def embeddings(self, sequences: list[str], reduction: Reduction) -> tuple[NucleotideCache, bool]:
        """A cache of reduced embeddings, and whether it is whole."""
        assert self._encoder is not None
        cache = NucleotideCache(
            self._files.output / "embeddings",
            sequences,
            channels=len(reduction.weight),
            limit=CLIP,
            identity=f"encoder {self._sha256}",
        )
        return cache, self._filled(cache, embed_reduced(self._encoder, reduction, bf16=self._bf16), "embeddings")

    def structures(self, sequences: list[str]) -> tuple[NucleotideCache, bool]:
        """A cache of unpaired probabilities, and whether it is whole."""
        path = self._files.output / "structures"
        cache = NucleotideCache(path, sequences, channels=1, limit=1.0, identity=f"ViennaRNA {thermo.version()}")
        return cache, self._filled(cache, unpaired_probabilities, "structures")

    def train(self, recipe: BindingRecipe | LoadRecipe, task: Task, counts: dict[str, int]) -> Outcome:
        """Run the trainer for what is left of the time."""
        given, run = recipe.optim, recipe.run
        batches = len(task.batches(np.random.default_rng([given.seed, 0])))
        steps = given.steps or max(1, round(given.epochs * batches))
        optim: Any = dataclasses.replace(given, steps=steps, warmup=min(given.warmup, max(steps // 5, 1)))
        every = run.score_steps or max(1, round(run.score_epochs * batches))
        trainer = Trainer(
            dataclasses.replace(recipe, optim=optim, run=dataclasses.replace(run, score_steps=every)),
            task,
            self._files.output,
            encoder=None if self.frozen else self._encoder,
            card=Card(
                name=self._files.name,
                kind=task.kind,
                config={},
                encoder_sha256=self._sha256,
                source={"rows": counts, "sets": [path.name for path in self._files.sets]},
            ),
            report=self._report,
        )
        left = None
        if self._files.max_minutes is not None:
            left = max(0.0, self._files.max_minutes - (time.monotonic() - self._started) / 60)
        return trainer.train(max_minutes=left)

    def stopped(self) -> Outcome:
        """The outcome of a run that ended before the first step."""
        return Outcome(0, False, float("-inf"), self._files.output / "best.safetensors", self._signal)

    def _filled(self, cache: NucleotideCache, compute: Callable[[list[str]], list[np.ndarray]], what: str) -> bool:
        limit = self._files.max_minutes
        with StopSignals() as signals:
            whole = cache.fill(
                compute,
                report=lambda done, total: self._report(f"{what}: {done} of {total} rows"),
                stop=lambda: (
                    signals.received is not None
                    or (limit is not None and time.monotonic() - self._started >= 60 * limit)
                ),
            )
        self._signal = signals.received
        return whole
