"""Which process trains and which starts others, and what comes back from them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rnafm_cli.pretrain.launch import EXIT_CODE_FILE, tasks_a_node, torchrun


def launched(code: str) -> list[str]:
    """A process that lets torchrun run some code in another."""
    words = torchrun([], nproc=1, nnodes="1", rdzv=None, max_restarts=0)[:-2]
    words += ["--no-python", sys.executable, "-c", code]
    started = f"import sys; from rnafm_cli.pretrain.launch import launch; sys.exit(launch({words}))"
    return [sys.executable, "-c", started]


@pytest.mark.parametrize(("counts", "most"), [("1(x8)", 1), ("8(x64)", 8), ("1,4(x2)", 4), (None, 1)])
def test_tasks_a_node_are_read_from_slurm(monkeypatch: pytest.MonkeyPatch, counts: str | None, most: int) -> None:
    monkeypatch.delenv("SLURM_STEP_TASKS_PER_NODE", raising=False)
    if counts is not None:
        monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", counts)
    assert tasks_a_node() == most


def test_the_exit_code_is_that_of_a_worker_that_gave_up() -> None:
    gave_up = launched(f"import os; open(os.environ['{EXIT_CODE_FILE}'], 'w').write('3')")
    assert subprocess.run(gave_up, timeout=100).returncode == 3
    died = subprocess.run(launched("import sys; sys.exit(7)"), capture_output=True, text=True, timeout=100)
    assert "process 0 of the run ended with exit code 7" in died.stderr


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
    assert "--standalone" in here and here[-4:] == ["-m", "rnafm_cli", "pretrain", "run"]
    assert here[here.index("--nproc-per-node") + 1] == "4"
    many = torchrun([], nproc=8, nnodes="2:4", rdzv="node1:29500", max_restarts=3)
    assert "--standalone" not in many and many[many.index("--rdzv-endpoint") + 1] == "node1:29500"


@pytest.mark.parametrize("ignored", [False, True])
def test_a_hang_up_stops_a_run_unless_it_is_ignored(ignored: bool) -> None:
    handler = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        words = launched("print('up', flush=True); import time; time.sleep(4)")
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == (0 if ignored else 128 + signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, handler)
