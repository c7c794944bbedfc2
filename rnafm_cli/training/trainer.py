"""One trainer for the heads of all tasks: drawn batches, a running mean of the weights, measuring, exact resume.

Everything random follows from the seed, the round and the batch, so a run that was stopped and resumed ends with the
same weights.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import math
import os
import pickle
import signal
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rnafm_cli.errors import ConfigError, InputError, RnafmError
from rnafm_cli.io.streams import atomic_path, write_json
from rnafm_cli.training.optimizers import build_optimizer, decay_groups, keeping_settings, rate_at
from rnafm_cli.training.recipes import Recipe
from rnafm_cli.training.run_log import CsvLog
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import save_model_file
from rnafm_cli.weights.store import encoder_source

CHECKPOINT = "checkpoint.pt"
UNREADABLE = (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError, struct.error)
"""What PyTorch and a look inside raise for a damaged file of tensors."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)

Report = Callable[[str], None]
Progress = Callable[[str, int, int], None]
"""Called with what is counted, how many are done, and of how many."""


def rows_sha256(sequences: Iterable[str], *values: NDArray[Any]) -> str:
    """SHA-256 (hex) of training rows: their sequences in order, and arrays of what is known of them."""
    digest = hashlib.sha256("\n".join(sequences).encode())
    for array in values:
        digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def seed_torch(rng: np.random.Generator) -> None:
    """Dropout and whatever else PyTorch draws follow from the generator."""
    torch.manual_seed(int(rng.integers(2**62)))


