"""What there is: the registered models and every model file on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rnafm_cli.errors import WeightsError
from rnafm_cli.models.files import WEIGHTS_SUFFIX, read_card, task_of, tensor_names
from rnafm_cli.models.folders import in_folders, search_dirs, shipped_dir
from rnafm_cli.models.registry import ENCODER, MODELS

__all__ = ["Entry", "entries"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A component of a model, present or not."""

    name: str
    component: str
    kind: str
    state: str
    """``shipped``, ``installed``, ``damaged`` (by its size or card; bytes are not read) or ``missing``."""
    size: int | None
    path: Path | None


def entries(weights_dir: Path | None = None) -> list[Entry]:
    """All registered models and all model files found, registered ones first."""
    folders = search_dirs(weights_dir)
    listed: list[Entry] = []
    for name, spec in MODELS.items():
        for component, stem in spec.components.items():
            path = in_folders(stem, folders)
            if path is None:
                listed.append(Entry(name=name, component=component, kind="-", state="missing", size=None, path=None))
            else:
                listed.append(_entry(name, component, path))
    known = {stem for spec in MODELS.values() for stem in spec.components.values()}
    for folder in folders:
        for path in sorted(folder.glob(f"*{WEIGHTS_SUFFIX}")):
            stem = path.name.removesuffix(WEIGHTS_SUFFIX)
            if stem not in known:
                known.add(stem)
                listed += [_entry(stem, component, path) for component in _components(path)]
    return listed


def _entry(name: str, component: str, path: Path) -> Entry:
    size = path.stat().st_size
    try:
        card = read_card(path)
        kind, whole = card.kind, card.weights_bytes in (0, size)
    except WeightsError:
        kind, whole = "-", False
    state = "damaged" if not whole else "shipped" if path.parent == shipped_dir() else "installed"
    return Entry(name=name, component=component, kind=kind, state=state, size=size, path=path)


def _components(path: Path) -> list[str]:
    try:
        task = task_of(read_card(path))
        embedded = any(name.startswith("encoder.") for name in tensor_names(path))
    except WeightsError:
        return ["-"]
    return [ENCODER, task] if embedded else [task]
