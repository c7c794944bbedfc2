"""Starts the processes of a run by torchrun, hands on signals and finds the exit code."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

from rnafm_cli.errors import RnafmError

_SAVING_SECONDS = 240
"""How long torchrun waits for processes that save after a stop signal, before it kills them."""
EXIT_CODE_FILE = "RNAFM_EXIT_CODE_FILE"
"""Variable that names where a process leaves its exit code: to torchrun any other than 0 is a crash."""
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # Torchrun would show processes that it starts again the addresses of those that died.
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT)


def torchrun(arguments: list[str], *, nproc: int, nnodes: str, rdzv: str | None, max_restarts: int) -> list[str]:
    """The words after ``torchrun`` that run ``rnafm ARGUMENTS`` in several processes.

    Args:
        nproc: processes on this machine.
        nnodes: machines, or a range such as 1:4.
        rdzv: HOST:PORT where several machines meet.
        max_restarts: how often the processes are started again after one has died.
    """
    meeting = ["--rdzv-backend", "c10d", "--rdzv-id", "rnafm", "--rdzv-endpoint", rdzv] if rdzv else ["--standalone"]
    words = ["--nnodes", nnodes, "--nproc-per-node", str(nproc), "--max-restarts", str(max_restarts)]
    # What was ignored stays so: under nohup a hang-up ends nothing.
    heard = ",".join(number.name for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN)
    words += ["--shutdown-timeout", str(_SAVING_SECONDS), "--signals-to-handle", heard]
    return [*words, *meeting, "-m", "rnafm_cli", *arguments]


def under_torchrun() -> bool:
    """Whether torchrun has started this process as one of a run."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def tasks_a_node() -> int:
    """Tasks that srun has started on a machine, the most of any machine of the step."""
    counts = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1").split(",")
    return max(int(count.partition("(")[0]) for count in counts)


def launch(words: list[str]) -> int:
    """Be torchrun until the run ends; a stop signal, then torchrun's for good, reaches its processes, which save first.

    Returns:
        Exit code: 128 + signal when one stopped the run, or that of the error when a process gave up.

    Raises:
        RnafmError: when processes have died more often than they may be started again.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    with TemporaryDirectory(prefix="rnafm-run-") as folder:
        note = Path(folder) / "exit_code"
        os.environ[EXIT_CODE_FILE] = str(note)
        try:
            run(parse_args(words))
        except SignalException as stop:
            # The processes have saved and said so.
            return 128 + stop.sigval
        except ChildFailedError as failure:
            rank, first = failure.get_first_failure()
            raise RnafmError(
                f"process {rank} of the run ended with exit code {first.exitcode}",
                hint="what it said stands above; the same command goes on from the newest checkpoint",
            ) from failure
        return int(note.read_text(encoding="utf-8")) if note.exists() else 0


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
