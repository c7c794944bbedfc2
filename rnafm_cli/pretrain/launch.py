"""Starts torchrun for a run of several processes and hands on signals and the exit code.

``python -m rnafm_cli.pretrain.launch`` is PyTorch's torchrun, but a stop signal is no reason for a traceback.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from rnafm_cli.errors import RnafmError

SAVING_SECONDS = 240
"""How long torchrun waits for processes that save after a stop signal, before it kills them."""
EXIT_CODE_FILE = "RNAFM_EXIT_CODE_FILE"
"""Variable that names where a process leaves its exit code: to torchrun any other than 0 is a crash."""
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # Torchrun would show processes that it starts again the addresses of those that died.
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


def torchrun(arguments: list[str], *, nproc: int, nnodes: str, rdzv: str | None, max_restarts: int) -> list[str]:
    """The command line that runs ``rnafm ARGUMENTS`` in several processes.

    Args:
        nproc: processes on this machine.
        nnodes: machines, or a range such as 1:4.
        rdzv: HOST:PORT where several machines meet.
        max_restarts: how often the processes are started again after one has died.
    """
    many = ["--rdzv-backend", "c10d", "--rdzv-id", "rnafm", "--rdzv-endpoint"]
    command = [sys.executable, "-m", "rnafm_cli.pretrain.launch", "--nnodes", nnodes, "--nproc-per-node", str(nproc)]
    command += ["--max-restarts", str(max_restarts), "--shutdown-timeout", str(SAVING_SECONDS)]
    command += ["--standalone"] if rdzv is None else [*many, rdzv]
    return [*command, "-m", "rnafm_cli", *arguments]


def under_torchrun() -> bool:
    """Whether torchrun has started this process as one of a run."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def tasks_a_node() -> int:
    """Tasks that srun has started on a machine, the most of any machine of the step."""
    counts = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1").split(",")
    return max(int(count.partition("(")[0]) for count in counts)


def launch(command: list[str]) -> int:
    """Run torchrun until it ends; a stop signal reaches the processes of the run, which save first.

    Returns:
        Exit code: 128 + signal when one stopped the run, that of the error when a process gave up, else torchrun's.
    """
    with TemporaryDirectory(prefix="rnafm-run-") as folder:
        note = Path(folder) / "exit_code"
        code = _supervise(command, {**_ENVIRONMENT, **os.environ, EXIT_CODE_FILE: str(note)})
        return int(note.read_text(encoding="utf-8")) if code == 0 and note.exists() else code


def is_first_to_give_up(failure: RnafmError) -> bool:
    """Leave the exit code for :func:`launch`; whether this is the first process of the machine to do so.

    It then ends with 0, or torchrun would try again what would fail again.

    Raises:
        RnafmError: the failure itself, where nobody waits for the exit code.
    """
    note = os.environ.get(EXIT_CODE_FILE)
    if note is None:
        raise failure
    try:
        with open(note, "x", encoding="utf-8") as handle:
            handle.write(str(failure.exit_code))
    except FileExistsError:
        return False
    return True


def _supervise(command: list[str], environment: dict[str, str]) -> int:
    received: list[int] = []
    # A session of its own: a Ctrl-C in the terminal must not reach the processes twice.
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


if __name__ == "__main__":
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.run import main

    try:
        main()
    except SignalException as stop:
        # The processes have saved and said so.
        sys.exit(128 + stop.sigval)
