"""The pre-training loop: steps, validation, checkpoints, and a clean stop on signals."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from rnafm_cli.data.shards import Corpus, Split, write_json
from rnafm_cli.errors import ConfigError, RnafmError
from rnafm_cli.models.encoder import Encoder
from rnafm_cli.training.checkpoint import CheckpointFolder, RunState, read_marker, restore
from rnafm_cli.training.config import PretrainConfig
from rnafm_cli.training.feed import Feed, StepBatches
from rnafm_cli.training.masked_model import MaskedTokenModel, decay_groups
from rnafm_cli.training.processes import Processes
from rnafm_cli.training.run_log import RunLog, write_run_json
from rnafm_cli.training.schedule import rate_at
from rnafm_cli.training.validation import HeldOutPart, as_tensors

__all__ = ["Outcome", "Trainer"]

Report = Callable[[str], None]
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_REPORT_SECONDS = 30.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    finished: bool
    """All steps are done."""
    stopped_by: int | None = None
    """Signal number that stopped it."""


@dataclass
class _Window:
    """Sums since the last row of metrics.csv; saved with checkpoints so that a resumed curve has the same rows."""

    loss: float = 0.0
    masked: int = 0
    right: int = 0
    tokens: int = 0
    steps: int = 0
    grad_norm: float = 0.0
    started: float = field(default_factory=time.monotonic)


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
        self._deadline = time.monotonic() + 60 * max_minutes if max_minutes else math.inf
        self._checkpoints = CheckpointFolder(folder / "checkpoints", keep=config.checkpoint.keep)
        start = self._resume_path(resume)
        first = self._processes.rank == 0
        corpus = Corpus(Path(config.data.corpus), verify=config.data.verify and first)
        self._processes.barrier()
        if start is not None:
            self._check_same_run(start, corpus)
        if config.run.threads:
            torch.set_num_threads(config.run.threads)
        torch.manual_seed(config.run.seed)
        self.encoder = Encoder(config.model.encoder())
        self.model = MaskedTokenModel(self.encoder)
        self._shared = self._processes.distribute(self.model, fsdp=config.run.fsdp)
        optim = config.optim
        self.optimizer = torch.optim.AdamW(
            decay_groups(self.model, optim.weight_decay), lr=optim.rate, betas=(optim.beta1, optim.beta2), eps=optim.eps, fused=True
        )
        self.state, self._window = RunState(), _Window()
        if start is not None:
            self.state, extra = restore(start, self.model, self.optimizer)
            self._window = _Window(**extra["window"])
            self._window.started += time.monotonic()
            self._report(f"resuming from {start} at step {self.state.step:,}")
        if config.run.compile:
            self.encoder.compile(dynamic=False if config.batch.layout == "pack" else None)
        self._feed = Feed(corpus, config, rank=self._processes.rank, world=self._processes.world)
        self._parts = self._held_out(corpus)
        self._fingerprint = corpus.fingerprint
        self._signal: int | None = None
        if first:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "config.json", config.to_dict())
            write_run_json(folder, config=config.to_dict(), facts=self._facts(corpus))
            self._log = RunLog(folder, step=self.state.step, tensorboard=config.log.tensorboard)

    def train(self) -> Outcome:
        """Run until all steps are done, a signal comes or the time is over; the state is saved in any case.

        Raises:
            RnafmError: when too many steps in a row give a loss or gradient that is not finite.
        """
        config, state = self.config, self.state
        saved, saved_at = state.step, time.monotonic()
        reported = time.monotonic()
        self.model.train()
        with self._signals():
            feed = self._feed.steps(state.epoch, state.batch)
            while state.step < config.optim.steps:
                began = time.monotonic()
                self._step(next(feed))
                state.seconds += time.monotonic() - began
                if state.step % config.log.every == 0:
                    row = self._log_row()
                    if time.monotonic() - reported > _REPORT_SECONDS or state.step == config.log.every:
                        reported = time.monotonic()
                        self._report(self._progress_line(row))
                if config.validation.every and state.step % config.validation.every == 0:
                    self._validate()
                stop = self._processes.any(self._signal is not None or time.monotonic() > self._deadline)
                by_step = config.checkpoint.every_steps and state.step % config.checkpoint.every_steps == 0
                minutes = (time.monotonic() - saved_at) / 60
                by_time = self._processes.any(0 < config.checkpoint.every_minutes <= minutes)
                if stop or by_step or by_time:
                    self._save()
                    saved, saved_at = state.step, time.monotonic()
                if stop:
                    self._report(f"stopped at step {state.step:,}; the same command goes on from there")
                    break
            feed.close()
        finished = state.step >= config.optim.steps
        if saved != state.step:
            self._save()
        if finished and config.validation.every and state.step % config.validation.every:
            self._validate()
        if self._processes.rank == 0:
            self._log.close()
        return Outcome(state.step, finished, self._signal)

    def _step(self, step: StepBatches) -> None:
        config, state, window = self.config, self.state, self._window
        device = self._processes.device
        counts = [
            sum(len(batch.truth_N) for batch in step.batches),
            sum(batch.real_tokens for batch in step.batches),
        ]
        masked, tokens = self._processes.total(counts)
        rate = rate_at(state.step, config.optim)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss_sum = torch.zeros((), device=device)
        right = torch.zeros((), device=device, dtype=torch.int64)
        bf16 = config.run.precision == "bf16"
        for number, batch in enumerate(step.batches):
            with (
                self._processes.gradient_sync(self._shared, last=number == len(step.batches) - 1),
                torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16),
            ):
                loss, correct = self._shared(*as_tensors(batch, device))
                # The processes' gradients are averaged; the loss is a mean over all masked tokens of the step.
                (loss * (self._processes.world / masked)).backward()
            loss_sum += loss.detach()
            right += correct
        norm = float(
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.optim.clip or math.inf)  # type: ignore[arg-type]
        )
        total_loss, total_right = self._processes.total([float(loss_sum), float(right)])
        if math.isfinite(total_loss) and math.isfinite(norm):
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
        window.loss += total_loss
        window.right += int(total_right)
        window.masked += int(masked)
        window.tokens += int(tokens)
        window.steps += 1
        window.grad_norm += norm

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
        state, window = self.state, self._window
        now = time.monotonic()
        loss = window.loss / window.masked if window.masked else math.nan
        row = {
            "step": state.step,
            "epoch": state.epoch,
            "tokens": state.tokens,
            "loss": loss,
            "perplexity": math.exp(min(loss, 20.0)),
            "accuracy": window.right / window.masked if window.masked else math.nan,
            "rate": rate_at(state.step - 1, self.config.optim),
            "grad_norm": window.grad_norm / max(1, window.steps),
            "tokens_per_s": window.tokens / max(1e-9, now - window.started),
            "seconds": state.seconds,
            "memory_mb": self._processes.peak_memory_mb(),
        }
        if self._processes.rank == 0:
            self._log.metrics(row)
        self._window = _Window()
        return row

    def _progress_line(self, row: dict[str, Any]) -> str:
        state = self.state
        left = (self.config.optim.steps - state.step) * state.seconds / state.step
        return (
            f"step {state.step:,}/{self.config.optim.steps:,}, loss {row['loss']:.4f}, accuracy {row['accuracy']:.3f}, "
            f"{row['tokens_per_s']:,.0f} tokens/s, {state.tokens / 1e6:.1f} M tokens, {_clock(left)} left"
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
                rule=config.mask,
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
            self._log.validation(
                {
                    "step": self.state.step,
                    "tokens": self.state.tokens,
                    "part": part.name,
                    "loss": score.loss,
                    "perplexity": math.exp(min(score.loss, 20.0)),
                    "accuracy": score.accuracy,
                    "masked": score.masked,
                    "seconds": self.state.seconds,
                }
            )
            self._report(
                f"step {self.state.step:,}: held-out {part.name} loss {score.loss:.4f}, accuracy {score.accuracy:.3f}"
            )
        self._window.started += time.monotonic() - began
        self.model.train()

    def _save(self) -> None:
        began = time.monotonic()
        window = {**asdict(self._window), "started": self._window.started - began}
        extra = {"window": window, "config": self.config.to_dict(), "fingerprint": self._fingerprint}
        self._checkpoints.save(self.model, self.optimizer, self.state, extra)
        self._window.started += time.monotonic() - began

    def _resume_path(self, resume: str) -> Path | None:
        if resume not in ("auto", "never"):
            fault = self._checkpoints.fault(Path(resume))
            if fault:
                raise ConfigError(f"--resume {resume}: {fault}", hint="name a step-... folder, or use --resume auto")
            return Path(resume)
        newest = self._checkpoints.newest(self._report)
        if newest and resume == "never":
            raise ConfigError(
                f"--resume never: {self.folder} already holds {newest.name}",
                hint="choose another folder for a new run, or --resume auto to go on",
            )
        return newest

    def _check_same_run(self, start: Path, corpus: Corpus) -> None:
        extra = read_marker(start)["extra"]
        if extra["fingerprint"] != corpus.fingerprint:
            raise ConfigError(
                f"{start}: was trained on another corpus than {corpus.folder}",
                hint="point data.corpus to the corpus of this run, or start a new run in another folder",
            )
        before, now = extra["config"], self.config.to_dict()
        if before["model"] != now["model"]:
            raise ConfigError(f"{start}: the model section has changed", hint="start a new run in another folder")
        changed = [
            f"{section}.{key}"
            for section, values in now.items()
            for key, value in values.items()
            if before.get(section, {}).get(key) != value
        ]
        if changed:
            self._report(f"changed since the checkpoint: {', '.join(changed)}")

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

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first signal asks for a stop after the current step; a second Ctrl-C stops at once."""

        def note(number: int, frame: FrameType | None) -> None:
            if self._signal is not None and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._signal = number

        before = {number: signal.signal(number, note) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _clock(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
