"""Training of a head that reads a function from a sequence: the loop that the RBP and MRL heads share.

Everything random follows from the seed, the round and the batch, so a run that was stopped and resumed ends with the
same weights.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rnafm_cli.encoder.network import Encoder
from rnafm_cli.function.recipes import Recipe
from rnafm_cli.io.streams import write_json
from rnafm_cli.training.head_state import CHECKPOINT, HeadState
from rnafm_cli.training.optimizers import decay_groups, rate_at
from rnafm_cli.training.run_log import CsvLog
from rnafm_cli.training.stop_signals import StopSignals
from rnafm_cli.weights.files import Card, save_model_file

__all__ = ["FunctionOutcome", "FunctionTask", "FunctionTrainer", "Scored"]


_METRICS = ("step", "round", "loss", "rate", "grad_norm", "rows_per_s", "seconds")


@dataclass
class Scored:
    """What a measurement found.

    Args:
        score: by which heads are selected; higher is better.
        metrics: for the card.
        settings: for the card's configuration, such as calibration.
    """

    score: float
    metrics: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class FunctionOutcome:
    """How a run ended."""

    step: int
    finished: bool
    """False when time ran out or a signal came: the same command goes on from here."""
    best_score: float
    best_file: Path


class FunctionTask(Protocol):
    """What differs between the heads."""

    kind: str
    measure_name: str
    """What ``Scored.score`` is, for messages."""
    rows_sha256: str
    """Of the training rows."""

    def new_head(self) -> nn.Module:
        """A head with initial values."""
        ...

    def round(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Batches (row numbers) of one round over the training rows, in random order."""
        ...

    def loss(self, head: nn.Module, encoder: Encoder | None, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """The loss of one batch; with an encoder, embeddings come from it with gradients."""
        ...

    def measure(self, head: nn.Module, encoder: Encoder | None, *, step: int, seconds: float) -> Scored:
        """Score a head in evaluation mode on the development rows."""
        ...

    def open_scores(self, path: Path, step: int) -> None:
        """Go on with the table of measurements at ``path``; rows after ``step`` are dropped."""
        ...


class FunctionTrainer:
    """A run in a folder: a checkpoint, ``metrics.csv``, ``scores.csv``, ``best.safetensors`` and ``last.safetensors``.

    Args:
        encoder: trained along with the head if given; a frozen one is the task's affair.
        card: name, hash of the encoder and source of the data; the rest is filled in.
    """

    def __init__(
        self,
        recipe: Recipe,
        task: FunctionTask,
        folder: Path,
        *,
        encoder: Encoder | None,
        card: Card,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.recipe, self.task, self.folder = recipe, task, folder
        self._card, self._report = card, report
        optim = recipe.optim
        torch.manual_seed(optim.seed)
        self._trained = nn.ModuleDict({"head": task.new_head()})
        if encoder is not None:
            self._trained["encoder"] = encoder.requires_grad_(True)
        self._optimizer = torch.optim.AdamW(
            [
                {**group, "scale": scale}
                for name, scale in (("head", 1.0), ("encoder", optim.encoder_rate / optim.rate))
                if name in self._trained
                for group in decay_groups(self._trained[name], optim.weight_decay)
            ],
            lr=optim.rate,
            betas=(0.9, optim.beta2),
            fused=True,
        )
        self._mean = {name: value.detach().clone() for name, value in self._trained.state_dict().items()}
        self.step, self._round, self._batch = 0, 0, 0
        self._seconds = 0.0
        self._best = -math.inf
        self._batches_a_round = len(task.round(self._rng(0)))
        self.steps = max(1, round(optim.epochs * self._batches_a_round))
        self._schedule = optim.schedule(self.steps)

    def train(self, *, max_minutes: float | None = None) -> FunctionOutcome:
        """Go on from the folder's checkpoint, if any, until the rounds or the time are used up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._restore()
        write_json(self.folder / "config.json", self.recipe.to_dict())
        log = CsvLog(self.folder / "metrics.csv", _METRICS, self.step)
        self.task.open_scores(self.folder / "scores.csv", self.step)
        run = self.recipe.run
        score_steps = max(1, round(run.score_epochs * self._batches_a_round))
        started = saved = logged = time.monotonic()
        before, shown, scored_at = self._seconds, 0, -1
        losses: list[float] = []
        norms: list[float] = []
        finished = self.step >= self.steps
        with StopSignals() as signals:
            for rows, rng in self._batches() if not finished else ():
                loss, norm = self._advance(rows, rng)
                losses.append(loss)
                norms.append(norm)
                shown += len(rows)
                now = time.monotonic()
                self._seconds = before + now - started
                if self.step % run.log_steps == 0:
                    row = {"step": self.step, "round": self._round, "loss": float(np.mean(losses))}
                    row |= {"rate": rate_at(self.step - 1, self._schedule), "grad_norm": float(np.mean(norms))}
                    log.add(row | {"rows_per_s": shown / max(now - logged, 1e-9), "seconds": self._seconds})
                    losses, norms, shown, logged = [], [], 0, now
                finished = self.step >= self.steps
                if self.step % score_steps == 0 or finished:
                    self._score()
                    scored_at = self.step
                out_of_time = max_minutes is not None and now - started >= 60 * max_minutes
                if finished or out_of_time or signals.received is not None:
                    break
                if now - saved >= 60 * run.save_minutes:
                    self._save()
                    saved = now
        # Who asks by a signal wants the processor back soon.
        if signals.received is None and scored_at != self.step and not finished:
            self._score()
        self._save()
        self._export("last", Scored(math.nan))
        log.close()
        return FunctionOutcome(self.step, finished, self._best, self.folder / "best.safetensors")

    def mean_head(self) -> tuple[nn.Module, Encoder | None]:
        """Head and trained encoder with the running mean of their weights, in evaluation mode."""
        averaged = copy.deepcopy(self._trained)
        averaged.load_state_dict(self._mean)
        encoder = averaged["encoder"] if "encoder" in averaged else None
        return averaged["head"].eval(), encoder.eval() if isinstance(encoder, Encoder) else None

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng([self.recipe.optim.seed, *place])

    def _batches(self) -> Iterator[tuple[np.ndarray, np.random.Generator]]:
        while True:
            batches = self.task.round(self._rng(self._round))
            while self._batch < len(batches):
                rows, rng = batches[self._batch], self._rng(self._round, self._batch)
                self._batch += 1
                yield rows, rng
            self._round, self._batch = self._round + 1, 0

    def _advance(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
        torch.manual_seed(int(rng.integers(2**62)))
        self._trained.train()
        encoder = self._trained["encoder"] if "encoder" in self._trained else None
        loss = self.task.loss(self._trained["head"], encoder if isinstance(encoder, Encoder) else None, rows, rng)
        rate = rate_at(self.step, self._schedule)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self._trained.parameters(), self.recipe.optim.clip))
        if math.isfinite(norm):
            self._optimizer.step()
        self.step += 1
        # Early weights are far from where they end: a short memory at first.
        decay = min(self.recipe.optim.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self._trained.state_dict().items():
                if value.is_floating_point():
                    self._mean[name].lerp_(value, 1 - decay)
                else:
                    self._mean[name].copy_(value)
        return float(loss.detach()), norm

    def _score(self) -> None:
        found = self.task.measure(*self.mean_head(), step=self.step, seconds=self._seconds)
        self._report(f"step {self.step} of {self.steps}: {self.task.measure_name} {found.score:.4f}")
        if found.score > self._best:
            self._best = found.score
            self._export("best", found)
        elif self._best == -math.inf:
            # The measure may be undefined (one value for all rows, say): what there is then counts as the best.
            self._export("best", found)

    def _export(self, name: str, found: Scored) -> None:
        head, encoder = self.mean_head()
        tensors: dict[str, Tensor] = dict(head.state_dict())
        shape: Any = head.config
        settings = dataclasses.asdict(shape) | found.settings
        card = self._card
        if encoder is not None:
            tensors = {f"head.{key}": value for key, value in tensors.items()}
            tensors |= {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
            settings["encoder"] = dataclasses.asdict(encoder.config)
            card = dataclasses.replace(card, encoder_sha256=None)
        save_model_file(
            self.folder / f"{name}.safetensors",
            tensors,
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

    def _save(self) -> None:
        state = HeadState(
            trained=self._trained.state_dict(),
            mean=self._mean,
            optimizer=self._optimizer.state_dict(),
            step=self.step,
            round=self._round,
            batch=self._batch,
            seconds=self._seconds,
            best=self._best,
            since_best=0,
            head=dataclasses.asdict(self.recipe.head),
            rows_sha256=self.task.rows_sha256,
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
            head=dataclasses.asdict(self.recipe.head),
            rows_sha256=self.task.rows_sha256,
            encoder_sha256=self._card.encoder_sha256,
            what="rows",
        )
        state.restore(self._trained, self._optimizer)
        self._mean = state.mean
        self.step, self._round, self._batch = state.step, state.round, state.batch
        self._seconds, self._best = state.seconds, state.best
        self._report(f"resuming at step {self.step} of {self.steps}")
