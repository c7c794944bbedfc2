from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rnafm_cli.data.holdout import HoldoutRules
from rnafm_cli.data.prepare import PrepareOptions, prepare_corpus
from rnafm_cli.data.shards import Corpus
from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.models.store import load_encoder
from rnafm_cli.training.config import PretrainConfig
from rnafm_cli.training.export import export_run
from rnafm_cli.training.pooled import mean_pooled
from rnafm_cli.training.trainer import Trainer
from rnafm_cli.training.whitening import corpus_windows, whitening

Tiny = Callable[..., PretrainConfig]


def test_an_exported_run_is_a_model(tmp_path: Path, tiny: Tiny) -> None:
    trainer = Trainer(tiny("optim.steps=4"), tmp_path / "run")
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
    Trainer(tiny("optim.steps=3", "validation.every=0"), tmp_path / "run").train()
    full = export_run(tmp_path / "run", tmp_path / "a.safetensors", dtype="float32")
    half = export_run(tmp_path / "run" / "checkpoints" / "step-00000003", tmp_path / "b.safetensors")
    assert half.weights_bytes < 0.6 * full.weights_bytes


def test_a_whitened_export_turns_only_the_representations(tmp_path: Path, tiny: Tiny, corpus_folder: Path) -> None:
    config = tiny("optim.steps=4", "validation.every=0")
    Trainer(config, tmp_path / "run").train()
    export_run(tmp_path / "run", tmp_path / "plain.safetensors", dtype="float32")
    card = export_run(tmp_path / "run", tmp_path / "white.safetensors", dtype="float32", whiten=corpus_folder)
    windows = corpus_windows(Corpus(corpus_folder), config, width=32)
    assert card.config["projection"] and card.source["whitened_windows"] == len(windows) <= 16 * 32
    plain, _ = load_encoder(str(tmp_path / "plain.safetensors"))
    white, _ = load_encoder(str(tmp_path / "white.safetensors"))
    before, after = mean_pooled(plain, windows), mean_pooled(white, windows)
    weight, bias = whitening(before)
    assert after == pytest.approx(before.astype(np.float64) @ weight.T + bias, abs=0.05)
    # Of a network as small and young as this one few directions hold anything; those are made equal.
    spread, was = np.linalg.eigvalsh(np.cov(after.T)), np.linalg.eigvalsh(np.cov(before.T))
    assert spread[-5] > 0.9 * spread[-1] and was[-5] < 0.01 * was[-1]
    assert spread.mean() == pytest.approx(1.0, abs=0.02)
    tokens = torch.randint(4, 8, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(white(tokens, logits=True).logits, plain(tokens, logits=True).logits)


def test_whitened_points_are_uncorrelated_and_hardly_turned() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)) + 3
    weight, bias = whitening(points)
    mapped = points @ weight.T + bias
    assert np.cov(mapped.T) == pytest.approx(np.eye(6), abs=1e-3)
    assert mapped.mean(axis=0) == pytest.approx(np.zeros(6), abs=1e-4)
    assert weight == pytest.approx(weight.T, abs=1e-5)


def test_another_corpus_cannot_whiten_a_run(tmp_path: Path, tiny: Tiny) -> None:
    Trainer(tiny("optim.steps=3", "validation.every=0"), tmp_path / "run").train()
    (tmp_path / "other.fa").write_text("".join(f">s{k}\n{'ACGUU' * (6 + k)}\n" for k in range(20)))
    rules = HoldoutRules(sequences=0, groups=0)
    prepare_corpus([tmp_path / "other.fa"], tmp_path / "other", PrepareOptions(holdout=rules))
    with pytest.raises(InputError, match="is not the corpus of this run"):
        export_run(tmp_path / "run", tmp_path / "x.safetensors", whiten=tmp_path / "other")
    assert not (tmp_path / "x.safetensors").exists()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no complete checkpoint"):
        export_run(tmp_path, tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match="NAME.safetensors"):
        export_run(tmp_path, tmp_path / "x.pt")
