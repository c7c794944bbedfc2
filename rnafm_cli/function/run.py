"""An RBP or MRL head from files: rows read, embeddings computed where they are missing, the run started."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.errors import UsageError
from rnafm_cli.function.cache import Compute, NucleotideCache, embed_reduced, fit_reduction, unpaired_probabilities
from rnafm_cli.function.heads import CLIP, FunctionHead, Reduction, begin_from, built_head
from rnafm_cli.function.rows import TrainingRows, read_training_rows
from rnafm_cli.function.task import BindingTask, MrlTask, RowTask
from rnafm_cli.rna import thermo
from rnafm_cli.training.recipes import BindingData, BindingRecipe, RowRecipe
from rnafm_cli.training.trainer import Outcome, Progress, Report, StopSignals, Trainer
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.store import encoder_read_by, encoder_source, load_component


def run_function(
    sets: Sequence[Path],
    recipe: RowRecipe,
    *,
    output: Path,
    name: str,
    report: Report,
    model: str | None = "rnafm-mini",
    init_from: str | None = None,
    weights_dir: Path | None = None,
    max_minutes: float | None = None,
    threads: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Outcome:
    """Train, or go on with, the RBP or MRL head in a folder.

    Args:
        sets: tables, one a protein or an assay, or folders of them.
        model: name or file of the encoder; None for a head without one.
        init_from: model, or file of a head, whose weights are the start.
    """
    started = time.monotonic()
    kind: type[RowTask] = BindingTask if isinstance(recipe, BindingRecipe) else MrlTask
    if isinstance(recipe, BindingRecipe) and recipe.data.structured and not thermo.available():
        raise UsageError(
            "data.structured needs ViennaRNA's Python package", hint="pip install ViennaRNA, or set it to 0"
        )
    if threads is not None:
        torch.set_num_threads(threads)
    output.mkdir(parents=True, exist_ok=True)
    encoder, sha256, width = None, None, 0
    if model is not None:
        encoder, encoder_card = load_encoder(model, weights_dir=weights_dir)
        encoder.config.check_nucleotides(model)
        encoder.requires_grad_(False).eval()
        sha256, width = encoder_card.weights_sha256, encoder.config.width
    rows = read_training_rows(sets, recipe, report=report, run=output)
    start, same, reduction = None, False, None
    if init_from is not None:
        tensors, card = load_component(init_from, kind.kind, weights_dir=weights_dir, any_encoder=True)
        start = built_head(kind.head_type, tensors, card)
        # Whether its embeddings are the run's: then so is its reduction of them.
        same = sha256 is not None and encoder_read_by(card) == sha256
        same = same and start.config.reduced == recipe.head.reduced
    if encoder is not None:
        reduction = _reduction(output, recipe, encoder, rows, start.reduction if start is not None and same else None)
    frozen = recipe.run.encoder == "frozen"

    def begin(head: FunctionHead) -> None:
        if head.reduction is not None and reduction is not None:
            head.reduction.load_state_dict(reduction.state_dict())
            head.reduction.requires_grad_(not frozen)
        if start is not None:
            report(begin_from(head, start, same_embeddings=same))

    def minutes_left() -> float | None:
        spent = (time.monotonic() - started) / 60
        return None if max_minutes is None else max(0.0, max_minutes - spent)

    caches: dict[str, NucleotideCache] = {}
    with StopSignals() as signals:
        for inputs, cache, compute in _caches(output, recipe, rows, encoder if frozen else None, sha256, reduction):
            caches[inputs] = cache
            if not cache.fill(compute, progress, stop=lambda: signals.received is not None or minutes_left() == 0):
                return Outcome(0, False, float("-inf"), output / "best.safetensors", signals.received)
    task = kind(recipe, rows, width, begin=begin, **caches)
    source = {"rows": rows.counts, "sets": [path.name for path in sets], "encoder": encoder_source(model)}
    trainer = Trainer(
        _timed(recipe, len(task.batches(np.random.default_rng([recipe.optim.seed, 0])))),
        task,
        output,
        encoder=None if frozen else encoder,
        card=Card(name=name, kind=task.kind, config={}, encoder_sha256=sha256, source=source),
        report=report,
        progress=progress,
    )
    return trainer.train(max_minutes=minutes_left())


def _reduction(
    run: Path, recipe: RowRecipe, encoder: Encoder, rows: TrainingRows, given: Reduction | None
) -> Reduction:
    """The reduction of a run: the one given, else found on its training rows; kept in its folder."""
    channels = recipe.head.reduced
    found, path = Reduction(encoder.config.width, channels), run / f"reduction-{channels}.safetensors"
    if path.exists():
        found.load_state_dict(load_file(path))
        return found
    if given is not None:
        found.load_state_dict(given.state_dict())
    else:
        sequences = rows.sequences[: len(rows)]
        fit_reduction(found, encoder, sequences, seed=recipe.data.seed, bf16=recipe.run.bf16)
    save_file(found.state_dict(), path)
    return found


def _caches(
    run: Path,
    recipe: RowRecipe,
    rows: TrainingRows,
    encoder: Encoder | None,
    sha256: str | None,
    reduction: Reduction | None,
) -> Iterator[tuple[str, NucleotideCache, Compute]]:
    """What is known of rows before they are trained on, and how what is missing is computed."""
    data = recipe.data
    if encoder is not None and reduction is not None:
        drawn = rows.drawn(data.embedded if isinstance(data, BindingData) else 1.0, seed=data.seed)
        chosen, channels = np.append(drawn, np.arange(len(rows), len(rows.sequences))), recipe.head.reduced
        path, identity = run / "embeddings.i8", f"encoder {sha256}"
        cache = NucleotideCache(path, rows.sequences, chosen, channels=channels, limit=CLIP, identity=identity)
        bf16 = recipe.run.bf16
        yield "embeddings", cache, partial(embed_reduced, encoder=encoder, reduction=reduction, bf16=bf16)
    if isinstance(data, BindingData) and data.structured:
        chosen = rows.drawn(data.structured / len(rows), seed=data.seed)
        path, identity = run / "structures.i8", f"ViennaRNA {thermo.version()}"
        cache = NucleotideCache(path, rows.sequences, chosen, channels=1, limit=1.0, identity=identity)
        yield "structures", cache, unpaired_probabilities


def _timed(recipe: RowRecipe, batches: int) -> RowRecipe:
    """The recipe with its rounds over the rows, of so many batches, as steps."""
    optim, run = recipe.optim, recipe.run
    steps = optim.steps or max(1, round(optim.epochs * batches))
    every = run.score_steps or max(1, round(run.score_epochs * batches))
    timed: Any = dataclasses.replace(optim, steps=steps, warmup=min(optim.warmup, max(steps // 5, 1)))
    return dataclasses.replace(recipe, optim=timed, run=dataclasses.replace(run, score_steps=every))
