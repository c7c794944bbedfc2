"""AdamW over a model's parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer

from rnafm_cli.training.config import OptimSection

__all__ = ["build_optimizer", "decay_groups", "keeping_settings"]


def build_optimizer(model: nn.Module, optim: OptimSection) -> AdamW:
    """The optimiser that a pre-training configuration describes."""
    groups = decay_groups(model, optim.weight_decay)
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
