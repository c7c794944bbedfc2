"""The optimisers of training: AdamW over everything, or Muon for the encoder's layers beside it."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from rnafm_cli.training.config import OptimSection

__all__ = ["build_optimizers", "decay_groups"]


def build_optimizers(model: nn.Module, optim: OptimSection) -> list[Optimizer]:
    """AdamW alone, or AdamW and Muon.

    Muon (momentum made orthogonal by five Newton-Schulz steps; K. Jordan 2024) takes the matrices of the transformer
    layers; its updates are scaled to AdamW's usual size, so that one rate serves both.
    """
    layers: list[nn.Parameter] = []
    if optim.method == "muon":
        layers = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    betas = (optim.beta1, optim.beta2)
    groups = decay_groups(model, optim.weight_decay, without=layers)
    optimizers: list[Optimizer] = [AdamW(groups, lr=optim.rate, betas=betas, eps=optim.eps, fused=True)]
    if layers:
        optimizers.append(Muon(layers, lr=optim.rate, weight_decay=optim.weight_decay, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def decay_groups(
    model: nn.Module, weight_decay: float, *, without: list[nn.Parameter] | None = None
) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: matrices decay; norms, biases and embedding tables do not."""
    skipped = {id(parameter) for parameter in without or []}
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if id(parameter) in skipped:
            continue
        table = ".embed." in name or ".positions." in name
        (decayed if parameter.ndim >= 2 and not table else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
