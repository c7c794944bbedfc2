"""Which process trains and which starts others, and what comes back from them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnafm_cli.pretrain.launch import EXIT_CODE_FILE, launch, tasks_a_node, torchrun


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


def test_a_process_that_gives_up_says_why_once_and_is_no_crash(tmp_path: Path, corpus_folder: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f"data.corpus = {str(corpus_folder)!r}\ndata.crop = 64\nmodel.init = 'no-such-model'\n")
    run = [sys.executable, "-m", "rnafm_cli", "pretrain", "run", "--config", config, "-o", tmp_path / "run"]
    note = {**os.environ, EXIT_CODE_FILE: str(tmp_path / "code")}
    alone, *beside = [subprocess.run(run, capture_output=True, text=True, env=env) for env in (None, note, note)]
    assert alone.returncode == 4 and "there is no model 'no-such-model'" in alone.stderr
    assert [done.returncode for done in beside] == [0, 0] and (tmp_path / "code").read_text() == "4"
    assert [done.stderr.count("error:") for done in beside] == [1, 0], "told once on a machine"


def test_the_torchrun_line() -> None:
    here = torchrun(["pretrain", "run"], nproc=4, nnodes="1", rdzv=None, max_restarts=3)
    assert here[1:3] == ["-m", "rnafm_cli.pretrain.launch"] and "--standalone" in here
    assert here[here.index("--nproc-per-node") + 1] == "4" and here[-4:] == ["-m", "rnafm_cli", "pretrain", "run"]
    many = torchrun([], nproc=8, nnodes="2:4", rdzv="node1:29500", max_restarts=3)
    assert "--standalone" not in many and many[many.index("--rdzv-endpoint") + 1] == "node1:29500"


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
