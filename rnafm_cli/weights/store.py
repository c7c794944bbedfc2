"""Named models and files of models, found on this machine and made into networks.

A model consists of components, its encoder and heads, each in a model file. A head names its encoder by
SHA-256, or carries it along under ``encoder.``.

Folders are searched in this order: the one given (``--weights-dir``), ``$RNAFM_HOME``, the user's cache, the folder
that ships with the program.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rnafm_cli.errors import WeightsError
from rnafm_cli.weights.cards import CARD_SUFFIX, WEIGHTS_SUFFIX, Card, read_card
from rnafm_cli.weights.registry import ENCODER, MODELS, nearest_name

if TYPE_CHECKING:
    from torch import Tensor


def shipped_dir() -> Path:
    """The folder of weights that come with the program: package data, or ``weights/`` of a checkout."""
    here = Path(__file__).resolve()
    installed = here.with_name("shipped")
    return installed if installed.is_dir() else here.parents[2] / "weights"


def search_dirs(weights_dir: Path | None = None) -> list[Path]:
    """Folders searched for model files, first match first; they need not exist."""
    home = os.environ.get("RNAFM_HOME")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnafm"
    chosen = [weights_dir, Path(home) if home else None, cache, shipped_dir()]
    return [folder for folder in chosen if folder is not None]


def target_dir(weights_dir: Path | None = None) -> Path:
    """The folder that new model files go to: the first of the search that is not the shipped one."""
    return search_dirs(weights_dir)[0]


def in_folders(stem: str, folders: Iterable[Path]) -> Path | None:
    """The first model file of this name, without regard to its content."""
    return next((path for folder in folders if (path := folder / f"{stem}{WEIGHTS_SUFFIX}").is_file()), None)


def _files_in(folders: Iterable[Path]) -> Iterator[Path]:
    """All model files, in the order of the search."""
    for folder in folders:
        yield from sorted(folder.glob(f"*{WEIGHTS_SUFFIX}"))


def _models_in(folders: Iterable[Path]) -> Iterator[tuple[Path, Card]]:
    """All model files with readable cards, in the order of the search; each once."""
    for path in {path.resolve(): path for path in _files_in(folders)}:
        with suppress(WeightsError):
            yield path, read_card(path)


@dataclass(frozen=True, kw_only=True)
class Component:
    """A part of a model, its encoder or a head, present or not."""

    name: str
    component: str
    kind: str = "-"
    state: str = "missing"
    """``shipped``, ``installed``, ``damaged`` (by its size or card; bytes are not read) or ``missing``."""
    size: int | None = None
    path: Path | None = None


def components(weights_dir: Path | None = None) -> list[Component]:
    """All registered models and all model files found, registered ones first."""
    folders = search_dirs(weights_dir)
    listed = [
        _component(name, component, in_folders(stem, folders))
        for name, spec in MODELS.items()
        for component, stem in spec.components.items()
    ]
    known = {stem for spec in MODELS.values() for stem in spec.components.values()}
    for path in _files_in(folders):
        stem = path.name.removesuffix(WEIGHTS_SUFFIX)
        if stem not in known:
            known.add(stem)
            parts = ["-"]
            with suppress(WeightsError):
                card = read_card(path)
                parts = [ENCODER, card.task] if "encoder" in card.config else [card.task]
            listed += [_component(stem, part, path) for part in parts]
    return listed


def _component(name: str, component: str, path: Path | None) -> Component:
    if path is None:
        return Component(name=name, component=component)
    size = path.stat().st_size
    try:
        card = read_card(path)
        kind, whole = card.kind, card.weights_bytes in (0, size)
    except WeightsError:
        kind, whole = "-", False
    state = "damaged" if not whole else "shipped" if path.parent == shipped_dir() else "installed"
    return Component(name=name, component=component, kind=kind, state=state, size=size, path=path)


FOREIGN_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
EMBEDDED = "encoder."
"""What the names of an encoder's tensors begin with in the file of a head that carries it along."""


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
    if name in MODELS:
        return _registered(name, component, folders)
    for stem in (name,) if component == ENCODER else (f"{name}-{component}", name):
        if path := in_folders(stem, folders):
            return _component_beside(path, component, folders)
    close = nearest_name(name, [*MODELS, *(each.name for each in components(weights_dir))])
    raise WeightsError(
        f"there is no model '{name}'",
        hint=f"did you mean {close}?" if close else "see 'rnafm weights list'; a file needs its suffix",
    )


