"""Recipes of heads: sections of frozen dataclasses, read from TOML, unknown keys refused."""

from __future__ import annotations

import tomllib
import typing
from pathlib import Path
from typing import Any, TypeVar

from rnafm_cli.errors import ConfigError
from rnafm_cli.training.config import section_from_dict, unknown_name, with_overrides

__all__ = ["load_recipe", "recipe_from_dict"]

Recipe = TypeVar("Recipe")


def recipe_from_dict(kind: type[Recipe], values: dict[str, Any], *, where: str = "configuration") -> Recipe:
    """Build a recipe, a dataclass whose fields are sections, from nested plain values.

    Raises:
        ConfigError: for an unknown section or key (with the nearest match) and a value of a wrong type.
    """
    hints = typing.get_type_hints(kind)
    built: dict[str, Any] = {}
    for section, keys in values.items():
        if section not in hints:
            raise unknown_name(where, "section", section, list(hints))
        if not isinstance(keys, dict):
            raise ConfigError(f"{where}: {section} must be a section", hint=f"write [{section}] and its keys below")
        built[section] = section_from_dict(hints[section], section, keys, where)
    return kind(**built)


def load_recipe(kind: type[Recipe], path: Path | None, overrides: list[str] | None = None) -> Recipe:
    """Read a TOML recipe (the defaults if None) and apply ``section.key=value`` overrides.

    Raises:
        ConfigError: unreadable file, unknown key, value of a wrong type.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as failure:
            raise ConfigError(f"{path}: {failure.strerror}") from failure
        except tomllib.TOMLDecodeError as failure:
            raise ConfigError(f"{path}: not valid TOML: {failure}") from failure
    return recipe_from_dict(kind, with_overrides(values, overrides or []), where=str(path or "configuration"))
