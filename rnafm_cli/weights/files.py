"""Model files: tensors in ``NAME.safetensors`` and, beside it, their card ``NAME.json``.

The card says what the tensors are, where they come from and which bytes they are: a file whose SHA-256
differs from its card's is never loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

from rnafm_cli.errors import WeightsError

__all__ = [
    "CARD_SUFFIX",
    "Card",
    "NoInitialValues",
    "WEIGHTS_SUFFIX",
    "average_models",
    "card_path",
    "copy_model_file",
    "file_sha256",
    "known_values",
    "load_model_file",
    "load_tensors",
    "read_card",
    "save_model_file",
    "task_of",
    "tensor_names",
    "verify_model_file",
]


def known_values(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """The values that are fields of the dataclass ``kind``, lists as tuples; other keys are left alone."""
    known = {field.name for field in dataclasses.fields(kind)}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if key in known}


_DRAWS = {init.normal_, init.uniform_, init.kaiming_uniform_}


class NoInitialValues(TorchFunctionMode):
    """Within this context nothing is drawn at random in place: parameters hold whatever memory held.

    Drawing the values of 100 M parameters takes longer than loading them. (The meta device would spare the
    memory too, but its first use imports PyTorch's compiler, which takes seconds.)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


FORMAT = "rnafm-model"
FORMAT_VERSION = 1
WEIGHTS_SUFFIX = ".safetensors"
CARD_SUFFIX = ".json"
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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


def card_path(path: Path) -> Path:
    """Where the card of a safetensors file lies."""
    return path.with_name(path.name.removesuffix(WEIGHTS_SUFFIX) + CARD_SUFFIX)


def save_model_file(path: Path, tensors: Mapping[str, Tensor], card: Card) -> Card:
    """Write ``path`` (``NAME.safetensors``) and its card; each appears whole or not at all.

    Floating-point tensors are stored in ``card.dtype``, others as they are.

    Returns:
        the card as written, with the hash and size of the tensor file.

    Raises:
        WeightsError: when ``path`` has another suffix.
    """
    if path.suffix != WEIGHTS_SUFFIX:
        raise WeightsError(f"{path}: model files end in {WEIGHTS_SUFFIX}")
    dtype = _DTYPES[card.dtype]
    stored = {
        name: (tensor.detach().to("cpu", dtype) if tensor.is_floating_point() else tensor.detach().cpu()).contiguous()
        for name, tensor in tensors.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(card_path(path)) as written_card, _replacing(path) as written:
        written.touch()
        mode = written.stat().st_mode
        save_file(stored, written, metadata={"format": FORMAT})
        # safetensors makes it readable by its owner alone; a folder of weights may be shared.
        written.chmod(mode)
        card = dataclasses.replace(card, weights_sha256=file_sha256(written), weights_bytes=written.stat().st_size)
        _write_card(written_card, card)
    return card


def copy_model_file(path: Path, to: Path, *, name: str) -> Card:
    """Copy a verified model file and its card, which gets another name; the bytes stay the same.

    Raises:
        WeightsError: when the file or its card is missing, damaged or altered.
    """
    card = dataclasses.replace(verify_model_file(path), name=name)
    to.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(card_path(to)) as written_card, _replacing(to) as written:
        shutil.copyfile(path, written)
        _write_card(written_card, card)
    return card


def load_model_file(path: Path, *, prefix: str = "") -> tuple[dict[str, Tensor], Card]:
    """Verified tensors of a model file, floating-point ones as float32, and its card.

    Args:
        path: the safetensors file.
        prefix: only tensors whose names begin with it; it is cut off.

    Raises:
        WeightsError: when the file or its card is missing, damaged or altered.
    """
    card = verify_model_file(path)
    tensors: dict[str, Tensor] = {}
    with _opened(path) as file:
        for name in file.keys():
            if name.startswith(prefix):
                tensor = file.get_tensor(name)
                # A copy: a mapped tensor would follow whatever happens to the file.
                dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
                tensors[name.removeprefix(prefix)] = tensor.to(dtype, copy=True)
    return tensors, card


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
        WeightsError: when there is none, or it is no card of a version known here.
    """
    where = card_path(path)
    try:
        content = json.loads(where.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if not path.exists():
            raise WeightsError(f"{path}: no such file") from error
        raise WeightsError(
            f"{path}: has no card {where.name} beside it", hint=f"rnafm weights import {path} --name NAME"
        ) from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{where}: cannot be read as a model card ({error})", hint=_RENEW) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise WeightsError(f"{where}: is no card of an rnafm model")
    if content.get("format_version") != FORMAT_VERSION:
        raise WeightsError(
            f"{where}: has format version {content.get('format_version')}, this rnafm reads {FORMAT_VERSION}",
            hint="update rnafm",
        )
    known = {item.name for item in dataclasses.fields(Card)}
    try:
        return Card(**{key: value for key, value in content.items() if key in known})
    except TypeError as error:
        raise WeightsError(f"{where}: lacks a field ({error})", hint=_RENEW) from error


def task_of(card: Card) -> str:
    """The component that a file is, by its kind: ``fold-resnet`` is a kind of ``fold``."""
    return card.kind.split("-")[0]


def tensor_names(path: Path) -> list[str]:
    """Names of the tensors of a safetensors file, from its header alone."""
    with _opened(path) as file:
        return list(file.keys())


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _write_card(path: Path, card: Card) -> None:
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(card)}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


_RENEW = "fetch or import it again (rnafm weights pull, rnafm weights import)"


@lru_cache(maxsize=64)
def _cached_sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    # An encoder and a head may lie in one file: it is hashed once per process unless it changes.
    return file_sha256(path)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors ({error})", hint=_RENEW) from error


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    written = path.with_name(path.name + ".tmp")
    try:
        yield written
        os.replace(written, path)
    except BaseException:
        written.unlink(missing_ok=True)
        raise


def load_tensors(module: torch.nn.Module, tensors: dict[str, Tensor], card: Card) -> None:
    """Fill a network.

    Raises:
        WeightsError: when the tensors do not fit.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        problem: Any = str(error).splitlines()[-1].strip()
        raise WeightsError(f"the weights of '{card.name}' ({card.kind}) do not fit its card: {problem}") from error


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
