"""Several processes: the same curve as one, restarts after a kill, FSDP, a change of their number."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.dist, pytest.mark.slow]

CONFIG = """
[model]
preset = "rnafm-tiny"
[data]
corpus = "{corpus}"
crop = 64
[batch]
tokens = 512
micro_batches = 4
[optim]
rate = 3e-3
warmup = 2
steps = {steps}
[validation]
every = 10
sequences = 10
[checkpoint]
every_steps = 4
every_minutes = 0.0
[log]
every = 1
[run]
device = "cpu"
threads = 1
precision = "fp32"
timeout_minutes = 0.5
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def config(folder: Path, corpus: Path, steps: int) -> Path:
    path = folder / "c.toml"
    path.write_text(CONFIG.format(corpus=corpus, steps=steps))
    return path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "rnafm_cli", "pretrain", "run", *map(str, arguments)]


def curve(run: Path) -> dict[int, float]:
    with open(run / "metrics.csv", newline="") as handle:
        return {int(row["step"]): float(row["loss"]) for row in csv.DictReader(handle)}


@pytest.mark.parametrize(("kill", "sketch"), [(False, False), (True, False), (True, True)])
def test_two_processes_give_the_curve_of_one(tmp_path: Path, corpus_folder: Path, kill: bool, sketch: bool) -> None:
    path = config(tmp_path, corpus_folder, 60)
    if sketch:
        path.write_text(path.read_text() + "[sketch]\nweight = 1.0\nwindows = 100\n")
    alone = subprocess.run(
        command("--config", path, "-o", tmp_path / "one"), env=ENVIRONMENT, capture_output=True, text=True, timeout=200
    )
    assert alone.returncode == 0, alone.stderr
    pair = subprocess.Popen(
        command("--config", path, "-o", tmp_path / "two", "--nproc", "2"),
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    if kill:
        os.kill(_worker_after_first_checkpoint(pair, tmp_path / "two"), signal.SIGKILL)
    _, said = pair.communicate(timeout=300)
    assert pair.returncode == 0, said
    assert ("resuming from" in said) == kill
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert one.keys() == two.keys() and len(one) == 60
    assert max(abs(one[step] - two[step]) for step in one) < 2e-3

    # What two processes saved, one goes on with, and the other way round.
    longer = config(tmp_path, corpus_folder, 64)
    for run, arguments in (("two", []), ("one", ["--nproc", "2", "--max-restarts", "0"])):
        done = subprocess.run(
            command("--config", longer, "-o", tmp_path / run, *arguments),
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert max(one) == max(two) == 64
    assert max(abs(one[step] - two[step]) for step in one) < 2e-3


def test_a_stop_signal_saves_and_says_so_in_one_line(tmp_path: Path, corpus_folder: Path) -> None:
    path = config(tmp_path, corpus_folder, 100_000)
    pair = subprocess.Popen(
        command("--config", path, "-o", tmp_path / "two", "--nproc", "2"),
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    _worker_after_first_checkpoint(pair, tmp_path / "two")
    pair.send_signal(signal.SIGINT)
    _, said = pair.communicate(timeout=100)
    assert pair.returncode == 128 + signal.SIGINT
    assert said.count("the same command goes on from there") == 1 and "Traceback" not in said


def test_sharded_parameters_give_the_same_curve_under_srun(tmp_path: Path, corpus_folder: Path) -> None:
    path = config(tmp_path, corpus_folder, 8)
    arguments = ["--config", path, "-o", tmp_path / "fsdp", "--set", "run.fsdp=true"]
    # As srun starts them: two tasks that know their number.
    tasks = [
        subprocess.Popen(
            command(*arguments),
            env={
                **ENVIRONMENT,
                "SLURM_STEP_NUM_TASKS": "2",
                "SLURM_PROCID": str(task),
                "SLURM_LOCALID": str(task),
                "SLURM_STEP_NODELIST": "localhost",
                "SLURM_JOB_ID": str(os.getpid()),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for task in range(2)
    ]
    said = [task.communicate(timeout=200)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    alone = subprocess.run(
        command("--config", path, "-o", tmp_path / "one"), env=ENVIRONMENT, capture_output=True, text=True, timeout=200
    )
    assert alone.returncode == 0, alone.stderr
    one, sharded = curve(tmp_path / "one"), curve(tmp_path / "fsdp")
    assert max(abs(one[step] - sharded[step]) for step in one) < 2e-3
    from rnafm_cli.pretrain.export import export_run

    card = export_run(tmp_path / "fsdp", tmp_path / "x.safetensors", dtype="float32")
    assert card.source["step"] == 8


def _worker_after_first_checkpoint(launcher: subprocess.Popen[str], run: Path) -> int:
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        if list(run.glob("checkpoints/step-*.pt")):
            workers = _descendants(launcher.pid)
            if workers:
                return max(workers)
        assert launcher.poll() is None, launcher.stderr.read() if launcher.stderr else ""
        time.sleep(0.05)
    raise AssertionError("no checkpoint in time")


def _descendants(pid: int) -> list[int]:
    children = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, ValueError):
                continue
            if parent == pid:
                children.append(int(entry.name))
    return children + [descendant for child in children for descendant in _descendants(child)]


def test_a_mistake_is_told_once_and_not_tried_again(tmp_path: Path, corpus_folder: Path) -> None:
    path = config(tmp_path, corpus_folder, 4)
    run = command("--config", path, "-o", tmp_path / "run", "--nproc", "2")
    first = subprocess.run(run, env=ENVIRONMENT, capture_output=True, text=True, timeout=200)
    assert first.returncode == 0, first.stderr
    began = time.monotonic()
    again = subprocess.run([*run, "--resume", "never"], env=ENVIRONMENT, capture_output=True, text=True, timeout=200)
    assert again.returncode == 2 and time.monotonic() - began < 60
    assert again.stderr.count("step-00000004.pt is there already") == 1 and "Traceback" not in again.stderr
