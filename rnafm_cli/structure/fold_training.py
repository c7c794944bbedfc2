"""Training of a fold head, from files to the head: rounds of drawn batches, a running mean of the weights, exact
resume.

Everything random follows from the seed and the step, so a run that was stopped and resumed ends with the same weights.
Shape suffixes: B batch, L bases, D embedding width.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.embed import embed_padded
from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.errors import UsageError, WeightsError
from rnafm_cli.io.streams import write_json
from rnafm_cli.rna import thermo
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.batches import Dropouts, PairBatch, collate, draw_batches
from rnafm_cli.structure.fold_data import FoldData, FoldFiles, assemble, draw_rules
from rnafm_cli.structure.fold_recipe import FoldConfig
from rnafm_cli.structure.fold_scores import DevScores
from rnafm_cli.structure.fold_teacher import FoldTeacher, divergence, load_teacher
from rnafm_cli.structure.pair import INPUTS, PairConfig, PairHead, PairLogits
from rnafm_cli.structure.prior_cache import PriorCache
from rnafm_cli.training.head_state import CHECKPOINT, HeadState
from rnafm_cli.training.optimizers import decay_groups
from rnafm_cli.training.run_log import CsvLog
from rnafm_cli.training.stop_signals import StopSignals
from rnafm_cli.weights.files import Card, save_model_file
from rnafm_cli.weights.store import load_component

__all__ = ["FoldOutcome", "FoldRun", "FoldTrainer", "TrainingLog", "begin_from", "head_config", "row_loss", "run_fold"]


_COLUMNS = ("step", "round", "loss", "rate", "grad_norm", "cells_per_s", "mean_length", "seconds")


class TrainingLog:
    """Collects steps and writes a row of their means when asked.

    Args:
        path: CSV file, gone on with; rows after ``step`` are dropped.
    """

    def __init__(self, path: Path, step: int) -> None:
        self._table = CsvLog(path, _COLUMNS, step)
        self._clear()

    def add(self, loss: float, norm: float, batch: PairBatch) -> None:
        """Note one step."""
        self._losses.append(loss)
        self._norms.append(norm)
        count, width = batch.inputs.letters_BL.shape
        self._cells += count * width * width
        self._bases += int(batch.inputs.lengths_B.sum())
        self._count += count

    def write(self, step: int, number: int, rate: float, seconds: float) -> None:
        """Write the means since the last row; ``cells_per_s`` counts cells of padded maps."""
        self._table.add(
            {
                "step": step,
                "round": number,
                "loss": float(np.mean(self._losses)),
                "rate": rate,
                "grad_norm": float(np.mean(self._norms)),
                "cells_per_s": self._cells / (time.monotonic() - self._start),
                "mean_length": self._bases / max(1, self._count),
                "seconds": seconds,
            }
        )
        self._clear()

    def close(self) -> None:
        """Flush and close the file."""
        self._table.close()

    def _clear(self) -> None:
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._cells = self._bases = self._count = 0
        self._start = time.monotonic()


_REPLACEABLE = {"embedding_norm", "embedding_in", "mixer"}
"""Parts of a head whose weights say nothing to another encoder."""


@dataclass
class FoldOutcome:
    """How a run ended."""

    step: int
    finished: bool
    """False when time ran out or a signal came: the same command goes on from here."""
    best_score: float
    best_file: Path


def head_config(config: FoldConfig, embedding: int, *, prior: bool = True) -> PairConfig:
    """The pair head that a recipe describes, for an encoder of width ``embedding`` (0: none)."""
    section = config.head
    absent = {name for name, given in (("embedding", embedding > 0), ("prior", prior)) if not given}
    return PairConfig(
        inputs=tuple(name for name in INPUTS if name not in absent),
        embedding=embedding,
        width=section.width,
        mixer_width=section.mixer_width,
        mixer_layers=section.mixer_layers,
        channels=section.channels,
        dilations=tuple((1, 2, 4)[k % 3] for k in range(section.blocks)),
        heads=section.heads,
        fine=section.fine,
        axial_every=section.axial_every,
        dropout=section.dropout,
        parameters=section.parameters,
    )


def row_loss(logits: PairLogits, target_BL: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy (nats) of each base's choice of partner.

    Args:
        target_BL: partner, L for none, -100 where no loss is taken.
        smoothing: share of the target that goes to the head's own choice of "unpaired".
    """
    choices = logits.log_choices().flatten(0, 1)
    loss = F.nll_loss(choices, target_BL.flatten(), ignore_index=-100)
    if smoothing:
        spread = -choices[target_BL.flatten() >= 0][:, -1].mean()
        loss = (1 - smoothing) * loss + smoothing * spread
    return loss


