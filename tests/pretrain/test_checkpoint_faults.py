"""Faults that take a process of their own: a full disk, a kill without warning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rnafm_cli.pretrain.checkpoint import read_checkpoint

CONFIG = """
[model]
preset = "rnafm-tiny"
[data]
corpus = "{corpus}"
crop = 64
[batch]
tokens = 512
[optim]
warmup = 2
steps = {steps}
[validation]
every = 0
[checkpoint]
every_steps = 2
every_minutes = 0.0
[log]
every = 1
[run]
device = "cpu"
threads = 1
"""


def command(config: Path, run: Path, *, file_limit: int = 0) -> list[str]:
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({file_limit}, {file_limit}))\n"
    arguments = ["rnafm", "pretrain", "run", "--config", str(config), "-o", str(run)]
    code = f"import sys; sys.argv = {arguments}; from rnafm_cli.cli.app import main; main()"
    return [sys.executable, "-c", (limit if file_limit else "") + code]


def write_config(folder: Path, corpus: Path, steps: int) -> Path:
    path = folder / "c.toml"
    path.write_text(CONFIG.format(corpus=corpus, steps=steps))
    return path


def test_a_disk_that_fills_up_is_told_and_leaves_no_torn_checkpoint(tmp_path: Path, corpus_folder: Path) -> None:
    config = write_config(tmp_path, corpus_folder, steps=4)
    # Writing beyond the limit fails as it does on a full disk.
    done = subprocess.run(
        command(config, tmp_path / "run", file_limit=30_000), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "the checkpoint cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    again = subprocess.run(command(config, tmp_path / "run"), capture_output=True, text=True, timeout=120)
    assert again.returncode == 0 and (tmp_path / "run" / "checkpoints" / "step-00000004.pt").exists()


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(tmp_path: Path, corpus_folder: Path) -> None:
    config = write_config(tmp_path, corpus_folder, steps=300)
    process = subprocess.Popen(command(config, tmp_path / "run"), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not list((tmp_path / "run").glob("checkpoints/step-*.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    config.write_text(config.read_text().replace("steps = 300", "steps = 30"))
    reached = max(int(path.stem[5:]) for path in (tmp_path / "run").glob("checkpoints/step-*.pt"))
    if reached >= 30:
        pytest.skip("the machine trained faster than it could be killed")
    resumed = subprocess.run(command(config, tmp_path / "run"), capture_output=True, text=True, timeout=120)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from" in resumed.stderr
    straight = subprocess.run(command(config, tmp_path / "whole"), capture_output=True, text=True, timeout=120)
    assert straight.returncode == 0
    run, whole = (read_checkpoint(tmp_path / name / "checkpoints/step-00000030.pt") for name in ("run", "whole"))
    assert all(torch.equal(run["model"][name], value) for name, value in whole["model"].items())
