"""Cards: what a model file holds, where that comes from and which bytes it is, in ``NAME.json`` beside the file.

A file whose SHA-256 differs from its card's is never loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from rnafm_cli.errors import WeightsError

MODEL_FORMAT = "rnafm-model"
_FORMAT_VERSION = 1
WEIGHTS_SUFFIX = ".safetensors"
CARD_SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a model file holds and where it comes from."""

    name: str
    kind: str
    """What the tensors are: ``encoder``, or a head: ``fold``, ``fold-resnet``, ``contact``, ..."""
    config: dict[str, Any]
    """Fields of the network's configuration; of an encoder file those of EncoderConfig."""
    weights_sha256: str = ""
    """SHA-256 (hex) of the safetensors file; filled in when the file is written."""
    weights_bytes: int = 0
    """Size of the safetensors file; filled in when the file is written."""
    dtype: str = "float32"
    """Type in which floating-point tensors are stored: float32, float16 or bfloat16."""
    encoder_sha256: str | None = None
    """Of a head without its own encoder: ``weights_sha256`` of the encoder it was trained on."""
    source: dict[str, Any] = field(default_factory=dict)
    """File, layout and SHA-256 that imported weights came from, and what was dropped; training data otherwise."""
    mask_row: str | None = None
    """Of imported weights: ``upstream`` or ``keep`` (see :mod:`rnafm_cli.encoder.official`)."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """How the weights were trained."""
    seed: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    notes: str = ""

    @property
    def task(self) -> str:
        """The component that the file is, by its kind: ``fold-resnet`` is a kind of ``fold``."""
        return self.kind.split("-")[0]


def card_path(path: Path) -> Path:
    """Where the card of a safetensors file lies."""
    return path.with_name(path.name.removesuffix(WEIGHTS_SUFFIX) + CARD_SUFFIX)


def verify_model_file(path: Path) -> Card:
    """The card of a model file whose bytes are those that the card names.

    Raises:
        WeightsError: when the file or its card is missing, damaged or altered.
    """
    card = read_card(path)
    try:
        status = path.stat()
        if card.weights_bytes and status.st_size != card.weights_bytes:
            state = "truncated" if status.st_size < card.weights_bytes else "altered"
            raise WeightsError(
                f"{path}: is {state} ({status.st_size} bytes, its card says {card.weights_bytes})", hint=_RENEW
            )
        found = _cached_sha256(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    if found != card.weights_sha256:
        raise WeightsError(
            f"{path}: is altered (sha256 {found[:12]}..., its card says {card.weights_sha256[:12]}...)", hint=_RENEW
        )
    return card


def read_card(path: Path) -> Card:
    """The card beside a safetensors file, the tensors not looked at.

    Raises:
        WeightsError: when there is none, or it is not a card of a version known here.
    """
    where = card_path(path)
    try:
        content = json.loads(where.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if not path.exists():
            raise WeightsError(f"{path}: no such file") from error
        convert = f"rnafm weights import {path} --name NAME"
        hint = "copy the card that belongs to it there" if is_model_file(path) else convert
        raise WeightsError(f"{path}: has no card {where.name} beside it", hint=hint) from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{where}: cannot be read as a model card ({error})", hint=_RENEW) from error
    if not isinstance(content, dict) or content.get("format") != MODEL_FORMAT:
        raise WeightsError(f"{where}: is not a card of an rnafm model")
    if content.get("format_version") != _FORMAT_VERSION:
        raise WeightsError(
            f"{where}: has format version {content.get('format_version')}, this rnafm reads {_FORMAT_VERSION}",
            hint="update rnafm",
        )
    known = {item.name for item in dataclasses.fields(Card)}
    try:
        return Card(**{key: value for key, value in content.items() if key in known})
    except TypeError as error:
        raise WeightsError(f"{where}: lacks a field ({error})", hint=_RENEW) from error


def is_model_file(path: Path) -> bool:
    """Whether a file says that it is one of ours, by its name and header."""
    if not path.name.endswith(WEIGHTS_SUFFIX):
        return False
    with opened(path) as file:
        return (file.metadata() or {}).get("format") == MODEL_FORMAT


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_card(path: Path, card: Card) -> None:
    """Write a card to a path of its own."""
    content = {"format": MODEL_FORMAT, "format_version": _FORMAT_VERSION, **dataclasses.asdict(card)}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


_RENEW = "fetch or import it again (rnafm weights pull, rnafm weights import)"


@lru_cache(maxsize=64)
def _cached_sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    # An encoder and a head may lie in one file: it is hashed once per process unless it changes.
    return file_sha256(path)


@contextlib.contextmanager
def opened(path: Path, framework: str = "numpy") -> Iterator[Any]:
    """A safetensors file for the time of a ``with`` block, its tensors in the form of ``framework``."""
    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors ({error})", hint=_RENEW) from error
