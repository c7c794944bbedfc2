"""The pre-training loop: steps, validation, checkpoints, and a clean stop on signals; and what a run will take."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import SLOW_BF16, has_fast_bf16, mixed_precision
from rnafm_cli.errors import ConfigError, RnafmError
from rnafm_cli.io.streams import write_json
from rnafm_cli.pretrain.batches import Feed, StepBatches
from rnafm_cli.pretrain.checkpoint import (
    RunState,
    check_same_run,
    newest_checkpoint,
    restore,
    resume_path,
    save_checkpoint,
)
from rnafm_cli.pretrain.config import TERMS, PretrainConfig, TargetSection
from rnafm_cli.pretrain.model import ASKED, MaskedTokenModel, Sketch, TargetHeads, fit_sketch, uncorrupted
from rnafm_cli.pretrain.processes import Processes
from rnafm_cli.pretrain.shards import Corpus, Split, verify_corpus
from rnafm_cli.pretrain.validation import HeldOutPart
from rnafm_cli.training.optimizers import build_optimizer, decay_groups, rate_at
from rnafm_cli.training.run_log import CsvLog, EventLog, write_run_json
from rnafm_cli.training.trainer import Progress, Report, StopSignals

_METRICS = (
    "step",
    "epoch",
    "tokens",
    "loss",
    "perplexity",
    "accuracy",
    *(f"{name}_loss" for name in ASKED),
    "rate",
    "grad_norm",
    "tokens_per_s",
    "seconds",
    "memory_mb",
)
_VALIDATION = ("step", "tokens", "part", "loss", "perplexity", "accuracy", "masked", "seconds")
_SUMMED = ("loss", "right", *ASKED, "masked", "tokens", "grad_norm", "steps")
_MOST_BAD_STEPS = 5
"""Steps in a row with a loss or gradient that is not finite (each is skipped) before a run stops."""


class EncoderTrainer:
    """One pre-training run in a folder.

    Args:
        config: what to do.
        folder: where checkpoints and logs go.
        resume: ``auto``, ``never`` or a path, see :func:`~rnafm_cli.pretrain.checkpoint.resume_path`.
        processes: this process among those of the run.
        report: called with lines for people (on the first process).
        progress: called with what is counted and the latest losses, how many steps are done, and of how many.
        max_minutes: stop cleanly after this time.
    """

    def __init__(
        self,
        config: PretrainConfig,
        folder: Path,
        *,
        resume: str = "auto",
        processes: Processes | None = None,
        report: Report = lambda line: None,
        progress: Progress = lambda what, done, total: None,
        max_minutes: float | None = None,
    ) -> None:
        self.config, self.folder = config, folder
        self._processes = processes or Processes.single(config.run)
        self._is_first = self._processes.rank == 0
        self._report: Report = report if self._is_first else lambda line: None
        self._progress: Progress = progress if self._is_first else lambda what, done, total: None
        self._deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._checkpoints, corpus_folder = folder / "checkpoints", Path(config.data.corpus)
        start = self._processes.agree(lambda: resume_path(resume, self._checkpoints, self._report))
        self._processes.agree(lambda: verify_corpus(corpus_folder))
        self._corpus = Corpus(corpus_folder)
        if start is not None:
            self._processes.agree(lambda: check_same_run(start, config, self._corpus, self._report))
        if config.run.threads:
            torch.set_num_threads(config.run.threads)
        torch.manual_seed(config.run.seed)
        self.encoder = Encoder(config.model.encoder()) if start is not None else self._first_encoder()
        self._feed = Feed(self._corpus, config, rank=self._processes.rank, world=self._processes.world)
        self.model = MaskedTokenModel(
            self.encoder,
            sketch=self._sketch(fit=start is None) if config.sketch.weight else None,
            targets=self._target_heads(),
        )
        self._shared = self._processes.distribute(self.model, fsdp=config.run.fsdp)
        self._weights = torch.tensor([config.sketch.weight, *(getattr(config.targets, term) for term in TERMS)])
        self.optimizer = build_optimizer(decay_groups(self.model, config.optim.weight_decay), config.optim)
        self.state = RunState()
        self._begin_tally()
        self._started_from = None if resume in ("auto", "never") else str(Path(resume).resolve())
        if start is not None:
            self.state, extra = restore(start, self.model, self.optimizer)
            self._started_from = self._started_from or extra["started_from"]
            self._tally |= extra["tally"]
            self._report(f"resuming from {start} at step {self.state.step:,}")
        if config.run.compile:
            self.encoder.compile(dynamic=False if config.batch.layout == "pack" else None)
        self._parts = self._held_out()
        self._losses, self._held_out_losses = "", ""
        if self._is_first:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "config.json", config.to_dict())
            write_run_json(folder, config=config.to_dict(), facts=self._facts())
            self._metrics = CsvLog(folder / "metrics.csv", _METRICS, self.state.step)
            self._validation = CsvLog(folder / "validation.csv", _VALIDATION, self.state.step)
            self._events = EventLog(folder, self.state.step)

    def _begin_tally(self) -> None:
        """Sums over the steps since the last row of metrics.csv, and the time of training before these.

        They are saved with every checkpoint, so that a resumed run writes the rows that an uninterrupted one does.
        """
        self._tally = {**dict.fromkeys(_SUMMED, 0.0), "seconds": self.state.seconds}

    def _first_encoder(self) -> Encoder:
        """Random weights, or those of ``model.init``."""
        name, shape = self.config.model.init, self.config.model.encoder()
        if name is None:
            return Encoder(shape)
        encoder, card = load_encoder(name)
        found, wanted = asdict(encoder.config), asdict(shape)
        other = [f"{key} {found[key]} instead of {wanted[key]}" for key in wanted if found[key] != wanted[key]]
        if other:
            raise ConfigError(f"model.init {name}: {', '.join(other)}", hint="describe its shape in the model section")
        self._report(f"starting from {card.name} ({card.weights_sha256[:12]})")
        return encoder

    def _target_heads(self) -> TargetHeads | None:
        section, rows = self.config.targets, self._feed.aligned
        if rows is not None:
            for error in rows.rejected:
                self._report(f"left out: {error}")
            self._report(
                f"alignments: {len(rows):,} rows of {rows.families:,} families, none close to a held-out sequence"
            )
        return TargetHeads(self.encoder.config.width, section) if section.on else None

    def _sketch(self, *, fit: bool) -> Sketch:
        """Fitted by the first process, or empty for a checkpoint to fill."""
        if not fit:
            return Sketch(self.encoder.config.width)
        config, device, windows = self.config, self._processes.device, self.config.sketch.windows
        self._report(f"fitting sketches to {windows:,} windows")
        self.encoder.to(device)
        steps = Feed(self._corpus, replace(config, targets=TargetSection())).steps(0, 0)
        batches = (batch.on(device) for step in steps for batch in step.batches)
        shown = ((uncorrupted(tokens, chosen, truth), segments) for tokens, segments, chosen, truth, _ in batches)
        bf16 = config.run.precision == "bf16"
        return self._processes.agree(lambda: fit_sketch(self.encoder, shown, windows=windows, bf16=bf16))

    def _held_out(self) -> list[HeldOutPart]:
        config, section = self.config, self.config.validation
        # Sharded parameters are gathered by all processes together, copies suffice for one.
        if not section.every or not (self._is_first or config.run.fsdp):
            return []
        parts = [split for split in (Split.RANDOM, Split.GROUP) if len(self._corpus.members(split))]
        how: dict[str, Any] = {"sequences": section.sequences, "section": config.batch, "crop": config.data.crop}
        return [HeldOutPart(self._corpus, split, **how) for split in parts]

    def _facts(self) -> dict[str, Any]:
        corpus, shares = self._corpus, self._feed.sampler.shares()
        return {
            "parameters": sum(parameter.numel() for parameter in self.encoder.parameters()),
            "corpus": {
                "folder": str(corpus.folder),
                "fingerprint": corpus.fingerprint,
                "splits": corpus.manifest["splits"],
            },
            "type_shares": {corpus.type_names[kind]: round(share, 6) for kind, share in shares.items()},
            "world": self._processes.world,
            "device": str(self._processes.device),
            "threads": torch.get_num_threads(),
            "resumed_at": self.state.step,
        }

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.state.step >= self.config.optim.steps

    def train(self) -> int | None:
        """Run until all steps are done, a signal comes or the time is over; the state is saved in any case.

        Returns:
            The number of the signal that stopped it, if one did.

        Raises:
            RnafmError: when too many steps in a row give a loss or gradient that is not finite.
        """
        config, state = self.config, self.state
        saved, saved_at = state.step, time.monotonic()
        if config.run.precision == "bf16" and not has_fast_bf16(self._processes.device.type):
            self._report(SLOW_BF16)
        self.model.train()
        feed = self._feed.steps(state.epoch, state.batch)
        with StopSignals() as signals:
            while not self.finished:
                began = time.monotonic()
                self._step(next(feed))
                state.seconds += time.monotonic() - began
                if state.step % config.log.every == 0:
                    self._log_row()
                every = config.validation.every
                if every and (state.step % every == 0 or self.finished):
                    self._validate()
                stop = self._processes.any(signals.received is not None or time.monotonic() > self._deadline)
                if stop or self._saves_at(state.step, saved_at):
                    self._save()
                    saved, saved_at = state.step, time.monotonic()
                self._progress(f"steps{self._losses}{self._held_out_losses}", state.step, config.optim.steps)
                if stop:
                    break
        feed.close()
        if saved != state.step:
            self._save()
        if self.finished:
            self._report(f"finished at step {state.step:,}{self._held_out_losses}")
        else:
            self._report(f"stopped at step {state.step:,}; the same command goes on from there")
        return signals.received

    def _saves_at(self, step: int, saved_at: float) -> bool:
        checkpoint = self.config.checkpoint
        by_step = bool(checkpoint.every_steps) and step % checkpoint.every_steps == 0
        minutes = (time.monotonic() - saved_at) / 60
        return by_step or self._processes.any(0 < checkpoint.every_minutes <= minutes)

    def _step(self, step: StepBatches) -> None:
        config, state, processes = self.config, self.state, self._processes
        device, batches = processes.device, step.batches
        masked, tokens = processes.total(
            [sum(len(batch.truth_N) for batch in batches), sum(batch.real_tokens for batch in batches)]
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(state.step, config.optim)
        sums = torch.zeros(2 + len(ASKED), device=device, dtype=torch.float64)
        for batch in batches:
            with (
                processes.gradient_sync(self._shared, last=batch is batches[-1]),
                mixed_precision(device.type, bf16=config.run.precision == "bf16"),
            ):
                loss, correct, asked = self._shared(*batch.on(device))
                # Losses that are means count by masked tokens, so that micro-batches of a step weigh the same a token.
                asked = asked * len(batch.truth_N)
                # The processes' gradients are averaged; the loss is a mean over all masked tokens of the step.
                whole = loss + (self._weights.to(device) * asked).sum()
                (whole * (processes.world / masked)).backward()
            sums += torch.cat([torch.stack([loss.detach(), correct]), asked.detach()])
        gradient = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.optim.clip or math.inf)
        # FSDP may keep it in parts.
        norm = float(gradient.full_tensor() if isinstance(gradient, DTensor) else gradient)
        found = [*processes.total(sums.tolist()), masked, tokens, norm, 1]
        is_finite = math.isfinite(sum(found))
        if is_finite:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        state.bad_steps = 0 if is_finite else state.bad_steps + 1
        state.step, state.epoch, state.batch = state.step + 1, step.epoch, step.done
        state.tokens += int(tokens)
        if not is_finite:
            self._bad_step()
            return
        for name, value in zip(_SUMMED, found, strict=True):
            self._tally[name] += value

    def _bad_step(self) -> None:
        state = self.state
        self._report(f"step {state.step:,}: loss or gradient is not finite, update skipped")
        if state.bad_steps >= _MOST_BAD_STEPS:
            newest = newest_checkpoint(self._checkpoints)
            raise RnafmError(
                f"{self.folder}: {state.bad_steps} steps in a row without a finite loss or gradient, "
                f"stopped at step {state.step:,}",
                hint=f"resume from {newest} with a lower optim.rate" if newest else "lower optim.rate",
            )

    def _log_row(self) -> None:
        """A row of ``metrics.csv``: means over the steps since the last one."""
        state, tally = self.state, self._tally
        masked = tally["masked"] or math.nan
        loss, accuracy = tally["loss"] / masked, tally["right"] / masked
        speed = tally["tokens"] / max(1e-9, state.seconds - tally["seconds"])
        row = {
            "step": state.step,
            "epoch": state.epoch,
            "tokens": state.tokens,
            "loss": loss,
            "perplexity": _perplexity(loss),
            "accuracy": accuracy,
            **{f"{name}_loss": tally[name] / masked for name in ASKED},
            "rate": rate_at(state.step - 1, self.config.optim),
            "grad_norm": tally["grad_norm"] / max(1, tally["steps"]),
            "tokens_per_s": speed,
            "seconds": state.seconds,
            "memory_mb": self._processes.peak_memory_mb(),
        }
        self._begin_tally()
        self._losses = f", loss {loss:.4f}, accuracy {accuracy:.3f}, {speed:,.0f} tokens/s"
        if self._is_first:
            self._metrics.add(row)
            self._events.add("train", row)

    def _validate(self) -> None:
        self.model.eval()
        self._held_out_losses = ""
        for part in self._parts:
            score = part.score(self.model, self._processes.device, bf16=self.config.run.precision == "bf16")
            self._held_out_losses += f", held-out {part.name} loss {score.loss:.4f}, accuracy {score.accuracy:.3f}"
            if self._is_first:
                place = {"step": self.state.step, "tokens": self.state.tokens, "seconds": self.state.seconds}
                row = {**place, "part": part.name, "perplexity": _perplexity(score.loss), **asdict(score)}
                self._validation.add(row)
                self._events.add(f"valid_{part.name}", row)
        self.model.train()

    def _save(self) -> None:
        if self.state.bad_steps:
            # Whatever makes the loss not finite must not push out the checkpoints that are good.
            return
        extra = {
            "tally": self._tally,
            "config": self.config.to_dict(),
            "shape": asdict(self.encoder.config),
            "fingerprint": self._corpus.fingerprint,
            "started_from": self._started_from,
        }
        keep = self.config.checkpoint.keep
        save_checkpoint(self._checkpoints, self.state, extra, self.model, self.optimizer, self._processes, keep=keep)


def plan(config: PretrainConfig, *, world: int) -> list[str]:
    """Check configuration and corpus, and say what a run needs; no GPU is touched and nothing is trained.

    Args:
        world: processes over all machines.
    """
    verify_corpus(Path(config.data.corpus))
    steps = Feed(Corpus(Path(config.data.corpus)), config, world=world).steps_per_epoch()
    shape, batch, crop = config.model.encoder(), config.batch, config.data.crop
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in Encoder(shape).parameters())
    # Float32: weight, gradient and two moments, which FSDP2 shares out.
    state_gb = 16 * parameters / (world if config.run.fsdp else 1) / 1e9
    # Autograd keeps about 14 widths and 3 feed-forward widths of a layer, and the residual stream.
    size = 2 if config.run.precision == "bf16" else 4
    layer = size * (10 * shape.width + 3 * shape.ffn) + 4 * 2 * shape.width
    if (config.run.device == "cpu" or not torch.cuda.is_available()) and crop <= 512:
        # The encoder keeps the attention maps of short rows on CPUs.
        layer += shape.heads * crop * size * 2
    activations_gb = batch.tokens * shape.layers * layer / 1e9
    # Forward and backward: 6 per weight, plus attention.
    flops_per_token = 6.0 * parameters + 12.0 * shape.layers * shape.width * crop
    return [
        f"parameters: {parameters:,}",
        f"tokens per step: {batch.tokens * batch.micro_batches:,} = {batch.tokens:,} per micro-batch x "
        f"{batch.micro_batches_each(world)} accumulated x {world} processes",
        f"steps per epoch: {steps:,}; the run takes {config.optim.steps / steps:.2f} epochs",
        f"memory per process: about {state_gb + activations_gb:.2f} GB "
        f"({state_gb:.2f} weights and optimiser, {activations_gb:.2f} activations)",
        f"checkpoint: {12 * parameters / 1e9:.2f} GB each",
        f"arithmetic: {flops_per_token / 1e6:,.0f} MFLOP per token",
    ]


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, 20.0))
