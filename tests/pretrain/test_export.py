from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.pretrain.config import PretrainConfig
from rnafm_cli.pretrain.export import export_run
from rnafm_cli.pretrain.trainer import EncoderTrainer

Tiny = Callable[..., PretrainConfig]


def test_an_exported_run_is_a_model(tmp_path: Path, tiny: Tiny) -> None:
    trainer = EncoderTrainer(tiny("optim.steps=4"), tmp_path / "run")
    trainer.train()
    output = tmp_path / "mine.safetensors"
    card = export_run(tmp_path / "run", output, dtype="float32")
    encoder, loaded = load_encoder(str(output))
    assert all(torch.equal(tensor, encoder.state_dict()[name]) for name, tensor in trainer.encoder.state_dict().items())
    assert loaded.weights_sha256 == card.weights_sha256
    assert (loaded.kind, loaded.source["step"], loaded.seed) == ("encoder", 4, 0)
    assert set(loaded.metrics) >= {"heldout_random_loss", "heldout_group_accuracy", "parameters"}
    # The card travels: it names no folder of this machine.
    assert str(tmp_path) not in json.dumps(json.loads((tmp_path / "mine.json").read_text()))


def test_half_precision_is_half_the_size(tmp_path: Path, tiny: Tiny) -> None:
    EncoderTrainer(tiny("optim.steps=3", "validation.every=0"), tmp_path / "run").train()
    full = export_run(tmp_path / "run", tmp_path / "a.safetensors", dtype="float32")
    half = export_run(tmp_path / "run" / "checkpoints" / "step-00000003.pt", tmp_path / "b.safetensors")
    assert half.weights_bytes < 0.6 * full.weights_bytes


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no complete checkpoint"):
        export_run(tmp_path, tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match="NAME.safetensors"):
        export_run(tmp_path, tmp_path / "x.pt")
