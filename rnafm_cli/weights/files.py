"""Model files: tensors in ``NAME.safetensors``, read and written with their card, ``NAME.json`` beside it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

from rnafm_cli.errors import WeightsError
from rnafm_cli.io.streams import atomic_path
from rnafm_cli.weights.cards import (
    MODEL_FORMAT,
    WEIGHTS_SUFFIX,
    Card,
    card_path,
    file_sha256,
    opened,
    verify_model_file,
    write_card,
)


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


_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def save_model_file(path: Path, tensors: Mapping[str, Tensor], card: Card) -> Card:
    """Write ``path`` (``NAME.safetensors``) and its card; each appears whole or not at all.

    Floating-point tensors are stored in ``card.dtype``, in float32 where that would overflow, others as they are.

    Returns:
        the card as written, with the hash and size of the tensor file.

    Raises:
        WeightsError: when ``path`` has another suffix, or a tensor holds values that are no numbers.
    """
    if path.suffix != WEIGHTS_SUFFIX:
        raise WeightsError(f"{path}: model files end in {WEIGHTS_SUFFIX}")
    floats = {name: tensor.detach() for name, tensor in tensors.items() if tensor.is_floating_point()}
    if broken := next((name for name, tensor in floats.items() if not tensor.isfinite().all()), None):
        raise WeightsError(f"{path}: not written: {broken} holds values that are no finite numbers")
    if not all(tensor.to(_DTYPES[card.dtype]).isfinite().all() for tensor in floats.values()):
        card = dataclasses.replace(card, dtype="float32")
    dtype = _DTYPES[card.dtype]
    stored = {
        name: (tensor.detach().to("cpu", dtype) if tensor.is_floating_point() else tensor.detach().cpu()).contiguous()
        for name, tensor in tensors.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(card_path(path)) as written_card, atomic_path(path) as written:
        mode = written.stat().st_mode
        save_file(stored, written, metadata={"format": MODEL_FORMAT})
        # safetensors makes it readable by its owner alone; a folder of weights may be shared.
        written.chmod(mode)
        card = dataclasses.replace(card, weights_sha256=file_sha256(written), weights_bytes=written.stat().st_size)
        write_card(written_card, card)
    return card


def copy_model_file(path: Path, to: Path, *, name: str) -> Card:
    """Copy a verified model file and its card, which gets another name; the bytes stay the same."""
    card = dataclasses.replace(verify_model_file(path), name=name)
    to.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(card_path(to)) as written_card, atomic_path(to) as written:
        shutil.copyfile(path, written)
        write_card(written_card, card)
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
    with opened(path, "pt") as file:
        for name in file.keys():
            if name.startswith(prefix):
                tensor = file.get_tensor(name)
                # A copy: a mapped tensor would follow whatever happens to the file.
                dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
                tensors[name.removeprefix(prefix)] = tensor.to(dtype, copy=True)
    return tensors, card


def load_tensors(module: torch.nn.Module, tensors: dict[str, Tensor], card: Card) -> None:
    """Give a network its tensors, which are not copied.

    Raises:
        WeightsError: when they do not fit.
    """
    try:
        module.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        problem = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
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
            ("set of tensors", *({key: value.shape for key, value in of.items()} for of in (first, tensors))),
        ):
            if own != its:
                raise WeightsError(
                    f"{path}: has another {what} than {paths[0]}", hint="average files of one run, or of runs like it"
                )
    mean = dict(first)
    for key, value in first.items():
        if value.is_floating_point():
            mean[key] = torch.stack([value, *(tensors[key] for tensors, _ in others)]).mean(dim=0)
    hashes = ", ".join(each.weights_sha256 for each in (card, *(other for _, other in others)))
    card = dataclasses.replace(card, name=name, metrics={}, notes=f"mean of the weights {hashes}")
    return save_model_file(output, mean, card)


def _settings(card: Card) -> dict[str, Any]:
    return {key: value for key, value in card.config.items() if key not in _CHOSEN_AFTERWARDS}
