"""One training process: alone, or ``python -m rnafm_cli.pretrain.worker`` under torchrun."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from rnafm_cli.errors import RnafmError
from rnafm_cli.pretrain.config import PretrainConfig
from rnafm_cli.pretrain.launch import EXIT_CODE_FILE
from rnafm_cli.pretrain.processes import Processes
from rnafm_cli.pretrain.trainer import Trainer
from rnafm_cli.training.recipes import load_recipe

__all__ = ["main", "train"]


def train(
    config: Path,
    output: Path,
    *,
    overrides: list[str],
    resume: str,
    max_minutes: float | None,
    report: Callable[[str], None],
) -> int:
    """Train as one process of the run that the environment describes.

    Returns:
        Exit code: 0 when done or stopped by time, 128 + signal when stopped by one.
    """
    loaded = load_recipe(PretrainConfig, config, overrides)
    processes = Processes.joined(loaded.run)
    finished = False
    try:
        outcome = Trainer(
            loaded, output, resume=resume, processes=processes, report=report, max_minutes=max_minutes
        ).train()
        finished = True
    finally:
        processes.leave(together=finished)
    # torchrun takes any other code for a crash and starts the processes again.
    return 0 if outcome.stopped_by is None or "TORCHELASTIC_RUN_ID" in os.environ else 128 + outcome.stopped_by


def main(arguments: list[str] | None = None) -> int:
    """Parse the worker's own options and train."""
    parser = argparse.ArgumentParser(prog="rnafm_cli.pretrain.worker")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--resume", default="auto")
    parser.add_argument("--max-minutes", type=float)
    options = parser.parse_args(arguments)
    try:
        return train(**vars(options), report=_say)
    except RnafmError as failure:
        return _give_up(failure)
    except KeyboardInterrupt:
        return 130


def _give_up(failure: RnafmError) -> int:
    """Say what is wrong, once on a machine, and end so that torchrun does not try again what would fail again."""
    note = os.environ.get(EXIT_CODE_FILE)
    if note is None:
        _say(f"error: {failure}")
        return failure.exit_code
    try:
        with open(note, "x", encoding="utf-8") as handle:
            handle.write(str(failure.exit_code))
    except FileExistsError:
        return 0
    _say(f"error: {failure}")
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"rnafm pretrain: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
