"""What can go wrong with `rnafm embed`: one clear line, the right exit code, and no torn file under the final name."""

from __future__ import annotations

import gzip
import os
import random
import resource
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.tiny import save_tiny_encoder
from typer.testing import CliRunner, Result

from rnafm_cli.cli.app import app
from rnafm_cli.cli.console import console

PARITY = Path(__file__).parents[1] / "data" / "parity"
Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of weights, with the encoder ``tiny``."""
    folder = tmp_path / "home"
    monkeypatch.setenv("RNAFM_HOME", str(folder))
    monkeypatch.setattr(console, "quiet", False)
    save_tiny_encoder(folder / "tiny.safetensors")
    return folder


@pytest.fixture
def embed(home: Path, tmp_path: Path) -> Run:
    """``embed(*arguments)`` with ``tiny`` into ``e.h5``, in this process."""

    def run(*arguments: str | Path, model: str = "tiny") -> Result:
        given = ["embed", "--model", model, "--h5", str(tmp_path / "e.h5"), *map(str, arguments)]
        return CliRunner().invoke(app, given)

    return run


def refused(result: Result, code: int, *words: str) -> None:
    """Check an exit code, that stdout is empty, and that stderr is one line with these words."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("rnafm embed: error: ")
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("name", ["e.npy", "e.csv", "e.pt", "e.tsv.gz"])
def test_a_name_that_promises_another_format(embed: Run, tmp_path: Path, name: str) -> None:
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a\nACGU\n")
    refused(embed(fasta, "-o", tmp_path / name), 2, name, "name it .h5")
    assert not (tmp_path / name).exists()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("e.h5"))


def fasta_of(count: int, length: int) -> str:
    letters = random.Random(0)
    return "".join(f">r{k}\n{''.join(letters.choices('ACGU', k=length))}\n" for k in range(count))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "in.fa: is empty"),
        (b"\n\n", "in.fa: is empty"),
        (b">a\n", "in.fa:1: record 'a': has no sequence"),
        (b">a\nACGU\n>b\n>c\nAC\n", "in.fa:3: record 'b': has no sequence"),
        (b">a\n--..\n", "in.fa:1: record 'a': has only gaps"),
        (random.Random(1).randbytes(5000), "in.fa: holds binary data"),
        (b"\x89HDF\r\n\x1a\n" + bytes(500), "in.fa: is an HDF5 file"),
        (gzip.compress(fasta_of(40, 30).encode())[:-200], "in.fa: the gzip data end early"),
        (b">a\nMSKGEELFTGVVPILVELDGDVNGHKFSVSGEGEGDATYGKLTLKFICT\n", "this looks like a protein"),
    ],
    ids=["empty", "blank", "header", "0 nt", "gaps", "junk", "HDF5", "cut gzip", "protein"],
)
def test_input_that_is_no_rna(embed: Run, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "in.fa").write_bytes(content)
    refused(embed(tmp_path / "in.fa"), 3, words)
    assert left(tmp_path) in ([], ["e.h5.tmp"])


