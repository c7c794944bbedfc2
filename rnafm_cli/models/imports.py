"""Taking a file into the store: published weights are converted, model files of ours copied."""

from __future__ import annotations

import re
from pathlib import Path

from rnafm_cli.errors import UsageError, WeightsError
from rnafm_cli.models.config import ENCODER_PRESETS
from rnafm_cli.models.files import WEIGHTS_SUFFIX, Card, copy_model_file, read_card, save_model_file
from rnafm_cli.models.folders import target_dir
from rnafm_cli.models.registry import ENCODER, MODELS, ModelSpec
from rnafm_cli.models.store import FOREIGN_SUFFIXES, encoder_config
from rnafm_cli.models.upstream import STRUCTURE_KIND, MaskRow, convert

__all__ = ["import_file"]


def import_file(
    path: Path,
    *,
    name: str,
    weights_dir: Path | None = None,
    kind: str | None = None,
    mask_row: MaskRow = "upstream",
    heads: int | None = None,
    force: bool = False,
    origin: str | None = None,
) -> tuple[Path, Card]:
    """Convert a published file, or copy a model file of ours, into the store under a name.

    Args:
        path: upstream or multimolecule weights, or a model file with its card.
        name: the name it gets; that of a registered model if it is this model.
        kind: what the file has to be, see :func:`upstream.convert`.
        mask_row: see :mod:`rnafm_cli.models.upstream`.
        heads: attention heads, for files that do not tell.
        force: replace a model of this name.
        origin: address that the file was fetched from, for the card.

    Raises:
        UsageError: when the name is taken or cannot be used.
        WeightsError: when the file is damaged, does not fit, or is another model than the name says.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name) or name.endswith((WEIGHTS_SUFFIX, *FOREIGN_SUFFIXES)):
        raise UsageError(f"'{name}' cannot be a model's name", hint="use letters, digits, '-', '_' and '.'")
    spec = MODELS.get(name)
    if spec is not None and spec.download is None:
        raise UsageError(f"'{name}' is the model that ships with rnafm", hint="choose another name")
    target = target_dir(weights_dir) / f"{name}{WEIGHTS_SUFFIX}"
    if target.exists() and not force:
        raise UsageError(f"{target}: exists already", hint="replace it with --force, or choose another name")
    if _is_ours(path):
        card = read_card(path)
        if kind not in (None, card.kind):
            raise WeightsError(f"{path}: is of kind {card.kind}, not {kind}")
        _check_registered(name, spec, card, path)
        return target, copy_model_file(path, target, name=name)
    tensors, card = convert(path, name=name, kind=kind, mask_row=mask_row, heads=heads)
    _check_registered(name, spec, card, path)
    card.source.update({"url": origin} if origin else {})
    card.source.update({"licence": spec.licence} if spec else {})
    return target, save_model_file(target, tensors, card)


def _is_ours(path: Path) -> bool:
    try:
        read_card(path)
    except WeightsError:
        return False
    return path.name.endswith(WEIGHTS_SUFFIX) and path.exists()


def _check_registered(name: str, spec: ModelSpec | None, card: Card, path: Path) -> None:
    """A registered name stands for one published network: nothing else may take it."""
    if spec is None:
        return
    config, preset = encoder_config(card, path), ENCODER_PRESETS[spec.preset]
    found, wanted = ((c.tokens, c.layers, c.width, c.heads, c.ffn) for c in (config, preset))
    kinds = {ENCODER} if set(spec.components) == {ENCODER} else {STRUCTURE_KIND}
    if found != wanted or card.kind not in kinds:
        raise WeightsError(
            f"{path}: is not {name}: {card.kind} with {config.tokens} tokens, {config.layers} layers of "
            f"{config.width} channels, where {name} is {' or '.join(kinds)} with {preset.tokens} tokens, "
            f"{preset.layers} layers of {preset.width}",
            hint="choose another name",
        )
