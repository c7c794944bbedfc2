"""The built wheel carries the weights and works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_wheel_works_from_another_folder(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", ROOT],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel], check=True
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(command: str, text: str) -> str:
        result = subprocess.run(
            [sys.executable, "-m", "rnafm_cli", command, "-"],
            input=text,
            capture_output=True,
            text=True,
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    lines = run("fold", ">hairpin\nGGGGGAAAACCCCC\n").splitlines()
    assert lines[:2] == [">hairpin", "GGGGGAAAACCCCC"] and set(lines[2]) <= set(".()[]{}<>")
    trna = "GGGCCGGTAGCTCAGCCTGGGAGAGCGCCGGCTCTGCAAGCCGGAGGTCCCGGGTTCAAATCCCGGCCGGTCCA"
    assert "RF00005\ttRNA" in run("annotate", f">t\n{trna}\n")
    assert str(site) in _package_location(site)


def _package_location(site: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", "import rnafm_cli; import sys; sys.stdout.write(rnafm_cli.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=site.parent / "elsewhere",
        env={**os.environ, "PYTHONPATH": str(site)},
    ).stdout
