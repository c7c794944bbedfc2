"""An RBP or MRL head from files: rows read, embeddings computed where they are missing, the run started."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from rnafm_cli.encoder.model import nucleotide_encoder
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.function.cache import Compute, NucleotideCache, embed_reduced, fit_reduction, unpaired_probabilities
from rnafm_cli.function.heads import CLIP, FunctionHead, Reduction, begin_from, built_head
from rnafm_cli.function.rows import TrainingRows, read_training_rows
from rnafm_cli.function.task import BindingTask, MrlTask, RowTask
from rnafm_cli.rna import thermo
from rnafm_cli.training.recipes import BindingData, BindingRecipe, RowRecipe
from rnafm_cli.training.trainer import HeadRun, Outcome, StopSignals, Trainer
from rnafm_cli.weights.store import encoder_read_by, load_component


def run_function(run: HeadRun, sets: Sequence[Path], recipe: RowRecipe) -> Outcome:
    """Train, or go on with, the RBP or MRL head in a folder.

    Args:
        sets: tables, one a protein or an assay, or folders of them.
    """
    output, frozen = run.output, recipe.run.encoder == "frozen"
    kind: type[RowTask] = BindingTask if isinstance(recipe, BindingRecipe) else MrlTask
    if isinstance(recipe, BindingRecipe) and recipe.data.structured:
        thermo.require("data.structured", ", or set it to 0")
    output.mkdir(parents=True, exist_ok=True)
    encoder, sha256 = nucleotide_encoder(run.model, run.weights_dir)
    rows = read_training_rows(sets, recipe, report=run.report, run=output)
    start, same, reduction = None, False, None
    if run.init_from is not None:
        tensors, card = load_component(run.init_from, kind.kind, weights_dir=run.weights_dir, any_encoder=True)
        start = built_head(kind.head_type, tensors, card)
        # Whether its embeddings are the run's: then so is its reduction of them.
        same = sha256 is not None and encoder_read_by(card) == sha256
        same = same and start.config.reduced == recipe.head.reduced
    if encoder is not None:
        reduction = _reduction(output, recipe, encoder, rows, start.reduction if start is not None and same else None)

    def begin(head: FunctionHead) -> None:
        if head.reduction is not None and reduction is not None:
            head.reduction.load_state_dict(reduction.state_dict())
            head.reduction.requires_grad_(not frozen)
        if start is not None:
            run.report(begin_from(head, start, same_embeddings=same))

    caches: dict[str, NucleotideCache] = {}
    with StopSignals() as signals:

        def stop() -> bool:
            return signals.received is not None or run.minutes_left() == 0

        for inputs, cache, compute in _caches(output, recipe, rows, encoder if frozen else None, sha256, reduction):
            caches[inputs] = cache
            if not cache.fill(compute, run.progress, stop=stop):
                return Outcome(0, False, float("-inf"), output / "best.safetensors", signals.received)
    task = kind(recipe, rows, 0 if encoder is None else encoder.config.width, begin=begin, **caches)
    trainer = Trainer(
        _timed(recipe, len(task.batches(np.random.default_rng([recipe.optim.seed, 0])))),
        task,
        output,
        encoder=None if frozen else encoder,
        card=run.card(task.kind, sha256, {"rows": rows.counts, "sets": [path.name for path in sets]}),
        report=run.report,
        progress=run.progress,
    )
    return trainer.train(max_minutes=run.minutes_left())


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
    return dataclasses.replace(recipe, optim=optim.lasting(steps), run=dataclasses.replace(run, score_steps=every))
