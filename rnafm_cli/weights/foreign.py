"""Foreign weight files, read without running anything they contain.

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
class ForeignFile:
    """Tensors of a file under their own names."""

    path: Path
    tensors: dict[str, Tensor]
    options: dict[str, Any]
    """What the file, or the ``config.json`` that multimolecule keeps beside its weights, says of the network."""
    wrapped: bool = False
    """Whether the tensors lay in a trainer's file, beside other things."""
    extras: tuple[str, ...] = ()
    """Those other things (optimiser state and so on), left unread."""


def read_foreign(path: Path) -> ForeignFile:
    """Read a ``.pth`` (zip or old pickle) or ``.safetensors`` file, told apart by content."""
    encoding = check_checkpoint(path)
    if encoding == "safetensors":
        try:
            return ForeignFile(path=path, tensors=load_file(path), options=_beside(path))
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path}: is damaged ({error})", hint="fetch it again") from error
    # Pickles of old PyTorch cannot be mapped.
    content = _load(path, mapped=encoding == "zip")
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds {type(content).__name__}, not a dictionary of tensors")
    wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
    named = content if wrapper is None else content[wrapper]
    tensors = {str(name): value for name, value in named.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors (its entries: {', '.join(map(str, content)) or 'none'})")
    options = content.get("args")
    if isinstance(options, argparse.Namespace):
        options = vars(options)
    return ForeignFile(
        path=path,
        tensors=tensors,
        options=options if isinstance(options, dict) else _beside(path),
        wrapped=wrapper is not None,
        extras=() if wrapper is None else tuple(str(key) for key in content if key not in (wrapper, "args")),
    )


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
        try:
            with zipfile.ZipFile(path) as archive:
                bad = archive.testzip()
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise WeightsError(f"{path}: is truncated or damaged ({error})", hint="fetch it again") from error
        if bad is not None:
            raise WeightsError(f"{path}: is damaged (checksum of {bad} does not fit)", hint="fetch it again")
        return "zip"
    if head.startswith(b"\x80"):
        return "pickle"
    if head[8:9] == b"{":
        return "safetensors"
    what = "a web page" if head.lstrip().startswith(b"<") else "neither a PyTorch checkpoint nor a safetensors file"
    raise WeightsError(f"{path}: is {what if head else 'empty'}")


def _load(path: Path, *, mapped: bool) -> Any:
    # Plain values that trainers leave beside the tensors: options and numpy numbers.
    scalar = np.float64(0).__reduce__()[0]
    numbers = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?")]
    harmless: list[Any] = [argparse.Namespace, np.dtype, *numbers, scalar, (scalar, "numpy.core.multiarray.scalar")]
    try:
        with torch.serialization.safe_globals(harmless), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise WeightsError(
                f"{path}: contains objects of {found[1]}, and only tensors and plain values are read",
                hint="where you trust the file, save its tensors alone: torch.save(state_dict, FILE)",
            ) from error
        raise WeightsError(f"{path}: is not a PyTorch checkpoint, or damaged", hint="fetch it again") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"{path}: cannot be read as a PyTorch checkpoint ({reason})", hint="fetch it again"
        ) from error


def _beside(path: Path) -> dict[str, Any]:
    options: Any = None
    with suppress(OSError, ValueError):
        options = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
    return options if isinstance(options, dict) and options.get("model_type") == "rnafm" else {}
