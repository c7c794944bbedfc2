"""Runs the command as a user does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["Command", "command_in"]

Command = Callable[..., subprocess.CompletedProcess[str]]


def command_in(home: Path) -> Command:
    """``rnafm(*arguments, stdin="", env=None)`` with an empty cache in ``home``; text in, text out."""

    def run(
        *arguments: str | Path, stdin: str | None = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "XDG_CACHE_HOME": str(home / "cache"), "OMP_NUM_THREADS": "1", **(env or {})}
        environment.pop("RNAFM_HOME", None)
        return subprocess.run(
            [sys.executable, "-m", "rnafm_cli", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            env=environment,
            timeout=300,
        )

    return run
