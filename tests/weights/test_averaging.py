"""Means of weight files: of like models only, and their cards say of which."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from support.tertiary_models import tiny_pair

from rnafm_cli.errors import WeightsError
from rnafm_cli.structure.pair import PairConfig, PairHead
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import average_models, load_model_file, save_model_file


def head_file(path: Path, value: float, *, config: PairConfig | None = None, **found: object) -> Card:
    config = config or tiny_pair()
    tensors = {name: torch.full_like(tensor, value) for name, tensor in PairHead(config).state_dict().items()}
    settings = dataclasses.asdict(config) | found
    card = Card(name=path.stem, kind="fold", config=settings, encoder_sha256="e", seed=4, metrics={"f1": 0.5})
    return save_model_file(path, tensors, dataclasses.replace(card, dtype="float16"))


def test_the_mean_and_where_it_comes_from(tmp_path: Path) -> None:
    paths = [tmp_path / "best.safetensors", tmp_path / "last.safetensors"]
    # What was found for finished weights may differ, or be there for one file alone.
    found = {"gamma": 2.0, "calibration": {"X": {"slope": 1.0}}, "sd_factors": [1.0]}
    cards = [head_file(paths[0], 1.0, **found), head_file(paths[1], 4.0)]
    average_models(paths, tmp_path / "mean.safetensors", name="mine")
    tensors, card = load_model_file(tmp_path / "mean.safetensors")
    assert all((tensor == 2.5).all() for tensor in tensors.values())
    assert (card.name, card.kind, card.encoder_sha256, card.seed, card.dtype) == ("mine", "fold", "e", 4, "float16")
    assert card.config["gamma"] == 2.0 and card.metrics == {}
    assert all(each.weights_sha256 in card.notes for each in cards)


def test_only_like_models_have_a_mean(tmp_path: Path) -> None:
    first, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    head_file(first, 1.0)
    head_file(other, 1.0, config=dataclasses.replace(tiny_pair(), parameters=("langdon2018",)))
    with pytest.raises(WeightsError, match="b.safetensors: has another configuration than .*a.safetensors"):
        average_models([first, other], tmp_path / "mean.safetensors", name="m")
    card = load_model_file(first)[1]
    save_model_file(other, {"x": torch.zeros(2)}, card)
    with pytest.raises(WeightsError, match="another set of tensors"):
        average_models([first, other], tmp_path / "mean.safetensors", name="m")
    assert not (tmp_path / "mean.safetensors").exists()
