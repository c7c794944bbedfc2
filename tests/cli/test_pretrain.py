"""From FASTA to a model in the shell, and the mistakes on the way."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rnafm_cli.cli.pretrain import app
from rnafm_cli.errors import UsageError

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("pretrain") / "in.fa"
    lines = [
        f">s{k} type={'tRNA' if k % 2 else 'lncRNA'}\n{''.join('ACGT'[c] for c in rng.integers(0, 4, size=90))}"
        for k in range(120)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_from_a_corpus_to_a_model(rnafm: Command, fasta: Path, tmp_path: Path) -> None:
    prepared = rnafm("pretrain", "prepare", fasta, "-o", tmp_path / "corpus", "--holdout", "10")
    assert prepared.returncode == 0, prepared.stderr
    assert prepared.stdout == ""
    assert "with T: 120" in prepared.stderr and "train:" in prepared.stderr
    printed = rnafm("pretrain", "config", "--preset", "rnafm-tiny")
    assert printed.returncode == 0 and printed.stderr == ""
    config = tmp_path / "c.toml"
    config.write_text(printed.stdout)
    settings = ["--set", f"data.corpus={tmp_path / 'corpus'}", "--set", "optim.steps=6", "--set", "optim.warmup=2"]
    settings += ["--set", "batch.tokens=512", "--set", "run.threads=1", "--set", "validation.every=3"]
    plan = rnafm("pretrain", "run", "--config", config, "-o", tmp_path / "run", *settings, "--dry-run", "--nproc", "2")
    assert plan.returncode == 0, plan.stderr
    assert "parameters: " in plan.stdout and "tokens per step: 1,024 = 512 per micro-batch x 1" in plan.stdout
    assert "command: torchrun --nnodes 1 --nproc-per-node 2" in plan.stdout and not (tmp_path / "run").exists()
    run = rnafm("pretrain", "run", "--config", config, "-o", tmp_path / "run", *settings)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "" and "held-out random loss" in run.stderr
    output = tmp_path / "mine.safetensors"
    exported = rnafm("pretrain", "export", tmp_path / "run", "-o", output)
    assert exported.returncode == 0, exported.stderr
    again = rnafm("pretrain", "export", tmp_path / "run", "-o", output)
    assert again.returncode == 2 and "--force" in again.stderr
    vectors = rnafm("embed", "--model", output, fasta, "-o", tmp_path / "x.h5")
    assert vectors.returncode == 0, vectors.stderr
    report = rnafm("evaluate", "encoder", "--model", output, "--corpus", tmp_path / "corpus", "--crop", "64")
    assert report.returncode == 0, report.stderr
    figures = json.loads(report.stdout)
    assert figures["held_out"]["random"]["model"]["masked"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "--config", "none.toml", "-o", "r"], 2, "none.toml: No such file"),
        (["run", "--config", "c.toml", "-o", "r", "--set", "optim.rat=1"], 2, "did you mean 'optim.rate'"),
        (["run", "--config", "c.toml", "-o", "r", "--nnodes", "2"], 2, "needs --rdzv"),
        (["run", "--config", "c.toml", "-o", "r", "--nproc", "3"], 2, "not a multiple of the 3 processes"),
        (["run", "--config", "c.toml", "-o", "r"], 3, "no manifest.json"),
        (["run", "--config", "c.toml", "-o", "c.toml"], 2, "c.toml: is no folder"),
        (["prepare", "none.fa", "-o", "c"], 3, "none.fa"),
        (["export", "nowhere", "-o", "x.safetensors"], 3, "no complete checkpoint"),
    ],
)
def test_mistakes_are_told_in_one_line(
    rnafm: Command, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "c.toml").write_text('[model]\npreset = "rnafm-tiny"\n')
    files = {"none.toml", "c.toml", "r", "none.fa", "c", "nowhere", "x.safetensors"}
    done = rnafm("pretrain", *(tmp_path / word if word in files else word for word in arguments))
    assert done.returncode == code, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_srun_with_one_task_a_node_starts_the_processes_of_the_node(
    rnafm: Command, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rnafm("pretrain", "prepare", fasta, "-o", tmp_path / "corpus").returncode == 0
    (tmp_path / "c.toml").write_text(f'[model]\npreset = "rnafm-tiny"\n[data]\ncorpus = "{tmp_path / "corpus"}"\n')
    started: list[list[str]] = []
    monkeypatch.setattr("rnafm_cli.pretrain.launch.launch", lambda words: started.append(words) or 5)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "1(x2)")
    arguments = [
        "run",
        "--config",
        str(tmp_path / "c.toml"),
        "-o",
        str(tmp_path / "run"),
        "--nproc",
        "4",
        "--nnodes",
        "2",
    ]
    arguments += ["--rdzv", "node1:29500", "--set", "batch.micro_batches=8"]
    assert CliRunner().invoke(app, arguments).exit_code == 5
    assert started[0][started[0].index("--nproc-per-node") + 1] == "4"
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "4(x2)")
    with pytest.raises(UsageError, match="srun has started 4 tasks on a machine"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert len(started) == 1
