"""Encoders and models by name, with their parts loaded when first used."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.errors import ConfigError, WeightsError
from rnafm_cli.weights.cards import Card, card_path, read_card
from rnafm_cli.weights.files import NoInitialValues, load_model_file, load_tensors
from rnafm_cli.weights.registry import ENCODER
from rnafm_cli.weights.store import EMBEDDED, encoder_path, find, load_component


def load_encoder(name_or_file: str | Path, *, weights_dir: Path | None = None) -> tuple[Encoder, Card]:
    """The encoder of a model in evaluation mode, on the CPU, in float32, and the card of its file.

    Raises:
        WeightsError: when the weights are missing, damaged or do not fit their card.
    """
    path = find(name_or_file, weights_dir=weights_dir)
    tensors, card = load_model_file(path, prefix="" if read_card(path).kind == ENCODER else EMBEDDED)
    with NoInitialValues():
        encoder = Encoder(encoder_config(card, path))
    load_tensors(encoder, tensors, card)
    return encoder.eval(), card


def nucleotide_encoder(name: str | None, weights_dir: Path | None) -> tuple[Encoder | None, str | None]:
    """The frozen encoder that a head is trained on, and the hash of its weights; None and None for none.

    Raises:
        UsageError: for a codon model.
        WeightsError: as :func:`load_encoder` does.
    """
    if name is None:
        return None, None
    encoder, card = load_encoder(name, weights_dir=weights_dir)
    encoder.config.check_nucleotides(name)
    return encoder.requires_grad_(False), card.weights_sha256


def encoder_config(card: Card, path: Path) -> EncoderConfig:
    """The configuration of the encoder in a model file."""
    content: Any = card.config if card.kind == ENCODER else card.config.get("encoder")
    try:
        return EncoderConfig(**content)
    except (TypeError, ConfigError) as error:
        raise WeightsError(f"{card_path(path)}: holds no usable encoder configuration ({error})") from error


class NamedModel:
    """An encoder and the files of its heads by name or file; nothing is read from disk before it is needed."""

    def __init__(self, name: str, runtime: Runtime, *, weights_dir: Path | None = None) -> None:
        self.name = name
        self.runtime = runtime
        self.weights_dir = weights_dir
        self._encoders: dict[Path, tuple[Encoder, Card]] = {}

    def _encoder_at(self, path: Path) -> tuple[Encoder, Card]:
        if path not in self._encoders:
            encoder, card = load_encoder(path, weights_dir=self.weights_dir)
            self._encoders[path] = encoder.to(self.runtime.device, self.runtime.dtype), card
        return self._encoders[path]

    @cached_property
    def _own(self) -> tuple[Encoder, Card]:
        return self._encoder_at(find(self.name, weights_dir=self.weights_dir))

    @property
    def encoder(self) -> Encoder:
        """The encoder on the runtime's device, in its precision, in evaluation mode."""
        return self._own[0]

    @property
    def encoder_card(self) -> Card:
        """Provenance of the encoder's weights."""
        return self._own[1]

    def encoder_for(self, head: str) -> Encoder:
        """The encoder that one of the model's heads reads: its own, trained with it, or the model's."""
        return self._encoder_at(encoder_path(self.name, head, weights_dir=self.weights_dir))[0]

    def check_nucleotides(self, head: str | None = None) -> None:
        """Make sure that the encoder (of a head, or the model's own) reads nucleotides: else a UsageError."""
        (self.encoder_for(head) if head else self.encoder).config.check_nucleotides(self.name)

    def component(self, name: str) -> tuple[dict[str, Tensor], Card]:
        """Tensors and card of one of the model's heads, checked against the encoder in use."""
        return load_component(self.name, name, weights_dir=self.weights_dir)
