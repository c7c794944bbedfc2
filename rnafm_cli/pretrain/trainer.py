"""The pre-training loop: steps, validation, checkpoints, and a clean stop on signals."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import SLOW_BF16, has_fast_bf16, mixed_precision
from rnafm_cli.errors import ConfigError, RnafmError
from rnafm_cli.io.streams import write_json
from rnafm_cli.pretrain.batches import Feed, StepBatches
from rnafm_cli.pretrain.checkpoint import CheckpointFolder, RunState, check_same_run, restore, resume_path
from rnafm_cli.pretrain.config import PretrainConfig, TargetSection
from rnafm_cli.pretrain.masked_model import ASKED, MaskedTokenModel, Sketch, fit_sketch, uncorrupted
from rnafm_cli.pretrain.masking import MaskRule
from rnafm_cli.pretrain.processes import Processes
from rnafm_cli.pretrain.shards import Corpus, Split, verify_corpus
from rnafm_cli.pretrain.targets import TERMS, TargetHeads
from rnafm_cli.pretrain.validation import HeldOutPart, as_tensors
from rnafm_cli.training.optimizers import build_optimizer, decay_groups, rate_at
from rnafm_cli.training.run_log import RunLog, write_run_json
from rnafm_cli.training.stop_signals import StopSignals

__all__ = ["Outcome", "Tally", "Trainer", "clock"]


METRICS = (
    "step", "epoch", "tokens", "loss", "perplexity", "accuracy", *(f"{name}_loss" for name in ASKED),
    "rate", "grad_norm", "tokens_per_s", "seconds", "memory_mb",
)  # fmt: skip
VALIDATION = ("step", "tokens", "part", "loss", "perplexity", "accuracy", "masked", "seconds")


@dataclass
class Tally:
    """Saved with every checkpoint, so that a resumed run writes the rows that an uninterrupted one does."""

    loss: float = 0.0
    """Sum of cross-entropies, nats."""
    asked: list[float] = field(default_factory=lambda: [0.0] * len(ASKED))
    """Sum of what else is asked for, each loss times the masked tokens of its micro-batch."""
    masked: int = 0
    right: int = 0
    tokens: int = 0
    steps: int = 0
    grad_norm: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def row(self, state: RunState, *, rate: float, memory_mb: float) -> dict[str, Any]:
        """A row of ``metrics.csv``: means over the steps counted."""
        masked = self.masked or math.nan
        return {
            "step": state.step,
            "epoch": state.epoch,
            "tokens": state.tokens,
            "loss": self.loss / masked,
            "perplexity": math.exp(min(self.loss / masked, 20.0)),
            "accuracy": self.right / masked,
            **{f"{name}_loss": value / masked for name, value in zip(ASKED, self.asked, strict=True)},
            "rate": rate,
            "grad_norm": self.grad_norm / max(1, self.steps),
            "tokens_per_s": self.tokens / max(1e-9, time.monotonic() - self.started),
            "seconds": state.seconds,
            "memory_mb": memory_mb,
        }

    def pack(self) -> dict[str, Any]:
        """Plain values to save; the clock as time elapsed."""
        return {**asdict(self), "started": self.started - time.monotonic()}

    @classmethod
    def unpack(cls, values: dict[str, Any]) -> Tally:
        """The tally that :meth:`pack` saved, its clock running again."""
        return cls(**{**values, "started": values["started"] + time.monotonic()})


def clock(seconds: float) -> str:
    """A time left in words."""
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


Report = Callable[[str], None]
_REPORT_SECONDS = 30.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    finished: bool
    """All steps are done."""
    stopped_by: int | None = None
    """Signal number that stopped it."""


class Trainer:
    """One pre-training run in a folder.

    Args:
        config: what to do.
        folder: where checkpoints and logs go.
        resume: ``auto`` goes on from the newest complete checkpoint if there is one, ``never`` refuses a folder that
            has one, a path names the checkpoint.
        processes: this process among those of the run.
        report: called with lines for people (on the first process).
        max_minutes: stop cleanly after this time.
    """

    def __init__(
        self,
        config: PretrainConfig,
        folder: Path,
        *,
        resume: str = "auto",
        processes: Processes | None = None,
        report: Report | None = None,
        max_minutes: float | None = None,
    ) -> None:
        self.config, self.folder = config, folder
        self._processes = processes or Processes.single(config.run)
        self._report: Report = report if report and self._processes.rank == 0 else lambda line: None
        self._deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._checkpoints = CheckpointFolder(folder / "checkpoints", keep=config.checkpoint.keep)
        start = self._processes.agree(lambda: resume_path(resume, self._checkpoints, self._report))
        first = self._processes.rank == 0
        if config.data.verify:
            self._processes.agree(lambda: verify_corpus(Path(config.data.corpus)))
        corpus = Corpus(Path(config.data.corpus), verify=False)
        if start is not None:
            self._processes.agree(lambda: check_same_run(start, config, corpus, self._report))
        if config.run.threads:
            torch.set_num_threads(config.run.threads)
        torch.manual_seed(config.run.seed)
        self.encoder = Encoder(config.model.encoder()) if start is not None else self._first_encoder()
        self._feed = Feed(corpus, config, rank=self._processes.rank, world=self._processes.world)
        self.model = MaskedTokenModel(
            self.encoder,
            sketch=self._sketch(corpus, fit=start is None) if config.sketch.weight else None,
            targets=self._target_heads(),
        )
        self._shared = self._processes.distribute(self.model, fsdp=config.run.fsdp)
        self._weights = torch.tensor([config.sketch.weight, *(getattr(config.targets, term) for term in TERMS)])
        self.optimizer = build_optimizer(decay_groups(self.model, config.optim.weight_decay), config.optim)
        self.state, self._tally = RunState(), Tally()
        self._started_from: str | None = None
        if start is not None:
            self.state, extra = restore(start, self.model, self.optimizer)
            named = resume not in ("auto", "never")
            self._started_from = str(Path(resume).resolve()) if named else extra.get("started_from")
            self._tally = Tally.unpack(extra["window"])
            self._report(f"resuming from {start} at step {self.state.step:,}")
        if config.run.compile:
            self.encoder.compile(dynamic=False if config.batch.layout == "pack" else None)
        self._parts = self._held_out(corpus)
        self._fingerprint = corpus.fingerprint
        if first:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "config.json", config.to_dict())
            write_run_json(folder, config=config.to_dict(), facts=self._facts(corpus))
            tables = {"metrics": METRICS, "validation": VALIDATION}
            self._log = RunLog(folder, tables, step=self.state.step, tensorboard=config.log.tensorboard)

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
            self._report(
                f"alignments: {len(rows):,} rows of {rows.families:,} families, none close to a held-out sequence"
            )
        return TargetHeads(self.encoder.config.width, section) if section.on else None

    def _sketch(self, corpus: Corpus, *, fit: bool) -> Sketch:
        """Fitted by the first process, or empty for a checkpoint to fill."""
        if not fit:
            return Sketch(self.encoder.config.width)
        config, device = self.config, self._processes.device
        self._report(f"fitting sketches to {config.sketch.windows:,} windows")
        self.encoder.to(device)
        feed = Feed(corpus, replace(config, targets=TargetSection()))
        batches = (as_tensors(batch, device) for step in feed.steps(0, 0) for batch in step.batches)
        shown = ((uncorrupted(tokens, chosen, truth), segments) for tokens, segments, chosen, truth in batches)
        bf16 = config.run.precision == "bf16"
        return self._processes.agree(lambda: fit_sketch(self.encoder, shown, windows=config.sketch.windows, bf16=bf16))

    def train(self) -> Outcome:
        """Run until all steps are done, a signal comes or the time is over; the state is saved in any case.

        Raises:
            RnafmError: when too many steps in a row give a loss or gradient that is not finite.
        """
        config, state = self.config, self.state
        saved, saved_at, reported = state.step, time.monotonic(), -math.inf
        if config.run.precision == "bf16" and not has_fast_bf16(self._processes.device.type):
            self._report(SLOW_BF16)
        self.model.train()
        feed = self._feed.steps(state.epoch, state.batch)
        with StopSignals() as signals:
            while state.step < config.optim.steps:
                began = time.monotonic()
                self._step(next(feed))
                state.seconds += time.monotonic() - began
                if state.step % config.log.every == 0:
                    row = self._log_row()
                    if time.monotonic() - reported > _REPORT_SECONDS:
                        reported = time.monotonic()
                        self._report(self._progress_line(row))
                if self._validates_at(state.step):
                    self._validate()
                stop = self._processes.any(signals.received is not None or time.monotonic() > self._deadline)
                if stop or self._saves_at(state.step, saved_at):
                    self._save()
                    saved, saved_at = state.step, time.monotonic()
                if stop:
                    break
        feed.close()
        finished = state.step >= config.optim.steps
        if saved != state.step:
            self._save()
        if not finished:
            self._report(f"stopped at step {state.step:,}; the same command goes on from there")
        if self._processes.rank == 0:
            self._log.close()
        return Outcome(state.step, finished, signals.received)

    def _validates_at(self, step: int) -> bool:
        every = self.config.validation.every
        return bool(every) and (step % every == 0 or step == self.config.optim.steps)

    def _saves_at(self, step: int, saved_at: float) -> bool:
        checkpoint = self.config.checkpoint
        by_step = bool(checkpoint.every_steps) and step % checkpoint.every_steps == 0
        minutes = (time.monotonic() - saved_at) / 60
        return by_step or self._processes.any(0 < checkpoint.every_minutes <= minutes)

    def _step(self, step: StepBatches) -> None:
        config, state = self.config, self.state
        device = self._processes.device
        counts = [
            sum(len(batch.truth_N) for batch in step.batches),
            sum(batch.real_tokens for batch in step.batches),
        ]
        masked, tokens = self._processes.total(counts)
        rate = rate_at(state.step, config.optim)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        sums = torch.zeros(2 + len(ASKED), device=device, dtype=torch.float64)
        bf16 = config.run.precision == "bf16"
        for number, batch in enumerate(step.batches):
            with (
                self._processes.gradient_sync(self._shared, last=number == len(step.batches) - 1),
                mixed_precision(device.type, bf16=bf16),
            ):
                targets = None if batch.targets is None else batch.targets.to(device)
                loss, correct, asked = self._shared(*as_tensors(batch, device), targets)
                # Losses that are means count by masked tokens, so that micro-batches of a step weigh the same a token.
                asked = asked * len(batch.truth_N)
                # The processes' gradients are averaged; the loss is a mean over all masked tokens of the step.
                whole = loss + (self._weights.to(device) * asked).sum()
                (whole * (self._processes.world / masked)).backward()
            sums += torch.cat([torch.stack([loss.detach(), correct]), asked.detach()])
        norm = self._processes.whole(
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.optim.clip or math.inf)
        )
        total_loss, right, *total_asked = self._processes.total(sums.tolist())
        if math.isfinite(total_loss + sum(total_asked)) and math.isfinite(norm):
            self.optimizer.step()
            state.bad_steps = 0
        else:
            state.bad_steps += 1
        self.optimizer.zero_grad(set_to_none=True)
        state.step, state.epoch, state.batch = state.step + 1, step.epoch, step.done
        state.tokens += int(tokens)
        if state.bad_steps:
            self._bad_step()
            return
        tally = self._tally
        tally.loss, tally.grad_norm, tally.steps = tally.loss + total_loss, tally.grad_norm + norm, tally.steps + 1
        tally.asked = [before + value for before, value in zip(tally.asked, total_asked, strict=True)]
        tally.masked, tally.right = tally.masked + int(masked), tally.right + int(right)
        tally.tokens += int(tokens)

    def _bad_step(self) -> None:
        state = self.state
        self._report(f"step {state.step:,}: loss or gradient is not finite, update skipped")
        if state.bad_steps >= self.config.run.max_bad_steps:
            newest = self._checkpoints.newest()
            raise RnafmError(
                f"{self.folder}: {state.bad_steps} steps in a row without a finite loss or gradient, "
                f"stopped at step {state.step:,}",
                hint=f"resume from {newest} with a lower optim.rate" if newest else "lower optim.rate",
            )

    def _log_row(self) -> dict[str, Any]:
        rate = rate_at(self.state.step - 1, self.config.optim)
        row = self._tally.row(self.state, rate=rate, memory_mb=self._processes.peak_memory_mb())
        if self._processes.rank == 0:
            self._log.add("metrics", row, "train")
        self._tally = Tally()
        return row

    def _progress_line(self, row: dict[str, Any]) -> str:
        state = self.state
        left = (self.config.optim.steps - state.step) * state.seconds / state.step
        return (
            f"step {state.step:,}/{self.config.optim.steps:,}, loss {row['loss']:.4f}, accuracy {row['accuracy']:.3f}, "
            f"{row['tokens_per_s']:,.0f} tokens/s, {state.tokens / 1e6:.1f} M tokens, {clock(left)} left"
        )

    def _held_out(self, corpus: Corpus) -> list[HeldOutPart]:
        if not self.config.validation.every or self._processes.rank and not self.config.run.fsdp:
            return []
        config = self.config
        return [
            HeldOutPart(
                corpus,
                split,
                sequences=config.validation.sequences,
                seed=config.validation.seed,
                rule=MaskRule(),
                layout=config.batch.layout,
                budget=config.batch.tokens,
                row_tokens=config.data.crop,
            )
            for split in (Split.RANDOM, Split.GROUP)
            if len(corpus.members(split))
        ]

    def _validate(self) -> None:
        self.model.eval()
        began = time.monotonic()
        for part in self._parts:
            score = part.score(self.model, self._processes.device, bf16=self.config.run.precision == "bf16")
            if score is None or self._processes.rank:
                continue
            self._log.add(
                "validation",
                {
                    "step": self.state.step,
                    "tokens": self.state.tokens,
                    "part": part.name,
                    "loss": score.loss,
                    "perplexity": math.exp(min(score.loss, 20.0)),
                    "accuracy": score.accuracy,
                    "masked": score.masked,
                    "seconds": self.state.seconds,
                },
                f"valid_{part.name}",
            )
            self._report(
                f"step {self.state.step:,}: held-out {part.name} loss {score.loss:.4f}, accuracy {score.accuracy:.3f}"
            )
        self._tally.started += time.monotonic() - began
        self.model.train()

    def _save(self) -> None:
        if self.state.bad_steps:
            # Whatever makes the loss not finite must not push out the checkpoints that are good.
            return
        began = time.monotonic()
        extra = {
            "window": self._tally.pack(),
            "config": self.config.to_dict(),
            "shape": asdict(self.encoder.config),
            "fingerprint": self._fingerprint,
            "started_from": self._started_from,
        }
        self._checkpoints.save(self.model, self.optimizer, self.state, extra)
        self._tally.started += time.monotonic() - began

    def _facts(self, corpus: Corpus) -> dict[str, Any]:
        return {
            "parameters": sum(parameter.numel() for parameter in self.encoder.parameters()),
            "corpus": {
                "folder": str(corpus.folder),
                "fingerprint": corpus.fingerprint,
                "splits": corpus.manifest["splits"],
            },
            "type_shares": {
                corpus.type_names[kind]: round(share, 6) for kind, share in self._feed.sampler.shares().items()
            },
            "world": self._processes.world,
            "device": str(self._processes.device),
            "threads": torch.get_num_threads(),
            "resumed_at": self.state.step,
        }
