"""Reading sequences for a command: paths or stdin, and what happens to bad records."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rnafm_cli.cli import console
from rnafm_cli.cli.options import OnErrorChoice
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from rnafm_cli.rna.records import SequenceRecord

__all__ = ["Intake", "Rejections"]


class Rejections:
    """What happens to input that cannot be used: it stops the run, or is reported, counted and left out."""

    def __init__(self, on_error: OnErrorChoice) -> None:
        self._on_error = on_error
        self.skipped = 0

    @property
    def skips(self) -> bool:
        """Whether it is left out."""
        return self._on_error is OnErrorChoice.skip

    def reject(self, error: InputError) -> None:
        """What tasks and readers call for input that cannot be used."""
        if self._on_error is OnErrorChoice.fail:
            raise error
        self.skip(error)

    def skip(self, error: InputError) -> None:
        """Report it and leave it out."""
        self.skipped += 1
        console.warn(f"{error.message}; left out")


class Intake(Rejections):
    """The records of one run; counts what is left out, and sets the exit code by it."""

    def __init__(self, paths: list[Path] | None, on_error: OnErrorChoice) -> None:
        if not paths and sys.stdin.isatty():
            raise UsageError("no input", hint="give FASTA files, or pipe sequences in")
        super().__init__(on_error)
        self._paths = paths or [Path("-")]

    def records(self) -> Iterator[SequenceRecord]:
        """Clean records in input order; a bad one stops the run or is reported and left out."""
        from rnafm_cli.io.fasta import IntakeReport, read_fasta

        report = IntakeReport()
        yield from read_fasta(self._paths, on_error=self._on_error.value, report=console.warn, counts=report)
        self.skipped += report.skipped
        for line in report.summary():
            console.info(line)

    def finish(self) -> None:
        """End the run: exit code 3 if records were left out."""
        if self.skipped:
            console.warn(f"{self.skipped} record{'s' if self.skipped > 1 else ''} left out")
            raise typer.Exit(InputError.exit_code)
