"""The folders that hold model files, in the order in which they are searched.

The one given (``--weights-dir``), ``$RNAFM_HOME``, the user's cache, the folder that ships with the program.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rnafm_cli.errors import WeightsError
from rnafm_cli.models.files import WEIGHTS_SUFFIX, Card, read_card

__all__ = ["cache_dir", "cards_in", "in_folders", "search_dirs", "shipped_dir", "target_dir"]


def shipped_dir() -> Path:
    """The folder of weights that come with the program: package data, or ``weights/`` of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


def cache_dir() -> Path:
    """The user's cache: ``$XDG_CACHE_HOME/rnafm`` or ``~/.cache/rnafm``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnafm"


def search_dirs(weights_dir: Path | None = None) -> list[Path]:
    """Folders searched for model files, first match first; they need not exist."""
    home = os.environ.get("RNAFM_HOME")
    chosen = [weights_dir, Path(home) if home else None]
    return [*(folder for folder in chosen if folder is not None), cache_dir(), shipped_dir()]


def target_dir(weights_dir: Path | None = None) -> Path:
    """The folder that new model files go to: the first of the search that is not the shipped one."""
    return search_dirs(weights_dir)[0]


def in_folders(stem: str, folders: Iterable[Path]) -> Path | None:
    """The first model file of this name, without regard to its content."""
    return next((path for folder in folders if (path := folder / f"{stem}{WEIGHTS_SUFFIX}").is_file()), None)


def cards_in(folders: Iterable[Path]) -> list[tuple[Path, Card]]:
    """All model files with readable cards, in the order of the search."""
    found: dict[Path, Card] = {}
    for folder in folders:
        for path in sorted(folder.glob(f"*{WEIGHTS_SUFFIX}")):
            try:
                found.setdefault(path.resolve(), read_card(path))
            except WeightsError:
                continue
    return list(found.items())
