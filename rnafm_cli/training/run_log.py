"""What a run leaves for people: CSV tables, run.json and TensorBoard events."""

from __future__ import annotations

import csv
import importlib.util
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnafm_cli import __version__
from rnafm_cli.io.streams import atomic_path, write_json


class CsvLog:
    """A CSV file to which rows are added; on opening, rows after ``step`` are dropped.

    Columns that an older version wrote, or did not know, stay or are empty.

    Args:
        columns: of the rows to come; ``step`` is one of them.
        step: last step of which rows are kept.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], step: int) -> None:
        self._path, self._columns, kept = path, list(columns), []
        if path.exists():
            with open(path, newline="", encoding="utf-8") as handle:
                # The last line of a killed process may be cut short.
                whole = [row for row in csv.DictReader(handle) if None not in row.values() and row["step"].isdigit()]
            kept = [row for row in whole if int(row["step"]) <= step]
            self._columns += [name for name in (whole[0] if whole else ()) if name not in columns]
        with atomic_path(path) as scratch, open(scratch, "w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, self._columns)
            writer.writeheader()
            writer.writerows(kept)

    def add(self, row: dict[str, Any]) -> None:
        """Write a row at once."""
        rounded = {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
        with open(self._path, "a", newline="", encoding="utf-8") as handle:
            csv.DictWriter(handle, self._columns).writerow(rounded)


class EventLog:
    """TensorBoard events of a run, in its folder ``tensorboard``, where that package is installed; else nothing."""

    def __init__(self, folder: Path, step: int) -> None:
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def add(self, prefix: str, row: dict[str, Any]) -> None:
        """Write the fractions of a row as scalars ``prefix/column`` at once."""
        if self._writer:
            for name, value in row.items():
                if isinstance(value, float):
                    self._writer.add_scalar(f"{prefix}/{name}", value, row["step"])
            self._writer.flush()


def write_run_json(folder: Path, *, config: dict[str, Any], facts: dict[str, Any]) -> None:
    """Record configuration, versions and machine of a run."""
    write_json(
        folder / "run.json",
        {
            "rnafm": __version__,
            "git": _git_commit(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "host": socket.gethostname(),
            "cpus": os.cpu_count(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": sys.argv,
            "config": config,
            **facts,
        },
    )


def _git_commit() -> str | None:
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
