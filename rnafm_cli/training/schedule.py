"""Learning-rate schedules as plain functions of the step."""

from __future__ import annotations

import math

from rnafm_cli.training.config import OptimSection

__all__ = ["rate_at"]


def rate_at(step: int, optim: OptimSection) -> float:
    """Learning rate of optimiser step ``step`` (from 0).

    All schedules warm up linearly. ``inverse-sqrt`` then falls as sqrt(warmup / step) without end, as in the paper's
    recipe; ``cosine`` and ``trapezoid`` reach ``final_rate * rate`` at the last step.
    """
    number = step + 1
    warmup = max(optim.warmup, 1)
    if number <= optim.warmup:
        return optim.rate * number / warmup
    if optim.schedule == "inverse-sqrt":
        return optim.rate * math.sqrt(warmup / number)
    if optim.schedule == "cosine":
        done = min(1.0, (number - optim.warmup) / max(1, optim.steps - optim.warmup))
        falling = 0.5 * (1 + math.cos(math.pi * done))
    else:
        length = optim.cooldown * optim.steps
        falling = min(1.0, max(0.0, optim.steps - step) / length) if length else 1.0
    return optim.rate * (optim.final_rate + (1 - optim.final_rate) * falling)
