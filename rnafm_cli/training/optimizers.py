"""AdamW over a model's parameters."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import AdamW

from rnafm_cli.training.config import OptimSection

__all__ = ["build_optimizer", "decay_groups"]


def build_optimizer(model: nn.Module, optim: OptimSection) -> AdamW:
    """The optimiser that a pre-training configuration describes."""
    groups = decay_groups(model, optim.weight_decay)
    return AdamW(groups, lr=optim.rate, betas=(optim.beta1, optim.beta2), eps=optim.eps, fused=True)


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: matrices decay; norms, biases and embedding tables do not."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        table = ".embed." in name or ".positions." in name
        (decayed if parameter.ndim >= 2 and not table else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
