from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from support.command import Command
from support.tiny import save_tiny_encoder

from rnafm_cli.cli.app import main
from rnafm_cli.encoder.runtime import SLOW_BF16, has_fast_bf16

FASTA = ">a first one\nACGUACGU\n>b\nggcau\n"


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "in.fa"
    path.write_text(FASTA)
    return path


def arrays(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {key: value[()] for key, value in file.items()}


def test_one_row_per_nucleotide(rnafm: Command, fasta: Path, tmp_path: Path) -> None:
    result = rnafm("embed", fasta, "--h5", tmp_path / "e.h5")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    found = arrays(tmp_path / "e.h5")
    assert list(found) == ["a", "b"]
    assert found["a"].shape[0] == 8
    assert found["b"].shape[0] == 5
    assert found["a"].dtype == np.float32
    with h5py.File(tmp_path / "e.h5") as file:
        assert file.attrs["model"] == "rnafm-mini"
        assert len(file.attrs["weights_sha256"]) == 64
        assert file["a"].attrs["description"] == "first one"
    assert not (tmp_path / "e.h5.tmp").exists()


def test_pipe_and_matrix_layout(rnafm: Command, tmp_path: Path) -> None:
    out = tmp_path / "pooled.h5"
    result = rnafm("embed", "--pool", "mean", "--layout", "matrix", "--half", "-o", out, stdin=FASTA)
    assert result.returncode == 0, result.stderr
    with h5py.File(out) as file:
        assert [key.decode() for key in file["ids"]] == ["a", "b"]
        assert file["embeddings"].dtype == np.float16
        assert list(file["lengths"]) == [8, 5]


def test_output_is_never_overwritten_unasked(rnafm: Command, fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.h5"
    assert rnafm("embed", fasta, "--h5", out).returncode == 0
    before = out.read_bytes()
    again = rnafm("embed", fasta, "--h5", out)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert out.read_bytes() == before
    assert rnafm("embed", fasta, "--h5", out, "--force").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "give --h5 FILE"),
        (["--h5", "e.h5", "--layer", "99"], 2, "layer 99 does not exist"),
        (["--h5", "e.h5", "--layout", "matrix"], 2, "add --pool"),
        (["--h5", "e.h5", "--model", "rnafm-mimi"], 4, "rnafm-mini"),
        (["--h5", "e.h5", "--model", "rna-fm"], 4, "rnafm weights pull rna-fm"),
    ],
)
def test_wrong_use_is_one_clear_line(
    rnafm: Command, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    placed = [str(tmp_path / a) if a.endswith(".h5") else a for a in arguments]
    result = rnafm("embed", *placed, stdin=FASTA)
    assert result.returncode == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_bad_records_stop_or_are_left_out(rnafm: Command, tmp_path: Path) -> None:
    bad = ">a\nACGU\n>b\nAC1U\n>c\nGGGG\n"
    out = tmp_path / "e.h5"
    stopped = rnafm("embed", "--h5", out, stdin=bad)
    assert stopped.returncode == 3
    assert "4" in stopped.stderr and "'b'" in stopped.stderr
    assert not out.exists()
    skipped = rnafm("embed", "--h5", out, "--on-error", "skip", "--force", stdin=bad)
    assert skipped.returncode == 3
    assert list(arrays(out)) == ["a", "c"]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_stopped_run_leaves_no_final_file_and_resumes(
    rnafm: Command, rnafm_process: Command, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    rng = np.random.default_rng(0)
    fasta, out, whole = tmp_path / "many.fa", tmp_path / "e.h5", tmp_path / "whole.h5"
    fasta.write_text("".join(f">r{k}\n{''.join(rng.choice(list('ACGU'), 300))}\n" for k in range(80)))
    command = [sys.executable, "-m", "rnafm_cli", "embed", str(fasta), "--h5", str(out), "--batch-tokens", "1000"]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    partial = out.with_name("e.h5.tmp")
    deadline = time.monotonic() + 250
    while not (partial.exists() and partial.stat().st_size > 500_000) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert partial.exists() and process.poll() is None
    process.send_signal(sent)
    _, told = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Traceback" not in told
    assert sent == signal.SIGKILL or "records are kept, --resume goes on from there" in told
    assert not out.exists()
    assert partial.exists()
    resumed = rnafm_process("embed", fasta, "--h5", out, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert rnafm("embed", fasta, "--h5", whole).returncode == 0
    first, second = arrays(out), arrays(whole)
    assert set(first) == set(second)
    assert max(np.abs(first[key] - second[key]).max() for key in first) < 1e-4


def test_bf16_that_the_processor_would_emulate_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back afterwards
    has_fast_bf16.cache_clear()
    save_tiny_encoder(tmp_path / "tiny.safetensors")
    (tmp_path / "in.fa").write_text(FASTA)
    given = ["embed", tmp_path / "in.fa", "--h5", tmp_path / "e.h5", "--device", "cpu", "--precision", "bf16"]
    monkeypatch.setattr(sys, "argv", ["rnafm", *map(str, given), "--model", str(tmp_path / "tiny.safetensors")])
    with pytest.raises(SystemExit) as ended:
        main()
    has_fast_bf16.cache_clear()
    assert ended.value.code == 0
    told = capsys.readouterr().err
    assert told.count(f"rnafm embed: warning: {SLOW_BF16}\n") == told.count("bfloat16") == 1
    with h5py.File(tmp_path / "e.h5") as file:
        assert file.attrs["precision"] == "fp32"


def test_upstream_folder_layout(rnafm: Command, fasta: Path, tmp_path: Path) -> None:
    result = rnafm("embed", fasta, "--format", "npy-dir", "-o", tmp_path / "reps")
    assert result.returncode == 0, result.stderr
    rows = np.load(next((tmp_path / "reps").rglob("a.npy")))
    assert rows.shape[0] == 8
