"""Starts torchrun for a run of several processes and hands on signals and the exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

__all__ = ["EXIT_CODE_FILE", "Launch", "launch", "tasks_a_node", "under_torchrun"]


TORCHRUN = "rnafm_cli.pretrain.torchrun"
WORKER = "rnafm_cli.pretrain.worker"
SAVING_SECONDS = 240
"""How long torchrun waits for processes that save after a stop signal, before it kills them."""
EXIT_CODE_FILE = "RNAFM_EXIT_CODE_FILE"
"""Variable that names where a worker leaves its exit code: to torchrun any other than 0 is a crash."""
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
            "--shutdown-timeout",
            str(SAVING_SECONDS),
            *meeting,
            "-m",
            WORKER,
            *worker_arguments,
        ]


def under_torchrun() -> bool:
    """Whether torchrun has started this process as one of a run."""
    return "RANK" in os.environ


def tasks_a_node() -> int:
    """Tasks that srun has started on a machine, the most of any machine of the step."""
    counts = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1").split(",")
    return max(int(count.partition("(")[0]) for count in counts)


def launch(command: list[str]) -> int:
    """Run torchrun until it ends; a stop signal reaches the workers, which save first.

    Returns:
        Exit code: 128 + signal when one stopped the run, that of the error when a worker gave up, else torchrun's.
    """
    with TemporaryDirectory(prefix="rnafm-run-") as folder:
        note = Path(folder) / "exit_code"
        code = _supervise(command, {"OMP_NUM_THREADS": "1", **os.environ, EXIT_CODE_FILE: str(note)})
        return int(note.read_text(encoding="utf-8")) if code == 0 and note.exists() else code


def _supervise(command: list[str], environment: dict[str, str]) -> int:
    received: list[int] = []
    # A session of its own: a Ctrl-C in the terminal must not reach the workers twice.
    process = subprocess.Popen(command, env=environment, start_new_session=True)

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        process.send_signal(signal.SIGTERM)

    # What was ignored stays so: under nohup a hang-up ends nothing.
    heard = [number for number in _FORWARDED if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in heard}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 + received[0] if received else code
