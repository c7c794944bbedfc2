"""A fold head from files: data assembled, the prior computed where it is missing, the model loaded, the run started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rnafm_cli.data import thermo
from rnafm_cli.data.prior_cache import PriorCache
from rnafm_cli.errors import UsageError, WeightsError
from rnafm_cli.models.files import Card
from rnafm_cli.models.store import load_component, load_encoder
from rnafm_cli.training.fold import FoldOutcome, FoldTrainer
from rnafm_cli.training.fold_config import FoldConfig
from rnafm_cli.training.fold_data import FoldData, FoldFiles, assemble
from rnafm_cli.training.fold_scores import DevScores
from rnafm_cli.training.fold_teacher import load_teacher

__all__ = ["FoldRun", "run_fold"]

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class FoldRun:
    """What ``rnafm finetune fold`` was asked to do.

    Args:
        model: name or file of the encoder; None for a head without one.
        init_from: a fold head's file whose weights are the start.
        teacher: a model, or a fold head's file, to learn from beside the structures; its encoder must be at hand.
        prior_cache: file of pair probabilities, completed while RNAs are drawn; in the run's folder if None.
        prior: let ViennaRNA's pair probabilities guide the head.
    """

    files: FoldFiles
    config: FoldConfig
    output: Path
    name: str = "fold"
    model: str | None = "rnafm-mini"
    weights_dir: Path | None = None
    init_from: Path | None = None
    teacher: str | None = None
    prior: bool = True
    prior_cache: Path | None = None
    max_minutes: float | None = None
    threads: int | None = None


def run_fold(run: FoldRun, *, report: Report, progress: Callable[[int, int], None] | None = None) -> FoldOutcome:
    """Train, or go on with, the head in ``run.output``.

    Args:
        progress: called with (done, total) while pair probabilities of the development sets are computed.

    Raises:
        UsageError: when the prior is wanted and ViennaRNA is missing; for a codon model.
        WeightsError: when the encoder, the starting head or the teacher cannot be used.
        ConfigError: when the teacher reads another prior.
    """
    if run.prior and not thermo.available():
        raise UsageError(
            "the prior needs ViennaRNA's Python package", hint="pip install ViennaRNA, or train with --no-prior"
        )
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    data = assemble(run.files, run.config, report=report)
    cache = _prior_cache(run, data, report, progress) if run.prior else None
    encoder, sha256 = None, None
    if run.model is not None:
        encoder, card = load_encoder(run.model, weights_dir=run.weights_dir)
        encoder.config.check_nucleotides(run.model)
        sha256 = card.weights_sha256
    teacher = None
    if run.teacher is not None:
        parameters, bf16 = run.config.head.parameters, run.config.run.bf16
        teacher = load_teacher(run.teacher, parameters, weights_dir=run.weights_dir, bf16=bf16)
    trainer = FoldTrainer(
        run.config,
        data,
        run.output,
        encoder=encoder,
        cache=cache,
        card=Card(
            name=run.name, kind="fold", config={}, encoder_sha256=sha256, source={"records": data.counts, **_names(run)}
        ),
        start=_start(run.init_from) if run.init_from else None,
        teacher=teacher,
        report=report,
    )
    return trainer.train(max_minutes=run.max_minutes)


def _prior_cache(
    run: FoldRun, data: FoldData, report: Report, progress: Callable[[int, int], None] | None
) -> PriorCache:
    run.output.mkdir(parents=True, exist_ok=True)
    cache = PriorCache(run.prior_cache or run.output / "prior.h5", run.config.head.parameters)
    measured = DevScores.choose(data.dev, run.config.run)
    added = cache.add_missing((r.sequence for records in measured.values() for r in records), report=progress)
    if added:
        report(f"pair probabilities of {added} development sequences computed")
    return cache


def _start(path: Path) -> dict[str, Tensor]:
    tensors, card = load_component(path, "fold", any_encoder=True)
    if card.kind != "fold":
        raise WeightsError(f"{path}: is a model of kind '{card.kind}', not a fold head")
    return tensors


def _names(run: FoldRun) -> dict[str, list[str]]:
    files = run.files
    families = [files.families.name] if files.families else []
    teacher = {"teacher": [Path(run.teacher).name]} if run.teacher is not None else {}
    return teacher | {
        "train": [path.name for path in (*files.train, *files.partners)],
        "dev": [path.name for path in files.dev],
        "families": families,
    }
