"""Recipes: TOML into frozen dataclasses, checked key by key, and the section of the optimiser that all of them have."""

from __future__ import annotations

import tomllib
import types
import typing
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from rnafm_cli.errors import ConfigError

__all__ = ["OptimSection", "load_recipe", "recipe_from_dict", "with_overrides"]


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
            raise _unknown(where, "section", section, list(hints))
        if not isinstance(keys, dict):
            raise ConfigError(f"{where}: {section} must be a section", hint=f"write [{section}] and its keys below")
        built[section] = _section(hints[section], section, keys, where)
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


def with_overrides(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A copy of nested ``values`` with ``section.key=value`` texts applied; values are TOML or bare words."""
    merged = {section: dict(keys) if isinstance(keys, dict) else keys for section, keys in values.items()}
    for text in overrides:
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(f"--set {text!r}: not of the form section.key=value", hint="for example optim.rate=2e-4")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value.strip()
        merged.setdefault(section, {})[key] = parsed
    return merged


def _section(kind: Any, section: str, keys: dict[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    checked = {}
    for key, value in keys.items():
        if key not in hints:
            raise _unknown(where, "key", f"{section}.{key}", [f"{section}.{name}" for name in hints])
        checked[key] = _typed(value, hints[key], f"{where}: {section}.{key}")
    return kind(**checked)


def _typed(value: Any, hint: Any, name: str) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    expected = [option for option in options if option is not type(None)]
    for option in expected:
        if typing.get_origin(option) is Literal:
            if value in typing.get_args(option):
                return value
            choices = ", ".join(map(str, typing.get_args(option)))
            raise ConfigError(f"{name}: {value!r} is not one of {choices}")
        if typing.get_origin(option) is tuple:
            if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
                return tuple(value)
            raise ConfigError(f"{name}: {value!r} is no list of words", hint='write it as ["one", "two"]')
        if option is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, option) and (option is bool or not isinstance(value, bool)):
            return value
    raise ConfigError(f"{name}: {value!r} is not of type {' or '.join(option.__name__ for option in expected)}")


def _unknown(where: str, what: str, name: str, known: list[str]) -> ConfigError:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return ConfigError(
        f"{where}: unknown {what} {name!r}",
        hint=f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}",
    )


@dataclass(frozen=True, kw_only=True)
class OptimSection:
    """The optimiser and its schedule."""

    rate: float = 1e-3
    """Peak learning rate."""
    schedule: Literal["inverse-sqrt", "cosine", "trapezoid", "late-cosine"] = "trapezoid"
    """After warm-up: inverse-sqrt (the paper's), cosine to final_rate, or trapezoid: constant, then linear to final_rate over the last cooldown share (late-cosine: by a cosine)."""  # noqa: E501
    warmup: int = 500
    """Steps of linear warm-up."""
    steps: int = 10000
    """Optimiser steps in all."""
    cooldown: float = 0.2
    """Share of the steps over which the trapezoid falls."""
    final_rate: float = 0.0
    """Rate at the end as a share of the peak (cosine, trapezoid)."""
    beta1: float = 0.9
    """AdamW: decay of the mean."""
    beta2: float = 0.98
    """AdamW: decay of the variance."""
    eps: float = 1e-6
    """AdamW: added to the root of the variance."""
    weight_decay: float = 0.01
    """Applied to matrices; never to norms, biases and embeddings."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 never clips."""
