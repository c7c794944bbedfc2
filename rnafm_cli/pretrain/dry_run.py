"""What a run will take, without taking it: sizes, steps and memory."""

from __future__ import annotations

from pathlib import Path

import torch

from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.pretrain.batches import Feed
from rnafm_cli.pretrain.config import PretrainConfig
from rnafm_cli.pretrain.shards import Corpus

__all__ = ["dry_run", "parameter_count"]


def dry_run(config: PretrainConfig, *, world: int) -> list[str]:
    """Check configuration and corpus, and say what a run needs; no GPU is touched and nothing is trained.

    Args:
        world: processes over all machines.
    """
    feed = Feed(Corpus(Path(config.data.corpus), verify=config.data.verify), config, rank=0, world=world)
    shape, batch = config.model.encoder(), config.batch
    parameters, steps = parameter_count(shape), feed.steps_per_epoch()
    # Float32: weight, gradient and two moments, which FSDP2 shares out.
    state_gb = 16 * parameters / (world if config.run.fsdp else 1) / 1e9
    activations_gb = batch.tokens * _bytes_per_token(config, shape) / 1e9
    # Forward and backward: 6 per weight, plus attention.
    flops_per_token = 6.0 * parameters + 12.0 * shape.layers * shape.width * config.data.crop
    return [
        f"parameters: {parameters:,}",
        f"tokens per step: {batch.tokens * batch.micro_batches:,} = {batch.tokens:,} per micro-batch x "
        f"{batch.micro_batches // world} accumulated x {world} processes",
        f"steps per epoch: {steps:,}; the run takes {config.optim.steps / steps:.2f} epochs",
        f"memory per process: about {state_gb + activations_gb:.2f} GB "
        f"({state_gb:.2f} weights and optimiser, {activations_gb:.2f} activations)",
        f"checkpoint: {12 * parameters / 1e9:.2f} GB each",
        f"arithmetic: {flops_per_token / 1e6:,.0f} MFLOP per token",
    ]


def parameter_count(shape: EncoderConfig) -> int:
    """Parameters of an encoder, counted without allocating it."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Encoder(shape).parameters())


def _bytes_per_token(config: PretrainConfig, shape: EncoderConfig) -> float:
    """What autograd keeps: a layer about 14 widths and 3 feed-forward widths, and the residual stream."""
    size = 2 if config.run.precision == "bf16" else 4
    layer = size * (10 * shape.width + 3 * shape.ffn) + 4 * 2 * shape.width
    if (config.run.device == "cpu" or not torch.cuda.is_available()) and config.data.crop <= 512:
        # The encoder keeps the attention maps of short rows on CPUs.
        layer += shape.heads * config.data.crop * size * 2
    return float(shape.layers * layer)
