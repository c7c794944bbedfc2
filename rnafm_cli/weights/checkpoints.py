"""Foreign checkpoint files, read without running anything they contain.

PyTorch files are opened with ``weights_only=True`` and memory-mapped: what is not used (two thirds of a
training checkpoint is optimiser state) never gets into memory.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rnafm_cli.errors import WeightsError

_WRAPPERS = ("model", "state_dict", "model_state_dict")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a checkpoint says about its network besides the tensors; None where it does not."""

    arch: str | None = None
    layers: int | None = None
    width: int | None = None
    ffn: int | None = None
    heads: int | None = None
    positions: int | None = None
    """Rows of the position table."""
    token_dropout: bool = False


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Tensors of a file under their own names."""

    path: Path
    tensors: dict[str, Tensor]
    settings: Settings
    wrapped: bool
    """Whether the tensors lay in a trainer's file, beside other things."""
    extras: tuple[str, ...]
    """Those other things (optimiser state and so on), left unread."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``.pth`` (zip or old pickle) or ``.safetensors`` file, told apart by content.

    Raises:
        WeightsError: when the file is missing, damaged, of another kind or needs arbitrary objects.
    """
    encoding = check_checkpoint(path)
    if encoding == "safetensors":
        return _from_safetensors(path)
    # Pickles of old PyTorch cannot be mapped.
    return _from_torch(path, mapped=encoding == "zip")


def check_checkpoint(path: Path) -> Literal["zip", "pickle", "safetensors"]:
    """How a checkpoint is encoded; a zip's records are compared with the checksums stored beside them.

    The official encoder files have no published hash: these checksums are all there is against damage.

    Raises:
        WeightsError: when the file is missing, damaged or no checkpoint.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(16)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    if head.startswith(b"PK"):
        _check_archive(path)
        return "zip"
    if head.startswith(b"\x80"):
        return "pickle"
    if head[8:9] == b"{":
        return "safetensors"
    what = "a web page" if head.lstrip().startswith(b"<") else "neither a PyTorch checkpoint nor a safetensors file"
    raise WeightsError(f"{path}: is {what if head else 'empty'}")


def _from_safetensors(path: Path) -> Checkpoint:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: is damaged ({error})", hint="fetch it again") from error
    return Checkpoint(path=path, tensors=tensors, settings=_beside(path), wrapped=False, extras=())


def _from_torch(path: Path, *, mapped: bool) -> Checkpoint:
    content = _load(path, mapped)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds {type(content).__name__}, not a dictionary of tensors")
    wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
    named = content if wrapper is None else content[wrapper]
    tensors = {str(name): value for name, value in named.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors (its entries: {', '.join(map(str, content)) or 'none'})")
    return Checkpoint(
        path=path,
        tensors=tensors,
        settings=_settings_of(content["args"]) if "args" in content else _beside(path),
        wrapped=wrapper is not None,
        extras=() if wrapper is None else tuple(str(key) for key in content if key not in (wrapper, "args")),
    )


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise WeightsError(f"{path}: is truncated or damaged ({error})", hint="fetch it again") from error
    if bad is not None:
        raise WeightsError(f"{path}: is damaged (checksum of {bad} does not fit)", hint="fetch it again")


def _load(path: Path, mapped: bool) -> Any:
    try:
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
        if foreign:
            raise WeightsError(
                f"{path}: contains objects of {foreign[1]}, and only tensors and plain values are read",
                hint="where you trust the file, save its tensors alone: torch.save(state_dict, FILE)",
            ) from error
        raise WeightsError(f"{path}: is not a PyTorch checkpoint, or damaged", hint="fetch it again") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path}: cannot be read as a PyTorch checkpoint ({reason})", hint="fetch it again"
        ) from error


def _harmless() -> list[Any]:
    """Plain values that trainers leave beside the tensors: options and numpy numbers."""
    scalar = np.float64(0).__reduce__()[0]
    numbers = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?")]
    return [argparse.Namespace, np.dtype, *numbers, scalar, (scalar, "numpy.core.multiarray.scalar")]


def _settings_of(arguments: Any) -> Settings:
    """Options of upstream's trainer; the part of a name before ``encoder_`` does not count."""
    options = vars(arguments) if isinstance(arguments, argparse.Namespace) else arguments
    if not isinstance(options, Mapping):
        return Settings()
    named = {str(key).split("encoder_")[-1]: value for key, value in options.items()}
    positions = _number(named.get("max_positions"))
    return Settings(
        arch=named["arch"] if isinstance(named.get("arch"), str) else None,
        layers=_number(named.get("layers")),
        width=_number(named.get("embed_dim")),
        ffn=_number(named.get("ffn_embed_dim")),
        heads=_number(named.get("attention_heads")),
        # Positions count from the row after the pad's, so that the table has two rows more.
        positions=None if positions is None else positions + 2,
        token_dropout=bool(named.get("token_dropout", False)),
    )


def _beside(path: Path) -> Settings:
    """The ``config.json`` that multimolecule keeps in the folder of its weights."""
    options: Any = None
    with suppress(OSError, ValueError):
        options = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
    if not isinstance(options, dict) or options.get("model_type") != "rnafm":
        return Settings()
    return Settings(
        layers=_number(options.get("num_hidden_layers")),
        width=_number(options.get("hidden_size")),
        ffn=_number(options.get("intermediate_size")),
        heads=_number(options.get("num_attention_heads")),
        positions=_number(options.get("max_position_embeddings")),
        token_dropout=bool(options.get("token_dropout", False)),
    )


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
