"""Plain values of a model card as arguments of a configuration."""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["known_values"]


def known_values(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """The values that are fields of the dataclass ``kind``, lists as tuples; other keys are left alone."""
    known = {field.name for field in dataclasses.fields(kind)}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if key in known}
