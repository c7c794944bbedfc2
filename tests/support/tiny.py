"""Small models with random weights, as files that the commands find."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from rnafm_cli.encoder.config import ENCODER_PRESETS
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import save_model_file


def save_tiny_encoder(path: Path, seed: int = 0) -> Card:
    """Write a two-layer encoder to ``path`` (.safetensors) and return its card."""
    config = ENCODER_PRESETS["rnafm-tiny"]
    torch.manual_seed(seed)
    made = Card(name=path.stem, kind="encoder", config=dataclasses.asdict(config))
    return save_model_file(path, Encoder(config).eval().state_dict(), made)
