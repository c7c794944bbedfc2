"""What a run leaves for people: CSV tables and run.json."""

from __future__ import annotations

import csv
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
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
        kept: list[dict[str, str]] = []
        known: Sequence[str] = ()
        if path.exists():
            with open(path, newline="", encoding="utf-8") as handle:
                reader = csv.DictReader(handle)
                known = reader.fieldnames or ()
                kept = [row for row in reader if _whole(row, known) and int(row["step"]) <= step]
        columns = (*columns, *(name for name in known if name not in columns))
        with atomic_path(path) as scratch, open(scratch, "w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, columns)
            writer.writeheader()
            writer.writerows(kept)
        self._handle = open(path, "a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._handle, columns)

    def add(self, row: dict[str, Any]) -> None:
        """Write a row at once."""
        rounded = {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
        self._writer.writerow(rounded)
        self._handle.flush()

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def _whole(row: dict[str, str], columns: Sequence[str]) -> bool:
    # The last line of a killed process may be cut short.
    return all(row[column] is not None for column in columns) and row.get("step", "").isdigit()


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
