"""``rnafm finetune`` that a signal ends: its exit code, what is saved, how it goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.command import Command


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_tells_how_to_go_on(sent: signal.Signals, code: int, tmp_path: Path) -> None:
    rng, table = np.random.default_rng(0), tmp_path / "assay.tsv"
    rows = [f"{''.join(rng.choice(list('ACGU'), 40))}\t{k % 7}\t{'dev' if k % 5 == 0 else 'train'}" for k in range(100)]
    table.write_text("\n".join(["sequence\tmrl\tsplit", *rows]) + "\n")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "rnafm_cli", "finetune", "mrl", str(table), "-o", str(run), "--encoder", "none"]
    settings = ["head.channels=8", "optim.batch=16", "run.log_steps=1", "run.bf16=false"]
    for setting in (*settings, "optim.epochs=100000", "run.score_epochs=100000"):
        command += ["--set", setting]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if (run / "metrics.csv").exists() and (run / "metrics.csv").read_text().count("\n") > 2:
                process.send_signal(sent)
                break
            time.sleep(0.1)
        told = process.communicate(timeout=60)[1]
    assert process.returncode == code, told
    last = told.splitlines()[-1]
    assert (
        last.startswith("rnafm finetune: stopped at step ") and f"all is saved in {run}: run the same command" in last
    )
    assert (run / "checkpoint.pt").exists() and (run / "last.safetensors").exists()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_before_the_first_step_tells_it_too(sent: signal.Signals, code: int, tmp_path: Path) -> None:
    pytest.importorskip("RNA")
    rng = np.random.default_rng(0)
    for name, length, count in (("train", 100, 2), ("dev", 1000, 40)):
        rows = [f"{name}{k}\t{''.join(rng.choice(list('ACGU'), length))}\t{'.' * length}" for k in range(count)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(["id\tsequence\tstructure", *rows]) + "\n")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "rnafm_cli", "finetune", "fold", str(tmp_path / "train.tsv"), "-o", str(run)]
    command += ["--dev", str(tmp_path / "dev.tsv"), "--set", "run.score_longest=1000", "--encoder", "none"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "training records" in process.stderr.readline()
        process.send_signal(sent)
        told = process.communicate(timeout=60)[1]
    assert process.returncode == code, told
    assert told.splitlines()[-1].endswith(
        f"what was done is kept in {run}: run the same command again to go on from here"
    )


@pytest.mark.parametrize("command", [["fold", "t.tsv"], ["mrl", "t.tsv"], ["contact", "--chains", "t.h5"]])
def test_a_run_needs_a_folder(command: list[str], rnafm: Command, tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    done = rnafm("finetune", *command, "-o", tmp_path / "run")
    assert (done.returncode, done.stderr) == (2, f"rnafm finetune: error: {tmp_path / 'run'}: is no folder\n")
