"""AdamW over a model's parameters, and learning-rate schedules as plain functions of the step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer

from rnafm_cli.training.recipes import OptimSection


def build_optimizer(groups: list[dict[str, Any]], optim: OptimSection) -> AdamW:
    """AdamW as a recipe describes it, over groups of parameters (see :func:`decay_groups`)."""
    return AdamW(groups, lr=optim.rate, betas=(optim.beta1, optim.beta2), eps=optim.eps, fused=True)


@contextmanager
def keeping_settings(optimizer: Optimizer) -> Iterator[None]:
    """For the time of loading a saved state: the optimiser takes over its moments, and keeps rate, decay and so on."""
    settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    yield
    for group, kept in zip(optimizer.param_groups, settings, strict=True):
        group.update(kept)


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: matrices decay; norms, biases and embedding tables do not."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        table = ".embed." in name or ".positions." in name
        (decayed if parameter.ndim >= 2 and not table else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def rate_at(step: int, optim: OptimSection) -> float:
    """Learning rate of optimiser step ``step`` (from 0).

    All schedules warm up linearly. ``inverse-sqrt`` then falls as sqrt(warmup / step) without end, as in the paper's
    recipe; ``cosine``, ``trapezoid`` and ``late-cosine`` reach ``final_rate * rate`` at the last step.
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
        if optim.schedule == "late-cosine":
            falling = 0.5 * (1 - math.cos(math.pi * falling))
    return optim.rate * (optim.final_rate + (1 - optim.final_rate) * falling)
