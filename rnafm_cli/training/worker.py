"""Entry point of a training process: ``python -m rnafm_cli.training.worker``, alone or under torchrun."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rnafm_cli.errors import RnafmError
from rnafm_cli.training.config import load_config
from rnafm_cli.training.processes import Processes
from rnafm_cli.training.trainer import Trainer

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Train, and return the exit code: 0 when done or stopped by time, 128 + signal when stopped by one."""
    parser = argparse.ArgumentParser(prog="rnafm_cli.training.worker")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--resume", default="auto")
    parser.add_argument("--max-minutes", type=float)
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config, options.overrides)
        processes = Processes.joined(config.run)
        try:
            trainer = Trainer(
                config,
                options.output,
                resume=options.resume,
                processes=processes,
                report=_say,
                max_minutes=options.max_minutes,
            )
            outcome = trainer.train()
        finally:
            processes.leave()
    except RnafmError as failure:
        sys.stderr.write(f"rnafm pretrain: error: {failure}\n")
        return failure.exit_code
    except KeyboardInterrupt:
        return 130
    return 0 if outcome.stopped_by is None else 128 + outcome.stopped_by


def _say(line: str) -> None:
    sys.stderr.write(f"rnafm pretrain: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
