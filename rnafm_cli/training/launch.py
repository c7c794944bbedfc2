"""Starts torchrun for a run of several processes and hands on signals and the exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from types import FrameType

__all__ = ["Launch", "is_worker", "launch"]

TORCHRUN = "rnafm_cli.training.torchrun"
WORKER = "rnafm_cli.training.worker"
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How many processes, where they meet, and how often they may be started again."""

    nproc: int = 1
    """Processes on this machine."""
    nnodes: str = "1"
    """Machines, or a range such as 1:4."""
    rdzv: str | None = None
    """HOST:PORT where several machines meet (c10d)."""
    rdzv_id: str = "rnafm"
    max_restarts: int = 3
    """How often the processes are started again after one has died."""

    @property
    def alone(self) -> bool:
        """Whether one process is enough and no launcher is needed."""
        return self.nproc == 1 and self.nnodes == "1" and self.rdzv is None

    def command(self, worker_arguments: list[str]) -> list[str]:
        """The torchrun command line."""
        meeting = (
            ["--standalone"]
            if self.rdzv is None
            else ["--rdzv-backend", "c10d", "--rdzv-endpoint", self.rdzv, "--rdzv-id", self.rdzv_id]
        )
        return [
            sys.executable,
            "-m",
            TORCHRUN,
            "--nnodes",
            self.nnodes,
            "--nproc-per-node",
            str(self.nproc),
            "--max-restarts",
            str(self.max_restarts),
            *meeting,
            "-m",
            WORKER,
            *worker_arguments,
        ]


def is_worker() -> bool:
    """Whether a launcher (torchrun, or srun with several tasks) has started this process as one of a run."""
    return "RANK" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def launch(command: list[str]) -> int:
    """Run torchrun until it ends; a stop signal reaches the workers, which save first.

    Returns:
        Exit code: 128 + signal when one stopped the run, else torchrun's.
    """
    received: list[int] = []
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    # A session of its own: a Ctrl-C in the terminal must not reach the workers twice.
    process = subprocess.Popen(command, env=environment, start_new_session=True)

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        process.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 + received[0] if received else code
