"""Everything meant for people: messages and progress on stderr, never on stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any


class Console:
    """Level, form and command name of the running program."""

    def __init__(self) -> None:
        self.command = "rnafm"
        self.quiet = False
        self.verbose = False
        self.as_json = False
        self.prints_data = False
        """Whether the command writes its results to stdout."""

    @property
    def animated(self) -> bool:
        """Whether a moving bar makes sense on stderr."""
        if self.quiet or self.as_json or os.environ.get("TERM") == "dumb" or os.environ.get("CI"):
            return False
        # Results that scroll by on the same terminal are progress enough, and a bar would stand among them.
        return sys.stderr.isatty() and not (self.prints_data and sys.stdout.isatty())

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


class Bar:
    """Counts finished work: moves on a terminal, tells a plain line every :attr:`period` seconds elsewhere."""

    period = 30.0

    def __init__(
        self, total: int | Callable[[], int | None] | None, description: str, unit: str, done: int, moving: Any = None
    ) -> None:
        self._total, self._description, self._unit, self._moving = total, description, unit, moving
        self.done = self._begun = done
        self._started = self._shown = time.monotonic()
        if moving is not None:
            self._task = moving.add_task(description, total=total, completed=done, counted=unit)

    def advance(self, amount: int = 1, note: str = "") -> None:
        """So much more is done; the note stands beside the count."""
        self.done += amount
        now = time.monotonic()
        rate = (self.done - self._begun) / max(now - self._started, 1e-9)
        pace = "" if rate <= 0 else f"{rate:.1f}/s" if rate >= 0.1 else f"{1 / rate:.0f} s each"
        if self._moving is not None:
            counted = (self._unit, note, "" if self._total else pace)
            self._moving.update(self._task, advance=amount, counted=", ".join(filter(None, counted)))
        elif pace and now - self._shown >= self.period:
            self._shown = now
            if callable(self._total):
                self._total = self._total()
            share = left = ""
            if self._total:
                seconds = max(0, self._total - self.done) / rate
                share, left = f" of {self._total}", f"{timedelta(seconds=round(seconds))} left"
            told = f"{self._description} {self.done}{share} {self._unit}".rstrip()
            info(", ".join(filter(None, (told, note, pace, left))))


@contextmanager
def progress(
    total: int | Callable[[], int | None] | None = None, description: str = "", unit: str = "records", done: int = 0
) -> Iterator[Bar]:
    """A bar on a terminal; elsewhere, and where results appear on that terminal, one plain line every 30 seconds.

    Args:
        total: amount of work, or what finds it out once something is shown; None if unknown: count and rate only.
        description: what is going on, in a word or two.
        unit: what is counted.
        done: by an earlier run; says nothing about the pace of this one.
    """
    if not console.animated:
        yield Bar(total, description, unit, done)
        return
    from rich.console import Console as RichConsole
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    known = total() if callable(total) else total
    columns: list[Any] = [TextColumn("{task.description}"), MofNCompleteColumn(), TextColumn("{task.fields[counted]}")]
    columns += [BarColumn(), TimeRemainingColumn()] if known else [TimeElapsedColumn()]
    # What goes to stdout is data and stays where it was sent.
    with Progress(*columns, console=RichConsole(stderr=True), transient=True, redirect_stdout=False) as moving:
        yield Bar(known, description, unit, done, moving)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """Progress of one stage of work after the other.

    Yields:
        What takes what is counted (with a note behind a comma, if any), how much is done, and of how much.
    """
    with ExitStack() as stack:
        bar: Bar | None = None
        stage, before = "", 0

        def show(what: str, done: int, total: int) -> None:
            nonlocal bar, stage, before
            name, _, note = what.partition(", ")
            if bar is None or name != stage or done < before:
                stack.close()
                bar, stage, before = stack.enter_context(progress(total, name, "", done)), name, done
            bar.advance(done - before, note)
            before = done

        yield show