def begin_from(head: PairHead, start: dict[str, Tensor]) -> str:
    """Fill a head with another's weights; parts that belong to another encoder, or that the other lacks, stay fresh.

    Returns:
        a line that says what was taken.

    Raises:
        WeightsError: when any other tensor does not fit.
    """
    own = head.state_dict()
    fitting = {name: tensor for name, tensor in start.items() if name in own and own[name].shape == tensor.shape}
    others = sorted({name.split(".")[0] for name in (own.keys() | start.keys()) - fitting.keys()})
    if not set(others) <= _REPLACEABLE:
        raise WeightsError(
            f"the head to start from has another size: {', '.join(set(others) - _REPLACEABLE)}",
            hint="give the same [head] in the recipe",
        )
    head.load_state_dict(own | fitting)
    return f"starting from {len(fitting)} tensors of another head" + (f"; fresh: {', '.join(others)}" * bool(others))


class FoldTrainer:
    """A run in a folder: a checkpoint, ``metrics.csv``, ``scores.csv``, ``best.safetensors`` and ``last.safetensors``.

    Args:
        encoder: frozen or trained as ``config.run.encoder`` says; None for a head without embeddings.
        cache: pair probabilities, of the development records at least; None for a head without the prior.
        card: name, hash of the encoder and source of the data; the rest is filled in.
        start: tensors of a head to begin with.
        teacher: a head to learn from, beside the structures, as ``optim.teacher_share`` says.
    """

    def __init__(
        self,
        config: FoldConfig,
        data: FoldData,
        folder: Path,
        *,
        encoder: Encoder | None,
        cache: PriorCache | None,
        card: Card,
        start: dict[str, Tensor] | None = None,
        teacher: FoldTeacher | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.config, self.data, self.folder, self._teacher = config, data, folder, teacher
        self.encoder, self.cache, self._card, self._report = encoder, cache, card, report
        torch.manual_seed(config.optim.seed)
        self.head = PairHead(head_config(config, encoder.config.width if encoder else 0, prior=cache is not None))
        if start is not None:
            report(begin_from(self.head, start))
        self._trained = nn.ModuleDict({"head": self.head})
        if encoder is not None:
            encoder.requires_grad_(config.run.encoder == "full")
            encoder.eval()
            if config.run.encoder == "full":
                self._trained["encoder"] = encoder
        self._optimizer = torch.optim.AdamW(
            [
                {**group, "scale": scale}
                for name, scale in (("head", 1.0), ("encoder", config.optim.encoder_rate / config.optim.rate))
                if name in self._trained
                for group in decay_groups(self._trained[name], config.optim.weight_decay)
            ],
            lr=config.optim.rate,
            betas=(0.9, config.optim.beta2),
            fused=True,
        )
        self._mean = {name: value.detach().clone() for name, value in self._trained.state_dict().items()}
        self.step, self._round, self._batch = 0, 0, 0
        self._seconds = 0.0
        self._best, self._since_best = -math.inf, 0
        self._lengths, self._rows_sha256 = data.lengths, data.sha256()
        self._dev = DevScores(data.dev, cache, config.run, report)

    def train(self, *, max_minutes: float | None = None) -> FoldOutcome:
        """Go on from the folder's checkpoint, if any, until the steps, the time or the patience are used up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._restore()
        began_at = self.step
        write_json(self.folder / "config.json", self.config.to_dict())
        log = TrainingLog(self.folder / "metrics.csv", self.step)
        self._dev.open(self.folder / "scores.csv", self.step)
        run = self.config.run
        started = saved = scored = time.monotonic()
        before, scored_at = self._seconds, -1
        finished = self._is_finished()
        with StopSignals() as signals:
            for records, rng in self._batches() if not finished else ():
                loss, norm, batch = self._advance(records, rng)
                self._seconds = before + time.monotonic() - started
                log.add(loss, norm, batch)
                if self.step % run.log_steps == 0:
                    log.write(self.step, self._round, self._rate(self.step - 1), self._seconds)
                now = time.monotonic()
                every = run.score_steps
                if self.step % every == 0 if every else now - scored >= 60 * run.score_minutes:
                    self._score()
                    scored, scored_at = time.monotonic(), self.step
                finished = self._is_finished()
                out_of_time = max_minutes is not None and now - started >= 60 * max_minutes
                if finished or out_of_time or signals.received is not None:
                    break
                if now - saved >= 60 * run.save_minutes:
                    self._save()
                    saved = time.monotonic()
        # Weights first: whatever a measurement meets, they are kept.
        self._save()
        # Who asks by a signal wants the processor back soon; a finished run that is run again has been measured.
        if signals.received is None and scored_at != self.step and self.step > began_at:
            self._score(planned=finished)
            self._save()
        self._export("last", {})
        log.close()
        self._dev.close()
        return FoldOutcome(self.step, finished, self._best, self.folder / "best.safetensors")

    def mean_head(self) -> tuple[PairHead, Encoder | None]:
        """Head and encoder with the running mean of their weights, in evaluation mode."""
        averaged = copy.deepcopy(self._trained)
        averaged.load_state_dict(self._mean)
        head, encoder = averaged["head"], averaged["encoder"] if "encoder" in averaged else self.encoder
        assert isinstance(head, PairHead)
        return head.eval(), encoder.eval() if isinstance(encoder, Encoder) else None

    def _batches(self) -> Iterator[tuple[list[StructureRecord], np.random.Generator]]:
        seed, draw = self.config.optim.seed, draw_rules(self.config)
        while True:
            batches = draw_batches(self._lengths, self.data.weights, draw, np.random.default_rng([seed, self._round]))
            while self._batch < len(batches):
                rng = np.random.default_rng([seed, self._round, self._batch])
                chosen = [self.data.train[k] for k in batches[self._batch]]
                self._batch += 1
                yield chosen, rng
            self._round, self._batch = self._round + 1, 0

    def _advance(self, records: list[StructureRecord], rng: np.random.Generator) -> tuple[float, float, PairBatch]:
        variation, optim = self.config.variation, self.config.optim
        batch = collate(
            records,
            self.cache,
            noncanonical=self.config.data.noncanonical,
            dropouts=Dropouts(
                embedding=variation.drop_embedding, sequence=variation.drop_sequence, prior=variation.drop_prior
            ),
            mutations=(variation.mutate, variation.mutate_rate, variation.mutate_longest),
            rng=rng,
        )
        torch.manual_seed(int(rng.integers(2**62)))
        if self.encoder is not None:
            batch.inputs.embedding_BLD = self._embed(batch)
        self.head.train()
        with mixed_precision("cpu", bf16=self.config.run.bf16):
            logits = self.head(batch.inputs)
        loss = row_loss(logits, batch.target_BL, smoothing=optim.label_smoothing)
        if self._teacher is not None:
            taught = divergence(logits, self._teacher.log_choices(batch), batch.inputs.lengths_B)
            loss = (1 - optim.teacher_share) * loss + optim.teacher_share * taught
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(self.step) * group["scale"]
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self._trained.parameters(), optim.clip))
        if math.isfinite(norm):
            self._optimizer.step()
        self.step += 1
        # Early weights are far from where they end: a short memory at first.
        decay = min(optim.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self._trained.state_dict().items():
                self._mean[name].lerp_(value, 1 - decay)
        return float(loss.detach()), norm, batch

    def _embed(self, batch: PairBatch) -> Tensor:
        assert self.encoder is not None
        trained = "encoder" in self._trained
        self.encoder.train(trained)
        with torch.set_grad_enabled(trained):
            width = batch.inputs.letters_BL.shape[1]
            return embed_padded(self.encoder, batch.sequences, width, bf16=self.config.run.bf16)

    def _rate(self, step: int) -> float:
        return self.config.optim.rate * self.config.rate_factor(step)

    def _is_finished(self) -> bool:
        patience = self.config.run.patience
        return self.step >= self.config.optim.steps or (bool(patience) and self._since_best >= patience)

    def _score(self, *, planned: bool = True) -> None:
        """Measure; what an interruption brings about does not count against the patience."""
        found = self._dev.measure(*self.mean_head(), step=self.step, seconds=self._seconds)
        self._since_best += planned
        if found.score > self._best:
            self._best, self._since_best = found.score, 0
            self._export("best", found.metrics)

    def _export(self, name: str, metrics: dict[str, Any]) -> None:
        head, encoder = self.mean_head()
        tensors: dict[str, Tensor] = dict(head.state_dict())
        settings = dataclasses.asdict(head.config)
        if "gamma" in metrics:
            settings["gamma"] = metrics["gamma"]
        card = self._card
        if "encoder" in self._trained and encoder is not None:
            tensors = {f"head.{key}": value for key, value in tensors.items()}
            tensors |= {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
            settings["encoder"] = dataclasses.asdict(encoder.config)
            card = dataclasses.replace(card, encoder_sha256=None)
        save_model_file(
            self.folder / f"{name}.safetensors",
            tensors,
            dataclasses.replace(
                card,
                config=settings,
                dtype="float16",
                recipe={**self.config.to_dict(), "step": self.step, "seconds": round(self._seconds)},
                seed=self.config.optim.seed,
                metrics=metrics,
            ),
        )

    def _save(self) -> None:
        if self.cache is not None:
            self.cache.save()
        state = HeadState(
            trained=self._trained.state_dict(),
            mean=self._mean,
            optimizer=self._optimizer.state_dict(),
            step=self.step,
            round=self._round,
            batch=self._batch,
            seconds=self._seconds,
            best=self._best,
            since_best=self._since_best,
            head=dataclasses.asdict(self.config.head),
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
            trained=self._trained.state_dict(),
            head=dataclasses.asdict(self.config.head),
            rows_sha256=self._rows_sha256,
            encoder_sha256=self._card.encoder_sha256,
            what="records",
        )
        state.restore(self._trained, self._optimizer)
        self._mean = state.mean
        self.step, self._round, self._batch = state.step, state.round, state.batch
        self._seconds, self._best, self._since_best = state.seconds, state.best, state.since_best
        self._report(f"resuming at step {self.step}")


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
