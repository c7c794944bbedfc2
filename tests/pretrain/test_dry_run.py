from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rnafm_cli.encoder.config import ENCODER_PRESETS
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.errors import ConfigError
from rnafm_cli.pretrain.config import PretrainConfig
from rnafm_cli.pretrain.trainer import EncoderTrainer, plan

Tiny = Callable[..., PretrainConfig]


def test_parameters_are_counted_without_memory(tiny: Tiny) -> None:
    count = sum(parameter.numel() for parameter in Encoder(ENCODER_PRESETS["rnafm-tiny"]).parameters())
    assert plan(tiny(), world=1)[0] == f"parameters: {count:,}"
    large = plan(tiny("model.preset=rna-fm"), world=1)[0]
    assert int(large.split()[1].replace(",", "")) == pytest.approx(99.5e6, rel=0.01)


def test_the_arithmetic_of_a_run(tiny: Tiny) -> None:
    shape = "model.width=640", "model.heads=20", "batch.micro_batches=4"
    said = plan(tiny(*shape), world=2)
    assert said[1] == "tokens per step: 2,048 = 512 per micro-batch x 2 accumulated x 2 processes"
    steps, epochs = map(float, re.findall(r"[\d.]+", said[2]))
    assert epochs == pytest.approx(8 / steps, abs=0.01)
    state = 16 * int(said[0].split()[1].replace(",", "")) / 1e9
    assert f"({state:.2f} weights and optimiser" in said[3]
    assert f"({state / 2:.2f} weights and optimiser" in plan(tiny(*shape, "run.fsdp=true"), world=2)[3]


def test_processes_must_divide_the_micro_batches(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match="not a multiple of the 3 processes"):
        plan(tiny(), world=3)


def test_a_corpus_too_small_for_one_step_is_told(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="smaller than one optimiser step"):
        EncoderTrainer(tiny("batch.micro_batches=100000", "validation.every=0"), tmp_path).train()
    with pytest.raises(ConfigError, match="smaller than one optimiser step"):
        plan(tiny("batch.micro_batches=100000"), world=1)
