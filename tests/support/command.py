"""Runs the command as a user does: within this process, or in one of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


def _environment(home: Path, env: dict[str, str] | None) -> dict[str, str]:
    here = {name: value for name, value in os.environ.items() if name != "RNAFM_HOME"}
    return {**here, "XDG_CACHE_HOME": str(home / "cache"), "OMP_NUM_THREADS": "1", **(env or {})}


def command_in(home: Path) -> Command:
    """``rnafm(*arguments, stdin="", env=None)`` with an empty cache in ``home``; text in, text out.

    It runs in this process, where torch need not be loaded for each call; :func:`process_in` is for pipes, signals and
    what processes of the command itself say.
    """

    def run(
        *arguments: str | Path, stdin: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        import torch

        from rnafm_cli.cli import app, console

        words, threads = ["rnafm", *map(str, arguments)], torch.get_num_threads()
        streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for name in ("stdout", "stderr")}
        streams["stdin"] = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            patch.setattr(sys, "argv", words)
            patch.setattr(console, "console", console.Console())
            for name, value in _environment(home, env).items():
                patch.setenv(name, value)
            patch.delenv("RNAFM_HOME", raising=False)
            try:
                app.main()
            except SystemExit as end:
                code = end.code
            finally:
                torch.set_num_threads(threads)
        texts = []
        for name in ("stdout", "stderr"):
            streams[name].flush()
            texts.append(streams[name].buffer.getvalue().decode())  # type: ignore[attr-defined]
        return subprocess.CompletedProcess(words, int(code or 0), *texts)

    return run


def process_in(home: Path) -> Command:
    """The same in a process of its own."""

    def run(
        *arguments: str | Path, stdin: str | None = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rnafm_cli", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            env=_environment(home, env),
            timeout=300,
        )

    return run
