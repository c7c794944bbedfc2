from __future__ import annotations

import re

import pytest

from rnafm_cli.cli import console


def test_progress_off_a_terminal_tells_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console._PlainProgress, "period", 0.0)
    with console.progress(400, "embedding") as bar:
        bar.advance(100)
    assert re.search(r"embedding 100 of 400 records, [\d.]+/s, 0:00:\d\d left\n$", capsys.readouterr().err)
    with console.progress(description="mapping") as bar:
        bar.advance(3)
    assert re.search(r"mapping 3 records, [\d.]+/s\n$", capsys.readouterr().err)
