from __future__ import annotations

from pathlib import Path

import pytest
from support.command import Command, command_in, process_in


@pytest.fixture
def rnafm(tmp_path: Path) -> Command:
    return command_in(tmp_path)


@pytest.fixture
def rnafm_process(tmp_path: Path) -> Command:
    return process_in(tmp_path)
