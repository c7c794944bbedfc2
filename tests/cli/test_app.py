from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command import Command
from typer.testing import CliRunner

from rnafm_cli import __version__
from rnafm_cli.cli.app import app


def test_version_is_one_line(rnafm: Command) -> None:
    result = rnafm("--version")
    assert (result.returncode, result.stdout) == (0, f"rnafm {__version__}\n")


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["fold", "-h"], ["embed", "-h"], ["weights", "-h"]])
def test_help_everywhere(rnafm: Command, arguments: list[str]) -> None:
    result = rnafm(*arguments)
    assert result.returncode == 0
    assert "Usage: rnafm" in result.stdout


def test_unknown_options_are_usage_errors(rnafm: Command) -> None:
    result = rnafm("fold", "--no-such-option")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "--no-such-option" in result.stderr


def test_a_choice_that_is_none_is_told_with_the_choices(rnafm: Command) -> None:
    result = rnafm("fold", "--decoder", "best")
    assert result.returncode == 2
    assert "Invalid value for '--decoder': 'best' is not one of 'mea'," in result.stderr


def test_help_is_quick() -> None:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "rnafm_cli", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.4


@pytest.mark.parametrize(
    ("arguments", "closed", "code"),
    [("--version", ">&-", 0), ("--help", "<&- >&-", 0), ("fold --no-such-option", "2>&-", 2)],
)
def test_closed_streams_are_no_failure(arguments: str, closed: str, code: int) -> None:
    script = f"{sys.executable} -m rnafm_cli {arguments} {closed}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (code, "")


@pytest.mark.parametrize("text", ["", "\n\n", ">only a header\n", "just words\n"])
def test_input_without_sequences_is_bad_data(rnafm: Command, text: str) -> None:
    result = rnafm("fold", stdin=text)
    assert result.returncode == 3
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("rnafm fold: error: ")


def test_no_escape_codes_off_a_terminal(rnafm: Command) -> None:
    result = rnafm("fold", stdin=">a\nGGGGAAAACCCC\n", env={"FORCE_COLOR": "", "TERM": "dumb"})
    assert result.returncode == 0
    assert "\x1b" not in result.stdout + result.stderr


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    fasta = tmp_path / "b.fa"
    fasta.write_text(">b\nGGGGAAAACCCC\n")
    before = fasta.read_text()
    for command in ("fold", "contact", "distance", "rbp", "mrl", "annotate"):
        result = CliRunner().invoke(app, [command, str(fasta), "-o", str(fasta)])
        assert result.exit_code == 2 and "b.fa: exists; --force replaces it" in result.stderr, command
    for command in ("fold", "contact", "distance", "rbp", "mrl"):
        result = CliRunner().invoke(app, ["evaluate", command, "x", "y", "-o", str(fasta)])
        assert result.exit_code == 2 and "exists" in result.stderr, command
    picture = tmp_path / "p.svg"
    picture.write_text("precious")
    result = CliRunner().invoke(app, ["fold", str(fasta), "--plot", str(picture)])
    assert result.exit_code == 2 and "p.svg: exists" in result.stderr
    assert (fasta.read_text(), picture.read_text()) == (before, "precious")


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (MemoryError(), "not enough memory; --max-memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "not enough memory; --max-memory"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (RuntimeError("cannot cache function 'rdist': no locator available for file"), "NUMBA_CACHE_DIR"),
    ],
)
def test_what_the_user_can_mend_is_no_bug(monkeypatch: pytest.MonkeyPatch, failure: Exception, told: str) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise failure

    monkeypatch.setattr("rnafm_cli.weights.store.components", fail)
    result = CliRunner().invoke(app, ["weights", "list"])
    assert result.exit_code == 1 and told in result.stderr
    assert "bug" not in result.stderr and result.stderr.count("\n") == 1


def test_a_closed_stdout_is_no_success(tmp_path: Path) -> None:
    command = f"{sys.executable} -m rnafm_cli weights list >&-"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert result.returncode == 1 and "closed" in result.stderr and "Traceback" not in result.stderr


def test_messages_as_json(rnafm: Command, tmp_path: Path) -> None:
    (tmp_path / "mixed.fa").write_text(">good\nGGGGAAAACCCC\n>bad\nGG!GG\n")
    ran = rnafm("--json-errors", "fold", "--no-families", "--on-error", "skip", tmp_path / "mixed.fa")
    told = [json.loads(line) for line in ran.stderr.splitlines()]
    assert ran.returncode == 3 and ran.stdout.startswith(">good\n")
    assert {line["level"] for line in told} == {"warning"} and "bad" in told[0]["message"]
    for arguments, code in (
        (["fold", tmp_path / "none.fa"], 3),
        (["fold", "--bogus"], 2),
        (["bogus"], 2),
        (["fold", "-m", "none", tmp_path / "mixed.fa"], 4),
    ):
        ran = rnafm(*arguments, env={"RNAFM_JSON_ERRORS": "1"})
        (error,) = [json.loads(line) for line in ran.stderr.splitlines()]
        assert (ran.returncode, error["exit_code"], error["level"]) == (code, code, "error")
        assert error.keys() == {"level", "command", "message", "hint", "exit_code"}


def test_what_to_cite(rnafm: Command) -> None:
    for_fold, for_all = rnafm("cite", "fold").stdout, rnafm("cite").stdout
    assert "arXiv:2204.00300" in for_fold and "ViennaRNA Package 2.0" in for_fold and "UMAP" not in for_fold
    assert "UMAP" in for_all and "arXiv:2204.00300" not in rnafm("cite", "annotate").stdout
    assert rnafm("cite", "nothing").returncode == 2
