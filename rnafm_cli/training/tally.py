"""Sums over the steps since the last row of metrics, and the row they make."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from rnafm_cli.training.checkpoint import RunState

__all__ = ["Tally", "clock"]


@dataclass
class Tally:
    """Saved with every checkpoint, so that a resumed run writes the rows that an uninterrupted one does."""

    loss: float = 0.0
    """Sum of cross-entropies, nats."""
    twin_loss: float = 0.0
    """Sum of twins' losses, nats, each times the masked tokens of its micro-batch."""
    sketch_loss: float = 0.0
    """Sum of sketches' losses, each times the masked tokens of its micro-batch."""
    masked: int = 0
    right: int = 0
    tokens: int = 0
    steps: int = 0
    grad_norm: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def add(
        self,
        *,
        loss: float,
        twin_loss: float,
        sketch_loss: float,
        masked: float,
        right: float,
        tokens: float,
        grad_norm: float,
    ) -> None:
        """Count one step."""
        self.loss += loss
        self.twin_loss += twin_loss
        self.sketch_loss += sketch_loss
        self.masked += int(masked)
        self.right += int(right)
        self.tokens += int(tokens)
        self.steps += 1
        self.grad_norm += grad_norm

    def row(self, state: RunState, *, rate: float, memory_mb: float) -> dict[str, Any]:
        """A row of ``metrics.csv``: means over the steps counted."""
        loss = self.loss / self.masked if self.masked else math.nan
        return {
            "step": state.step,
            "epoch": state.epoch,
            "tokens": state.tokens,
            "loss": loss,
            "perplexity": math.exp(min(loss, 20.0)),
            "accuracy": self.right / self.masked if self.masked else math.nan,
            "twin_loss": self.twin_loss / self.masked if self.masked else math.nan,
            "sketch_loss": self.sketch_loss / self.masked if self.masked else math.nan,
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
