"""Documents promise only what the program does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_command_reference_is_current() -> None:
    script = ROOT / "docs" / "generate_cli.py"
    result = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_what_examples_import_is_there(path: Path) -> None:
    for module, names in re.findall(r"^ *from (rnafm_cli[\w.]*) import ([\w, ]+)", path.read_text(), re.MULTILINE):
        exec(f"from {module} import {names}", {})


def test_readme_names_every_command() -> None:
    from rnafm_cli.cli.app import app

    readme = (ROOT / "README.md").read_text()
    names = [c.name for c in app.registered_commands] + [g.name for g in app.registered_groups]
    assert len(names) >= 3
    for name in names:
        assert f"rnafm {name}" in readme


def test_the_example_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = json.loads((ROOT / "examples" / "first_look.ipynb").read_text())["cells"]
    monkeypatch.chdir(ROOT / "examples")
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"], "the notebook is stored with its results"
            exec("".join(cell["source"]), names)


def test_pictures_of_the_readme_are_small() -> None:
    shown = re.findall(r"docs/img/[\w.]+", (ROOT / "README.md").read_text())
    assert len(shown) == 4 and sum((ROOT / name).stat().st_size for name in shown) < 300_000