def encoder_path(name_or_file: str | Path, component: str, *, weights_dir: Path | None = None) -> Path:
    """The model file with the encoder that a head reads: the head's own file where it carries one, else the model's."""
    path = find(name_or_file, component=component, weights_dir=weights_dir)
    return path if "encoder" in read_card(path).config else find(name_or_file, weights_dir=weights_dir)


def load_component(
    name_or_file: str | Path, component: str, *, weights_dir: Path | None = None, any_encoder: bool = False
) -> tuple[dict[str, Tensor], Card]:
    """Tensors of a head, as its module names them, and the card of its file.

    Args:
        any_encoder: the head is only a start for another one: its encoder need not be the model's, nor be here.

    Raises:
        WeightsError: when the weights are missing or damaged, or were trained on another encoder than the model's.
    """
    # Names, folders and cards are of use without torch.
    from rnafm_cli.weights.files import load_model_file

    path = find(name_or_file, component=component, weights_dir=weights_dir)
    card = read_card(path)
    if not any_encoder and card.encoder_sha256 and "encoder" not in card.config:
        encoder = find(name_or_file, weights_dir=weights_dir)
        if (found := read_card(encoder).weights_sha256) != card.encoder_sha256:
            wanted = card.encoder_sha256[:12]
            raise WeightsError(
                f"{path}: was trained on the encoder with sha256 {wanted}..., but {encoder} has {found[:12]}...",
                hint="give the head's own file as the model, with its encoder in the same folder",
            )
    return load_model_file(path, prefix="head." if "encoder" in card.config else "")


def _is_file(name_or_file: str | Path) -> bool:
    text = str(name_or_file)
    suffixes = (WEIGHTS_SUFFIX, CARD_SUFFIX, *FOREIGN_SUFFIXES)
    return isinstance(name_or_file, Path) or os.sep in text or text.endswith(suffixes)


def _checked_file(path: Path) -> Path:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file" if not path.exists() else f"{path}: is not a file")
    if path.suffix in FOREIGN_SUFFIXES:
        raise WeightsError(
            f"{path}: is a checkpoint of another program", hint=f"convert it: rnafm weights import {path} --name NAME"
        )
    if path.suffix not in (WEIGHTS_SUFFIX, CARD_SUFFIX):
        raise WeightsError(f"{path}: is not named as model files are", hint=f"they end in {WEIGHTS_SUFFIX}")
    return path.with_suffix(WEIGHTS_SUFFIX)


def _registered(name: str, component: str, folders: list[Path]) -> Path:
    spec = MODELS[name]
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
    if component == card.task or (component == ENCODER and "encoder" in card.config):
        return path
    if component == ENCODER:
        return _encoder_of(card, path, [path.parent, *folders])
    if card.kind != ENCODER:
        raise WeightsError(f"{path}: is of kind {card.kind}, not {component}")
    sibling = path.with_name(f"{path.name.removesuffix(WEIGHTS_SUFFIX)}-{component}{WEIGHTS_SUFFIX}")
    if sibling.is_file():
        return sibling
    trained = [
        other
        for other, its in _models_in([path.parent, *folders])
        if its.task == component and its.encoder_sha256 == card.weights_sha256
    ]
    if len(trained) > 1:
        raise WeightsError(
            f"{path}: several {component} heads were trained on it ({', '.join(map(str, trained))})",
            hint="give one of them as the model",
        )
    if not trained:
        raise WeightsError(f"{path}: is an encoder, and there is no {component} head trained on it")
    return trained[0]


def _encoder_of(card: Card, path: Path, folders: list[Path]) -> Path:
    if card.encoder_sha256 is None:
        raise WeightsError(f"{path}: is of kind {card.kind}, and holds and reads no encoder")
    noted = Path(card.source.get("encoder") or "")
    for other, its in _models_in([*folders, noted.parent] if noted.is_absolute() else folders):
        if its.weights_sha256 == card.encoder_sha256 and (its.kind == ENCODER or "encoder" in its.config):
            return other
    what = f"{noted.name} and its card" if noted.name else "the encoder's files"
    raise WeightsError(
        f"{path}: its encoder (sha256 {card.encoder_sha256[:12]}...) is not on this machine",
        hint=f"copy {what} into the same folder",
    )


def encoder_read_by(card: Card) -> str | None:
    """SHA-256 of the file whose encoder a head reads: its own, where that holds one; None for a head without."""
    return card.weights_sha256 if "encoder" in card.config else card.encoder_sha256


def encoder_source(name_or_file: str | Path | None) -> str | None:
    """How a head's card tells where its encoder is: a model's name, or where the file lies."""
    if name_or_file is None:
        return None
    return str(Path(name_or_file).resolve()) if _is_file(name_or_file) else str(name_or_file)