def test_paths_that_cannot_be_read(embed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.fa")
        refused(embed("socket.fa"), 3, "socket.fa: cannot be read")
    refused(embed(tmp_path), 3, "is a directory")
    refused(embed("none.fa"), 3, "none.fa: no such file")
    assert left(tmp_path) == []


def test_records_before_damage_are_safe_and_taken_up(embed: Run, tmp_path: Path) -> None:
    path, text = tmp_path / "in.fa", fasta_of(200, 60)
    path.write_bytes(gzip.compress(text.encode())[:-1000])
    result = embed(path)
    refused(result, 3, "the gzip data end early", "reading stopped in the record 'r", "add --resume to go on")
    assert left(tmp_path) == ["e.h5.tmp"]
    path.write_text(text)
    assert embed(path, "--resume").exit_code == 0
    with h5py.File(tmp_path / "e.h5") as file:
        assert list(file) == [f"r{k}" for k in range(200)]


def test_unusual_records(embed: Run, tmp_path: Path) -> None:
    long = "ACGUU" * 20_000
    (tmp_path / "in.fa").write_text(f">one\nA\n>unknown\n{'N' * 300}\n>long\n{long}\n")
    assert embed(tmp_path / "in.fa").exit_code == 0
    with h5py.File(tmp_path / "e.h5") as file:
        assert {name: rows.shape for name, rows in file.items()} == {
            "one": (1, 32),
            "unknown": (300, 32),
            "long": (100_000, 32),
        }
        assert all(np.isfinite(rows[()]).all() for rows in file.values())


def test_long_records_as_wished(embed: Run, tmp_path: Path) -> None:
    (tmp_path / "in.fa").write_text(f">long\n{'ACGU' * 300}\n>short\nACGU\n")
    refused(embed(tmp_path / "in.fa", "--long", "error"), 3, "record 'long': 1200 nt, the model takes 1022")
    assert left(tmp_path) == []
    skipped = embed(tmp_path / "in.fa", "--long", "skip")
    assert skipped.exit_code == 3
    assert "record 'long': 1200 nt, the model takes 1022; left out" in skipped.stderr
    with h5py.File(tmp_path / "e.h5") as file:
        assert list(file) == ["short"]
    assert embed(tmp_path / "in.fa", "--long", "window", "--resume").exit_code == 0
    with h5py.File(tmp_path / "e.h5") as file:
        assert file["long"].shape == (1200, 32)


def test_ten_thousand_short_records(embed: Run, tmp_path: Path) -> None:
    (tmp_path / "in.fa").write_text(fasta_of(10_000, 20))
    assert embed(tmp_path / "in.fa").exit_code == 0
    with h5py.File(tmp_path / "e.h5") as file:
        assert list(file) == [f"r{k}" for k in range(10_000)]
        assert file["r9999"].shape == (20, 32)


def test_a_full_disk(embed: Run, tmp_path: Path) -> None:
    """The file-size limit of the process stands for the end of the disk."""
    (tmp_path / "in.fa").write_text(fasta_of(200, 100))
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, old[1]))
    try:
        result = embed(tmp_path / "in.fa")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    refused(result, 1, "e.h5.tmp: cannot be written (the disk is full)")
    assert "e.h5" not in left(tmp_path)
    assert embed(tmp_path / "in.fa", "--resume").exit_code == 0
    with h5py.File(tmp_path / "e.h5") as file:
        assert len(file) == 200


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def exchange(path: Path) -> None:
    save_tiny_encoder(path.with_name("other.safetensors"), seed=1)
    shutil.copy(path.with_name("other.safetensors"), path)


def remove_card(path: Path) -> None:
    path.with_suffix(".json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "tiny.safetensors: is truncated"),
        (alter, "tiny.safetensors: is altered"),
        (exchange, "tiny.safetensors: is altered"),
        (remove_card, "tiny.safetensors: has no card tiny.json beside it"),
    ],
)
def test_weights_that_cannot_be_trusted(
    embed: Run, home: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    (tmp_path / "in.fa").write_text(">a\nACGU\n")
    damage(home / "tiny.safetensors")
    refused(embed(tmp_path / "in.fa"), 4, words)
    assert left(tmp_path) == []


def test_weights_of_another_program(embed: Run, tmp_path: Path) -> None:
    (tmp_path / "in.fa").write_text(">a\nACGU\n")
    foreign = PARITY / "rnafm_random_small.pth"
    refused(embed(tmp_path / "in.fa", model=str(foreign)), 4, f"rnafm weights import {foreign} --name NAME")
    result = CliRunner().invoke(app, ["weights", "import", str(foreign), "--name", "rna-fm"])
    assert result.exit_code == 4
    assert "is not rna-fm: encoder with rna tokens, 3 layers of 64 channels" in result.stderr


def test_codon_models_take_whole_codons(embed: Run, tmp_path: Path) -> None:
    codons = PARITY / "mrnafm_random_small.pth"
    assert CliRunner().invoke(app, ["weights", "import", str(codons), "--name", "codons"]).exit_code == 0
    (tmp_path / "in.fa").write_text(">whole\nAUGGCCUAA\n>cut\nAUGGC\n")
    result = embed(tmp_path / "in.fa", model="codons")
    refused(result, 3, "in.fa:3: record 'cut': length 5 is not a multiple of 3", "give whole codons")
    assert embed(tmp_path / "in.fa", "--on-error", "skip", "--force", model="codons").exit_code == 3
    with h5py.File(tmp_path / "e.h5") as file:
        assert file.attrs["unit"] == "codon"
        assert {name: rows.shape for name, rows in file.items()} == {"whole": (3, 64)}
