"""What a run will take, without taking it: sizes, steps, memory, and the command that starts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.pretrain.batches import Feed
from rnafm_cli.pretrain.config import PretrainConfig
from rnafm_cli.pretrain.shards import Corpus

__all__ = ["DryRun", "dry_run", "parameter_count"]


_OPTIMISER_BYTES = 16
"""Per parameter in float32: weight, gradient, two moments."""


@dataclass(frozen=True)
class DryRun:
    """The arithmetic of a run."""

    parameters: int
    tokens_per_micro_batch: int
    accumulation: int
    world: int
    tokens_per_step: int
    """Rows x width of all micro-batches of a step; real tokens are a few per cent fewer."""
    steps_per_epoch: int
    epochs: float
    state_gb: float
    """Weights, gradients and optimiser in one process."""
    activations_gb: float
    """Rough need of one micro-batch's activations."""
    checkpoint_gb: float
    flops_per_token: float
    """Forward and backward, 6 per weight plus attention."""

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"parameters: {self.parameters:,}",
            f"tokens per step: {self.tokens_per_step:,} = {self.tokens_per_micro_batch:,} per micro-batch x "
            f"{self.accumulation} accumulated x {self.world} processes",
            f"steps per epoch: {self.steps_per_epoch:,}; the run takes {self.epochs:.2f} epochs",
            f"memory per process: about {self.state_gb + self.activations_gb:.2f} GB "
            f"({self.state_gb:.2f} weights and optimiser, {self.activations_gb:.2f} activations)",
            f"checkpoint: {self.checkpoint_gb:.2f} GB each",
            f"arithmetic: {self.flops_per_token / 1e6:,.0f} MFLOP per token",
        ]


def dry_run(config: PretrainConfig, *, world: int) -> DryRun:
    """Check configuration and corpus, and compute what a run needs; no GPU is touched and nothing is trained."""
    corpus = Corpus(Path(config.data.corpus), verify=config.data.verify)
    feed = Feed(corpus, config, rank=0, world=world)
    shape = config.model.encoder()
    parameters = parameter_count(shape)
    steps = feed.steps_per_epoch()
    sharded = world if config.run.fsdp else 1
    return DryRun(
        parameters=parameters,
        tokens_per_micro_batch=config.batch.tokens,
        accumulation=config.batch.micro_batches // world,
        world=world,
        tokens_per_step=config.batch.tokens * config.batch.micro_batches,
        steps_per_epoch=steps,
        epochs=config.optim.steps / steps,
        state_gb=parameters * _OPTIMISER_BYTES / sharded / 1e9,
        activations_gb=_activation_bytes(config, shape) / 1e9,
        checkpoint_gb=parameters * 12 / 1e9,
        flops_per_token=6.0 * parameters + 12.0 * shape.layers * shape.width * config.data.crop,
    )


def parameter_count(shape: EncoderConfig) -> int:
    """Parameters of an encoder, counted without allocating it."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Encoder(shape).parameters())


def _activation_bytes(config: PretrainConfig, shape: EncoderConfig) -> float:
    """What autograd keeps per token and layer: about 14 widths and 3 feed-forward widths, and the residual stream."""
    size = 2 if config.run.precision == "bf16" else 4
    per_token = shape.layers * (size * (10 * shape.width + 3 * shape.ffn) + 4 * 2 * shape.width)
    on_cpu = config.run.device == "cpu" or not torch.cuda.is_available()
    if on_cpu and config.data.crop <= 512:
        # The encoder keeps the attention maps of short rows on CPUs.
        per_token += shape.layers * shape.heads * config.data.crop * size * 2
    return float(config.batch.tokens * per_token)
