"""Named models and files of models, found on this machine and made into networks.

A model consists of components, its encoder and heads, each in a model file. A head names its encoder by
SHA-256, or carries it along under ``encoder.``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from rnafm_cli.errors import ConfigError, WeightsError
from rnafm_cli.models.blank import NoInitialValues
from rnafm_cli.models.config import EncoderConfig
from rnafm_cli.models.encoder import Encoder
from rnafm_cli.models.files import (
    CARD_SUFFIX,
    WEIGHTS_SUFFIX,
    Card,
    card_path,
    load_model_file,
    read_card,
    task_of,
    tensor_names,
)
from rnafm_cli.models.folders import cards_in, in_folders, search_dirs, shipped_dir
from rnafm_cli.models.inventory import entries
from rnafm_cli.models.registry import ENCODER, MODELS, ModelSpec, nearest_name

__all__ = [
    "FOREIGN_SUFFIXES",
    "encoder_config",
    "encoder_path",
    "encoder_read_by",
    "find",
    "load_component",
    "load_encoder",
    "shipped_dir",
]

FOREIGN_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
_EMBEDDED = "encoder."


def find(name_or_file: str | Path, *, component: str = ENCODER, weights_dir: Path | None = None) -> Path:
    """The model file that holds a component of a model.

    Args:
        name_or_file: a registered name, the name of a model in one of the folders, or a model file: an
            encoder, or a head, whose encoder is inside it or found by its SHA-256.
        component: ``encoder`` or a head's task.
        weights_dir: folder searched first.

    Raises:
        WeightsError: when there is no such model, component or file.
    """
    folders = search_dirs(weights_dir)
    if _is_file(name_or_file):
        return _component_beside(_checked_file(Path(name_or_file)), component, folders)
    name = str(name_or_file)
    spec = MODELS.get(name)
    if spec is not None:
        return _registered(name, spec, component, folders)
    for stem in (name,) if component == ENCODER else (f"{name}-{component}", name):
        path = in_folders(stem, folders)
        if path is not None:
            return _component_beside(path, component, folders)
    names = [*MODELS, *(entry.name for entry in entries(weights_dir))]
    close = nearest_name(name, names)
    raise WeightsError(
        f"there is no model '{name}'",
        hint=f"did you mean {close}?" if close else "see 'rnafm weights list'; a file needs its suffix",
    )


def encoder_path(name_or_file: str | Path, component: str, *, weights_dir: Path | None = None) -> Path:
    """The model file with the encoder that a head reads: the head's own file where it carries one, else the model's.

    Raises:
        WeightsError: when the model has no such head or encoder.
    """
    path = find(name_or_file, component=component, weights_dir=weights_dir)
    return path if _embeds_encoder(path) else find(name_or_file, weights_dir=weights_dir)


def load_encoder(name_or_file: str | Path, *, weights_dir: Path | None = None) -> tuple[Encoder, Card]:
    """The encoder of a model in evaluation mode, on the CPU, in float32, and the card of its file.

    Raises:
        WeightsError: when the weights are missing, damaged or do not fit their card.
    """
    path = find(name_or_file, weights_dir=weights_dir)
    tensors, card = load_model_file(path, prefix="" if read_card(path).kind == ENCODER else _EMBEDDED)
    config = encoder_config(card, path)
    with NoInitialValues():
        encoder = Encoder(config)
    try:
        encoder.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        lines = str(error).splitlines()
        reason = "; ".join(line.strip() for line in lines[1:4])
        raise WeightsError(f"{path}: its tensors do not fit its card: {reason}") from error
    return encoder.eval(), card


def load_component(
    name_or_file: str | Path, component: str, *, weights_dir: Path | None = None, any_encoder: bool = False
) -> tuple[dict[str, Tensor], Card]:
    """Tensors of a head, as its module names them, and the card of its file.

    Args:
        any_encoder: the head is only a start for another one: its encoder need not be the model's, nor be here.

    Raises:
        WeightsError: when the weights are missing or damaged, or were trained on another encoder than the model's.
    """
    path = find(name_or_file, component=component, weights_dir=weights_dir)
    if not any_encoder and not _embeds_encoder(path) and not _needs_none(path):
        _check_encoder(path, find(name_or_file, weights_dir=weights_dir))
    prefix = "head." if any(name.startswith("head.") for name in tensor_names(path)) else ""
    tensors, card = load_model_file(path, prefix=prefix)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_EMBEDDED)}, card


def encoder_config(card: Card, path: Path) -> EncoderConfig:
    """The configuration of the encoder in a model file.

    Raises:
        WeightsError: when the card holds none that is understood.
    """
    content: Any = card.config if card.kind == ENCODER else card.config.get("encoder")
    try:
        return EncoderConfig(**content)
    except (TypeError, ConfigError) as error:
        raise WeightsError(f"{card_path(path)}: holds no usable encoder configuration ({error})") from error


def _is_file(name_or_file: str | Path) -> bool:
    text = str(name_or_file)
    return (
        isinstance(name_or_file, Path)
        or os.sep in text
        or text.endswith((WEIGHTS_SUFFIX, CARD_SUFFIX, *FOREIGN_SUFFIXES))
    )


def _checked_file(path: Path) -> Path:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file" if not path.exists() else f"{path}: is not a file")
    if path.suffix == CARD_SUFFIX:
        return path.with_name(path.name.removesuffix(CARD_SUFFIX) + WEIGHTS_SUFFIX)
    if path.suffix != WEIGHTS_SUFFIX:
        raise WeightsError(
            f"{path}: is a checkpoint of another program", hint=f"convert it: rnafm weights import {path} --name NAME"
        )
    return path


def _registered(name: str, spec: ModelSpec, component: str, folders: list[Path]) -> Path:
    stem = spec.components.get(component)
    if stem is None:
        able = [other for other, has in MODELS.items() if component in has.components]
        raise WeightsError(f"{name} has no {component} component", hint=f"use {' or '.join(able)}" if able else None)
    path = in_folders(stem, folders)
    if path is None:
        if spec.download:
            hint = f"rnafm weights pull {name}, or rnafm weights import FILE --name {name}"
        elif component == ENCODER:
            hint = "they ship with rnafm: install it again"
        else:
            hint = f"train a head with 'rnafm finetune {component}' and name its file with --model"
        raise WeightsError(f"the weights {stem}{WEIGHTS_SUFFIX} are not on this machine", hint=hint)
    return path


def _component_beside(path: Path, component: str, folders: list[Path]) -> Path:
    """The file of a component of the model that one of its files stands for."""
    card = read_card(path)
    if component == task_of(card):
        return path
    if component == ENCODER:
        if _embeds_encoder(path):
            return path
        return _encoder_of(card, path, [path.parent, *folders])
    if card.kind != ENCODER:
        raise WeightsError(f"{path}: is of kind {card.kind}, not {component}")
    stem = path.name.removesuffix(WEIGHTS_SUFFIX)
    sibling = path.with_name(f"{stem}-{component}{WEIGHTS_SUFFIX}")
    if sibling.is_file():
        return sibling
    trained = [
        other
        for other, its in cards_in([path.parent, *folders])
        if task_of(its) == component and its.encoder_sha256 == card.weights_sha256
    ]
    if len(trained) == 1:
        return trained[0]
    if trained:
        raise WeightsError(
            f"{path}: several {component} heads were trained on it ({', '.join(map(str, trained))})",
            hint="give one of them as the model",
        )
    raise WeightsError(f"{path}: is an encoder, and there is no {component} head trained on it")


def _embeds_encoder(path: Path) -> bool:
    return any(name.startswith(_EMBEDDED) for name in tensor_names(path))


def encoder_read_by(card: Card) -> str | None:
    """SHA-256 of the file whose encoder a head reads: its own, where that holds one; None for a head without."""
    return card.weights_sha256 if "encoder" in card.config else card.encoder_sha256


def _needs_none(path: Path) -> bool:
    """Whether a head was trained without an encoder."""
    card = read_card(path)
    return card.encoder_sha256 is None and card.config.get("embedding") == 0


def _check_encoder(head: Path, encoder: Path) -> None:
    wanted, found = read_card(head).encoder_sha256, read_card(encoder).weights_sha256
    if found != wanted:
        raise WeightsError(
            f"{head}: was trained on the encoder with sha256 {str(wanted)[:12]}..., but {encoder} has {found[:12]}...",
            hint="give the head's own file as the model, with its encoder in the same folder",
        )


def _encoder_of(card: Card, path: Path, folders: list[Path]) -> Path:
    for other, its in cards_in(folders):
        if its.weights_sha256 == card.encoder_sha256 and (its.kind == ENCODER or "encoder" in its.config):
            return other
    raise WeightsError(
        f"{path}: its encoder (sha256 {str(card.encoder_sha256)[:12]}...) is not on this machine",
        hint="put the encoder's files into the same folder",
    )
