"""What made a set of embeddings, and whether another run may add to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rnafm_cli import __version__
from rnafm_cli.errors import UsageError

__all__ = ["Provenance", "plain", "refuse_other", "sequence_hash", "stamped"]


Provenance = Mapping[str, str | int | float | bool | None]

PASSING = frozenset({"created", "command", "rnafm_version", "device", "threads"})
"""Keys that may differ between a run and the one that continues it."""


def sequence_hash(sequence: str) -> str:
    """SHA-256 (hex) of a clean sequence, by which a resumed run knows its records."""
    return hashlib.sha256(sequence.encode()).hexdigest()


def stamped(provenance: Provenance) -> dict[str, str | int | float | bool]:
    """The known entries with this program's version and the time added."""
    return {
        "rnafm_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **{key: value for key, value in provenance.items() if value is not None},
    }


def plain(value: Any) -> Any:
    """A stored attribute as a Python value."""
    return value.item() if isinstance(value, np.generic) else value


def refuse_other(path: Path, stored: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Check that the embeddings at ``path`` were made as this run makes them.

    Raises:
        UsageError: naming the first entry that differs.
    """
    for key in sorted((stored.keys() | ours.keys()) - PASSING):
        if stored.get(key) != ours.get(key):
            raise UsageError(
                f"{path}: was made with {key} {stored.get(key)}, this run has {ours.get(key)}",
                hint="resume with the options of the first run, or start over with --force",
            )
