from __future__ import annotations

import subprocess
import sys
import time

import pytest
from support.command import Command

from rnafm_cli import __version__


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
