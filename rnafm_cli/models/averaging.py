"""The mean of several weight files of one run: often better than each of them (Wortsman et al. 2022)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rnafm_cli.errors import WeightsError
from rnafm_cli.models.files import Card, load_model_file, save_model_file

__all__ = ["average_models"]

_CHOSEN_AFTERWARDS = frozenset({"gamma", "calibration", "sd_factors"})
"""Settings that were chosen for finished weights and may differ; the first file's are kept."""


def average_models(paths: Sequence[Path], output: Path, *, name: str) -> Card:
    """Write the mean of the tensors of model files; recipe, source and settings are those of the first.

    Returns:
        the card as written; its notes name the files by SHA-256, and it has no figures.

    Raises:
        WeightsError: when a file cannot be read, or they are not models of one kind, shape and encoder.
    """
    (first, card), *others = [load_model_file(path) for path in paths]
    for path, (tensors, other) in zip(paths[1:], others, strict=True):
        for what, own, its in (
            ("kind", card.kind, other.kind),
            ("encoder", card.encoder_sha256, other.encoder_sha256),
            ("configuration", _settings(card), _settings(other)),
            ("set of tensors", _shapes(first), _shapes(tensors)),
        ):
            if own != its:
                raise WeightsError(
                    f"{path}: has another {what} than {paths[0]}", hint="average files of one run, or of runs like it"
                )
    mean = {
        key: torch.stack([value, *(tensors[key] for tensors, _ in others)]).mean(dim=0)
        if value.is_floating_point()
        else value
        for key, value in first.items()
    }
    hashes = ", ".join(each.weights_sha256 for each in (card, *(other for _, other in others)))
    return save_model_file(
        output, mean, dataclasses.replace(card, name=name, metrics={}, notes=f"mean of the weights {hashes}")
    )


def _settings(card: Card) -> dict[str, Any]:
    return {key: value for key, value in card.config.items() if key not in _CHOSEN_AFTERWARDS}


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in tensors.items()}
