"""Everything meant for people: messages and progress on stderr, never on stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

__all__ = ["Progress", "console", "debug", "error", "info", "progress", "warn"]


class Console:
    """Level, form and command name of the running program."""

    def __init__(self) -> None:
        self.command = "rnafm"
        self.quiet = False
        self.verbose = False
        self.as_json = False

    @property
    def animated(self) -> bool:
        """Whether a moving bar makes sense on stderr."""
        dumb = os.environ.get("TERM") == "dumb" or bool(os.environ.get("CI"))
        return sys.stderr.isatty() and not dumb and not self.quiet and not self.as_json

    def tell(self, level: str, message: str, hint: str | None = None, **more: Any) -> None:
        """Write a message as a line for people, or as a JSON object for programs."""
        if self.as_json:
            told = {"level": level, "command": self.command, "message": message, "hint": hint, **more}
            self.line(json.dumps(told, ensure_ascii=False))
        else:
            prefix = f"{level}: " if level in ("warning", "error") else ""
            self.line(f"{self.command}: {prefix}{message}" + (f"; {hint}" if hint else ""))

    def line(self, text: str) -> None:
        """Write one line to stderr; a closed stderr is no reason to fail."""
        try:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        except (BrokenPipeError, ValueError):
            pass


console = Console()


def info(message: str) -> None:
    """What the program did; hidden by ``--quiet``."""
    if not console.quiet:
        console.tell("info", message)


def warn(message: str) -> None:
    """What the user should know about the result; hidden by ``--quiet``."""
    if not console.quiet:
        console.tell("warning", message)


def debug(message: str) -> None:
    """Details, shown with ``--verbose``."""
    if console.verbose and not console.quiet:
        console.tell("debug", message)


def error(message: str, *, hint: str | None = None, exit_code: int = 1) -> None:
    """Why the program stops; always shown."""
    console.tell("error", message, hint, exit_code=exit_code)


class Progress(Protocol):
    """Counts finished work."""

    def advance(self, amount: int = 1) -> None: ...


@contextmanager
def progress(total: int | None = None, description: str = "", unit: str = "records") -> Iterator[Progress]:
    """A bar on a terminal; elsewhere one plain line every 30 seconds; nothing when quiet.

    Args:
        total: amount of work if known (unknown for pipes: counts and rate only).
        description: what is going on, in a word or two.
        unit: what is counted.
    """
    if not console.animated:
        yield _PlainProgress(total, description, unit)
        return
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns: list[Any] = [TextColumn("{task.description}"), MofNCompleteColumn(), TextColumn(unit)]
    columns += [BarColumn(), TimeRemainingColumn()] if total else [TimeElapsedColumn()]
    with RichProgress(*columns, console=RichConsole(stderr=True), transient=True) as bar:
        yield _RichBar(bar, bar.add_task(description, total=total))


class _RichBar:
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task

    def advance(self, amount: int = 1) -> None:
        self._bar.advance(self._task, amount)


class _PlainProgress:
    period = 30.0

    def __init__(self, total: int | None, description: str, unit: str) -> None:
        self._total, self._description, self._unit = total, description, unit
        self._done = 0
        self._started = self._shown = time.monotonic()

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._shown >= self.period:
            self._shown = now
            rate = self._done / (now - self._started)
            share = f" of {self._total}" if self._total else ""
            left = f", {_duration((self._total - self._done) / rate)} left" if self._total else ""
            pace = f"{rate:.1f}/s" if rate >= 0.1 else f"{1 / rate:.0f} s each"
            info(f"{self._description} {self._done}{share} {self._unit}, {pace}{left}")


def _duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
