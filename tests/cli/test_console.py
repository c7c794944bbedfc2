from __future__ import annotations

import gzip
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rnafm_cli.cli import console
from rnafm_cli.io.fasta import count_records

TRNA = ">trna\nGCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA\n"


def on_a_terminal(*arguments: str | Path, stdout: Path | None = None) -> str:
    """What appears on a terminal where a command runs, its stdout in a file if one is given."""
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "rnafm_cli", *map(str, arguments)]
    env = {name: value for name, value in os.environ.items() if name != "CI"} | {"TERM": "xterm", "COLUMNS": "80"}
    with open(stdout or os.devnull, "w") as file:
        process = subprocess.Popen(command, stdin=its, stdout=file if stdout else its, stderr=its, env=env)
    os.close(its)
    shown = b""
    try:
        while block := os.read(ours, 4096):
            shown += block
    except OSError:  # the terminal's other side is closed
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0, shown
    return shown.decode()


def test_progress_off_a_terminal_tells_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.Bar, "period", 0.0)
    with console.progress(lambda: 400, "embedding") as bar:
        bar.advance(100)
    assert re.search(r"embedding 100 of 400 records, [\d.]+/s, 0:00:\d\d left\n$", capsys.readouterr().err)
    with console.progress(description="mapping") as bar:
        bar.advance(3)
    assert re.search(r"mapping 3 records, [\d.]+/s\n$", capsys.readouterr().err)


def test_stages_are_counted_one_after_the_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.Bar, "period", 0.0)
    with console.stages() as show:
        for done in (200, 400):
            show("pair probabilities", done, 400)
        for done in (51, 52):  # 50 were made by an earlier run
            show("steps, best so far 0.5", done, 100)
    first, second = capsys.readouterr().err.splitlines()
    assert re.search(r"pair probabilities 400 of 400, [\d.]+/s, 0:00:00 left$", first)
    assert re.search(r"steps 52 of 100, best so far 0.5, [\d.]+/s, 0:00:0\d left$", second)


def test_progress_that_nobody_sees_counts_no_records() -> None:
    with console.progress(lambda: pytest.fail("was asked"), "embedding") as bar:
        bar.advance()


@pytest.mark.parametrize("command", [["annotate"], ["fold", "--no-families"]])
def test_no_bar_stands_among_results_on_a_terminal(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "in.fa").write_text(TRNA * 2)
    (tmp_path / "out").touch()
    shown = on_a_terminal(*command, tmp_path / "in.fa")
    assert "\x1b" not in shown and "\r\n" in shown
    beside = on_a_terminal(*command, tmp_path / "in.fa", stdout=tmp_path / "out")
    assert shown.replace("\r\n", "\n") == (tmp_path / "out").read_text()
    assert re.search(r"(searching|folding) \S*2/2", beside)


def test_a_bar_tells_the_rate_where_no_total_is_known(tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_text("id\tsequence\nx\tGGGGAAAACCCC\n")
    for command, word in (("embed -o", "embedding"), ("fold --no-families --out-dir", "folding")):
        shown = on_a_terminal(*command.split(), tmp_path / f"{word}.h5", tmp_path / "in.tsv")
        assert re.search(word + r" \S*1/\?\S* records, [\d.]+/s", shown)


def test_records_of_files_are_counted(tmp_path: Path) -> None:
    plain, packed, table, pipe = (tmp_path / name for name in ("a.fa", "b.fa.gz", "c.tsv", "d.fa"))
    plain.write_bytes(b">a\nAC>GU\n>b\r\nGG\r>c\rAA")
    packed.write_bytes(gzip.compress(TRNA.encode() * 3000))
    table.write_text("id\tsequence\nx\tACGU\n")
    os.mkfifo(pipe)
    assert count_records([plain, packed]) == 3003
    assert count_records([plain, packed], patience=0) is None
    assert count_records([plain, table]) is count_records([pipe]) is count_records(["-"]) is None
