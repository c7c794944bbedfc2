"""Which process trains and which starts others, and what comes back from them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnafm_cli.pretrain.launch import EXIT_CODE_FILE, launch, tasks_a_node
from rnafm_cli.pretrain.worker import main


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(("counts", "most"), [("1(x8)", 1), ("8(x64)", 8), ("1,4(x2)", 4), (None, 1)])
def test_tasks_a_node_are_read_from_slurm(monkeypatch: pytest.MonkeyPatch, counts: str | None, most: int) -> None:
    monkeypatch.delenv("SLURM_STEP_TASKS_PER_NODE", raising=False)
    if counts is not None:
        monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", counts)
    assert tasks_a_node() == most


def test_the_exit_code_is_that_of_a_worker_that_gave_up() -> None:
    assert launch(python("import sys; sys.exit(7)")) == 7
    assert launch(python(f"import os; open(os.environ['{EXIT_CODE_FILE}'], 'w').write('3')")) == 3


def test_a_worker_that_gives_up_says_why_once_and_is_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(tmp_path / "none.toml"), "-o", str(tmp_path / "run")]
    assert main(arguments) == 2
    monkeypatch.setenv(EXIT_CODE_FILE, str(tmp_path / "code"))
    assert main(arguments) == main(arguments) == 0
    assert (tmp_path / "code").read_text() == "2"
    assert capsys.readouterr().err.count("error:") == 2, "once alone, once for both processes of a machine"


def test_a_hang_up_that_was_ignored_stays_ignored() -> None:
    code = [
        "import signal, sys",
        "from rnafm_cli.pretrain.launch import launch",
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)",
        "print('up', flush=True)",
        "sys.exit(launch([sys.executable, '-c', 'import time; time.sleep(3)']))",
    ]
    process = subprocess.Popen(python("; ".join(code)), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    time.sleep(1.0)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 0
