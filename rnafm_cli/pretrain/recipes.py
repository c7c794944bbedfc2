"""Recipes: the configurations behind ``rnafm pretrain config``, and their commented TOML."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import typing
from typing import Any

from rnafm_cli.errors import ConfigError
from rnafm_cli.pretrain.config import PretrainConfig
from rnafm_cli.training.recipes import recipe_from_dict

__all__ = ["RECIPES", "commented_toml", "recipe"]


RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    # Chen et al. 2022, section 2.1: 1,024 tokens, base rate 1e-4, inverse square root after 10,000 warm-up steps,
    # weight decay 0.01. Batch and number of steps are not published; docs/pretraining.md gives the arithmetic.
    "rna-fm": {
        "model": {"preset": "rna-fm"},
        "data": {"crop": 1024},
        "sampling": {"exponent": 1.0, "max_repeats": 1.0},
        "batch": {"tokens": 32768, "micro_batches": 16, "layout": "bucket"},
        "optim": {"rate": 1e-4, "schedule": "inverse-sqrt", "warmup": 10000, "steps": 300000},
        "validation": {"every": 2000, "sequences": 2000},
        "checkpoint": {"every_minutes": 30.0, "keep": 3},
        "run": {"compile": True},
    },
    # Sketches as in parts 3 to 5 of the shipped encoder's training; its card has all of it.
    "rnafm-mini": {
        "model": {"preset": "rnafm-mini"},
        "data": {"crop": 512},
        "sampling": {"exponent": 0.35},
        "sketch": {"weight": 2.0},
        "optim": {"rate": 1.5e-3, "schedule": "trapezoid", "warmup": 60, "steps": 1300, "cooldown": 0.3},
        "validation": {"every": 300, "sequences": 256},
        "checkpoint": {"every_minutes": 5.0},
    },
    "rnafm-tiny": {
        "model": {"preset": "rnafm-tiny"},
        "data": {"crop": 128},
        "batch": {"tokens": 2048, "micro_batches": 2},
        "optim": {"warmup": 20, "steps": 200},
        "validation": {"every": 50, "sequences": 64},
    },
}


def recipe(name: str) -> PretrainConfig:
    """The configuration called ``name``.

    Raises:
        ConfigError: for an unknown name.
    """
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe {name!r}", hint=f"choose from {', '.join(RECIPES)}")
    return recipe_from_dict(PretrainConfig, RECIPES[name], where=name)


def commented_toml(config: PretrainConfig) -> str:
    """TOML text of a configuration: every key, each under a comment that says what it means."""
    lines = [f"# Pre-training of {config.model.preset}; run it with: rnafm pretrain run --config THIS.toml -o RUN"]
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        kind = type(values)
        lines += ["", f"# {_summary(kind)}", f"[{section.name}]"]
        meanings = _meanings(kind)
        hints = typing.get_type_hints(kind)
        for key in dataclasses.fields(values):
            value = getattr(values, key.name)
            lines.append(f"# {meanings[key.name]}{_choices(hints[key.name])}")
            # TOML has no null: a key that is not set stands as a comment.
            lines.append(f"# {key.name} =" if value is None else f"{key.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _summary(kind: type) -> str:
    return (inspect.getdoc(kind) or "").splitlines()[0]


def _meanings(kind: type) -> dict[str, str]:
    """The string under each field of a dataclass, as one line."""
    tree = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    found: dict[str, str] = {}
    for field, below in zip(body, body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = ast.literal_eval(below.value)
            found[field.target.id] = " ".join(str(text).split())
    return found


def _choices(hint: Any) -> str:
    options = [option for option in (hint, *typing.get_args(hint)) if typing.get_origin(option) is typing.Literal]
    return f" ({' | '.join(typing.get_args(options[0]))})" if options else ""


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