class StopSignals:
    """Notes SIGINT, SIGTERM, SIGUSR1 and SIGHUP for the time of a ``with`` block.

    Alone, a second Ctrl-C stops at once. Under torchrun it does not: the launcher passes on the Ctrl-C that the
    terminal has already sent to every process.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        # Only the main thread may set handlers; elsewhere (a run inside a service, say) nobody asks.
        if threading.current_thread() is threading.main_thread():
            # What was ignored stays so: under nohup a hang-up ends nothing.
            heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(self, *of_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT and "TORCHELASTIC_RUN_ID" not in os.environ:
            raise KeyboardInterrupt
        self.received = number


@dataclass(frozen=True, kw_only=True)
class HeadRun:
    """What ``rnafm finetune`` was asked to do, whatever the head is for, and whom it tells.

    Args:
        output: folder of the run.
        model: name or file of the encoder; None for a head without one.
        init_from: file of a head, or the name of a model that has one, whose weights are the start.
    """

    output: Path
    report: Report
    progress: Progress = lambda what, done, total: None
    name: str = "head"
    model: str | None = None
    weights_dir: Path | None = None
    init_from: str | None = None
    max_minutes: float | None = None
    started: float = field(default_factory=time.monotonic)

    def minutes_left(self) -> float | None:
        """Of ``max_minutes``, what was prepared counted; None without end."""
        spent = (time.monotonic() - self.started) / 60
        return None if self.max_minutes is None else max(0.0, self.max_minutes - spent)

    def card(self, kind: str, encoder_sha256: str | None, source: dict[str, Any]) -> Card:
        """The card of a head, for the trainer to fill in."""
        source = {**source, "encoder": encoder_source(self.model)}
        return Card(name=self.name, kind=kind, config={}, encoder_sha256=encoder_sha256, source=source)


@dataclass
class Scored:
    """What a measurement found.

    Args:
        score: by which heads are selected; higher is better.
        metrics: for the card.
        settings: for the card's configuration, such as calibration.
        rows: for scores.csv.
    """

    score: float
    metrics: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    finished: bool
    """False when time ran out or a signal came: the same command goes on from here."""
    best_score: float
    best_file: Path
    signal: int | None = None
    """That ended it."""
    early: bool = False
    """Finished before its last step, since the score no longer rose."""


class Task(ABC):
    """What differs between the heads: rows, network, loss and measurement."""

    kind: str
    """Of the head, for its card."""
    row_name = "rows"
    """What is trained on, in messages."""
    measure_name = ""
    """What ``Scored.score`` is, in messages."""
    parts: Sequence[str] = ()
    """What :meth:`loss` returns besides, for metrics.csv."""
    score_columns: Sequence[str] = ()
    """Of scores.csv, after step and seconds; without any there is no such file."""
    files: tuple[str, str | None] = ("best", "last")
    """Names, without suffix, of the best and the last head; None to leave the latter out."""
    midway = True
    """Measure while training, not at the end alone."""
    rows_sha256: str
    """Of the training rows."""

    @abstractmethod
    def new_head(self) -> nn.Module:
        """A head with initial values; PyTorch is seeded."""

    @abstractmethod
    def batches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Batches (row numbers) of one round over the training rows, in random order."""

    @abstractmethod
    def loss(
        self, head: nn.Module, encoder: Any, rows: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of one batch, and ``parts``; an encoder that is given is trained along.

        The task calls :func:`seed_torch` before the network runs.
        """

    @abstractmethod
    def measure(self, head: nn.Module, encoder: Any) -> Scored:
        """Score a head in evaluation mode on the development rows."""

    def rates(self, head: nn.Module, rate: float) -> list[tuple[nn.Module, float]]:
        """The parts of a head with the peak rate of each."""
        return [(head, rate)]

    def save(self) -> None:  # noqa: B027
        """Write down what was computed on the way; called with every checkpoint."""


class Trainer:
    """A run in a folder: a checkpoint, ``metrics.csv``, ``scores.csv``, the best head so far and the last one.

    Args:
        recipe: with the steps of the run.
        encoder: trained along with the head if given; a frozen one is the task's affair.
        card: name, hash of the encoder and source of the data; the rest is filled in.
    """

    def __init__(
        self,
        recipe: Recipe,
        task: Task,
        folder: Path,
        *,
        card: Card,
        encoder: nn.Module | None = None,
        device: str = "cpu",
        report: Report = lambda line: None,
        progress: Progress = lambda what, done, total: None,
    ) -> None:
        self.recipe, self.task, self.folder = recipe, task, folder
        self._card, self._report, self._progress = card, report, progress
        optim, self.steps = recipe.optim, recipe.optim.steps
        self._score_steps = recipe.run.score_steps or max(1, self.steps // 10)
        torch.manual_seed(optim.seed)
        self.trained = nn.ModuleDict({"head": task.new_head()})
        if encoder is not None:
            self.trained["encoder"] = encoder.requires_grad_(True)
        self._device = torch.device(device)
        self.trained.to(self._device)
        parts = task.rates(self.trained["head"], optim.rate)
        if encoder is not None:
            parts.append((encoder, optim.encoder_rate))
        groups = [
            {**group, "scale": rate / optim.rate}
            for part, rate in parts
            for group in decay_groups(part, optim.weight_decay)
            if group["params"]
        ]
        self._optimizer = build_optimizer(groups, optim)
        self.mean = {name: value.detach().clone() for name, value in self.trained.state_dict().items()}
        self.step, self._round, self._batch = 0, 0, 0
        self._seconds, self._best, self._since_best = 0.0, -math.inf, 0

    def train(self, *, max_minutes: float | None = None) -> Outcome:
        """Go on from the folder's checkpoint, if any, until the steps, the time or the patience are used up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._restore()
        began_at, scored_at, finished = self.step, -1, self._is_finished()
        write_json(self.folder / "config.json", self.recipe.to_dict())
        names = ("loss", "grad_norm", *self.task.parts)
        log = CsvLog(self.folder / "metrics.csv", ("step", "round", *names, "rate", "rows_per_s", "seconds"), self.step)
        columns = ("step", "seconds", *self.task.score_columns)
        self._scores = CsvLog(self.folder / "scores.csv", columns, self.step) if self.task.score_columns else None
        run, seen = self.recipe.run, list[dict[str, float]]()
        started = saved = logged = time.monotonic()
        before = self._seconds
        with StopSignals() as signals:
            for rows, rng in self._batches() if not finished else ():
                seen.append(self._advance(rows, rng))
                now = time.monotonic()
                self._seconds = before + now - started
                if self.step % run.log_steps == 0:
                    means = {name: float(np.mean([one.get(name, math.nan) for one in seen])) for name in names}
                    speed = sum(one["rows"] for one in seen) / max(now - logged, 1e-9)
                    rate = rate_at(self.step - 1, self.recipe.optim)
                    place = {"step": self.step, "round": self._round, "rate": rate, "seconds": self._seconds}
                    log.add({**place, **means, "rows_per_s": speed})
                    seen, logged = [], now
                if self.task.midway and self.step % self._score_steps == 0:
                    self._score()
                    scored_at = self.step
                finished = self._is_finished()
                self._progress("steps" + self._best_so_far(), self.step, self.steps)
                out_of_time = max_minutes is not None and now - started >= 60 * max_minutes
                if finished or out_of_time or signals.received is not None:
                    break
                if now - saved >= 60 * run.save_minutes:
                    self._save()
                    saved = now
        # Weights first: whatever a measurement meets, they are kept.
        self._save()
        # Who asks by a signal wants the processor back soon; a finished run that is run again has been measured.
        wanted = self.step > began_at if self.task.midway else finished
        if signals.received is None and wanted and scored_at != self.step:
            self._score(planned=finished)
            self._save()
        best, last = self.task.files
        if last is not None:
            self._export(last, Scored(math.nan))
        received = None if finished else signals.received
        early = finished and self.step < self.steps
        return Outcome(self.step, finished, self._best, self.folder / f"{best}.safetensors", received, early)

    def mean_head(self) -> tuple[nn.Module, Any]:
        """Head and trained encoder with the running mean of their weights, in evaluation mode."""
        averaged = copy.deepcopy(self.trained)
        averaged.load_state_dict(self.mean)
        averaged.eval()
        return averaged["head"], self._encoder_of(averaged)

    def _batches(self) -> Iterator[tuple[np.ndarray, np.random.Generator]]:
        seed = self.recipe.optim.seed
        while True:
            batches = self.task.batches(np.random.default_rng([seed, self._round]))
            while self._batch < len(batches):
                rows, rng = batches[self._batch], np.random.default_rng([seed, self._round, self._batch])
                self._batch += 1
                yield rows, rng
            self._round, self._batch = self._round + 1, 0

    def _advance(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
        """One step: what is to be logged of it."""
        optim = self.recipe.optim
        self.trained.train()
        loss, parts = self.task.loss(self.trained["head"], self._encoder_of(self.trained), rows, rng)
        for group in self._optimizer.param_groups:
            group["lr"] = rate_at(self.step, optim) * group["scale"]
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self.trained.parameters(), optim.clip or math.inf))
        if math.isfinite(norm):
            self._optimizer.step()
        self.step += 1
        # Early weights are far from where they end: a short memory at first.
        decay = min(optim.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.trained.state_dict().items():
                if value.is_floating_point():
                    self.mean[name].lerp_(value, 1 - decay)
                else:
                    self.mean[name].copy_(value)
        return {"loss": float(loss.detach()), "grad_norm": norm, "rows": len(rows), **parts}

    def _is_finished(self) -> bool:
        patience = self.recipe.run.patience
        return self.step >= self.steps or (bool(patience) and self._since_best >= patience)

    def _score(self, *, planned: bool = True) -> None:
        """Measure; what an interruption brings about does not count against the patience."""
        found = self.task.measure(*self.mean_head())
        if self._scores is not None:
            for row in found.rows:
                self._scores.add({"step": self.step, "seconds": self._seconds, **row})
        self._since_best += planned
        # A measure may be undefined (one value for all rows, say): what there is first counts as the best.
        if found.score > self._best or self._best == -math.inf:
            self._best, self._since_best = max(self._best, found.score), 0
            self._export(self.task.files[0], found)
        if self.task.measure_name:
            left = (self.steps - self.step) * self._seconds / max(1, self.step) / 60
            time_left = f"{left / 60:.1f} hours" if left > 90 else f"{left:.0f} minutes"
            self._report(
                f"step {self.step} of {self.steps}: {self.task.measure_name} {found.score:.4f}"
                f"{self._best_so_far()}, about {time_left} left"
            )

    def _best_so_far(self) -> str:
        return f", best so far {self._best:.4f}" if self.task.measure_name and self._best > -math.inf else ""

    def _export(self, name: str, found: Scored) -> None:
        head, encoder = self.mean_head()
        tensors: dict[str, Tensor] = dict(head.state_dict())
        shape: Any = head.config
        settings, card = dataclasses.asdict(shape) | found.settings, self._card
        if encoder is not None:
            tensors = {f"head.{key}": value for key, value in tensors.items()}
            tensors |= {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
            settings["encoder"] = dataclasses.asdict(encoder.config)
            card = dataclasses.replace(card, encoder_sha256=None)
        save_model_file(
            self.folder / f"{name}.safetensors",
            {key: value.cpu() for key, value in tensors.items()},
            dataclasses.replace(
                card,
                kind=self.task.kind,
                config=settings,
                dtype="float16",
                recipe={**self.recipe.to_dict(), "step": self.step, "seconds": round(self._seconds)},
                seed=self.recipe.optim.seed,
                metrics=found.metrics,
            ),
        )

    @staticmethod
    def _encoder_of(trained: nn.ModuleDict) -> Any:
        return trained["encoder"] if "encoder" in trained else None

    def _identity(self) -> dict[str, Any]:
        shape: Any = self.trained["head"].config
        return {
            "head": dataclasses.asdict(shape),
            "tensors": sorted(self.mean),
            "rows": self.task.rows_sha256,
            "encoder": self._card.encoder_sha256,
        }

    def _save(self) -> None:
        self.task.save()
        state = {
            "identity": self._identity(),
            "trained": self.trained.state_dict(),
            "mean": self.mean,
            "optimizer": self._optimizer.state_dict(),
            "place": (self.step, self._round, self._batch),
            "progress": (self._seconds, self._best, self._since_best),
        }
        path = self.folder / CHECKPOINT
        try:
            with atomic_path(path) as scratch:
                torch.save(state, scratch)
        except (OSError, RuntimeError) as error:
            raise RnafmError(
                f"{path}: cannot write the checkpoint: {error}", hint="free some space and run the same command again"
            ) from error

    def _restore(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        try:
            state = torch.load(path, weights_only=True, map_location=self._device)
            identity = state["identity"]
        except UNREADABLE as error:
            raise InputError(f"{path}: not a checkpoint of a head ({error})") from error
        if identity != self._identity():
            raise ConfigError(
                f"{path}: belongs to a run with another head or encoder, or other training {self.task.row_name}",
                hint="start a new run in another folder",
            )
        self.trained.load_state_dict(state["trained"])
        with keeping_settings(self._optimizer):
            self._optimizer.load_state_dict(state["optimizer"])
        self.mean = state["mean"]
        self.step, self._round, self._batch = state["place"]
        self._seconds, self._best, self._since_best = state["progress"]
        self._report(f"resuming at step {self.step} of {self.steps}")
