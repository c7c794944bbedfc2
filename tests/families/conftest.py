from __future__ import annotations

import pytest
from support.seeds import seeds_text

from rnafm_cli.families.library import Library, build_library
from rnafm_cli.io.stockholm import read_stockholm


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    path = tmp_path_factory.mktemp("seeds") / "seeds.sto"
    path.write_text(seeds_text())
    return build_library(read_stockholm(path), "made up")
