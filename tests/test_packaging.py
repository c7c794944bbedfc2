"""The recipes in packaging/ name this version, and only options that the commands have."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.main import get_command

from rnafm_cli.cli.app import app

ROOT = Path(__file__).parents[1]
PACKAGING = ROOT / "packaging"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
COMMANDS = ("fold", "embed", "annotate")


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("CITATION.cff", r"^version: (.+)$"),
        ("packaging/conda/meta.yaml", r'set version = "(.+)"'),
        ("packaging/galaxy/rnafm_fold.xml", r'name="@TOOL_VERSION@">(.+?)<'),
        *((f"packaging/nextflow/rnafm/{name}/environment.yml", r"rnafm=(.+)$") for name in COMMANDS),
        *((f"packaging/nextflow/rnafm/{name}/main.nf", r'container "rnafm:(.+)"') for name in COMMANDS),
        *((f"packaging/snakemake/{name}/environment.yaml", r"rnafm =(.+)$") for name in COMMANDS),
    ],
)
def test_recipes_name_this_version(file: str, pattern: str) -> None:
    assert re.findall(pattern, (ROOT / file).read_text(), re.MULTILINE) == [VERSION]


def test_conda_asks_for_what_pip_asks_for() -> None:
    named_otherwise = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
    wanted = set()
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        name, least = re.match(r"([\w-]+)>=([\d.]+)", line).groups()  # type: ignore[union-attr]
        wanted.add((named_otherwise.get(name, name).lower(), least))
    run = (PACKAGING / "conda/meta.yaml").read_text().split("  run:\n")[1].split("\ntest:")[0]
    asked = set(re.findall(r"- ([\w-]+) >=([\d.]+)$", run, re.MULTILINE))
    assert asked == wanted


@pytest.mark.parametrize("name", COMMANDS)
def test_recipes_use_options_that_exist(name: str) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    known = {option for param in commands[name].params for option in (*param.opts, *param.secondary_opts)}
    texts = [
        (PACKAGING / f"nextflow/rnafm/{name}/main.nf").read_text(),
        (PACKAGING / f"snakemake/{name}/wrapper.py").read_text(),
    ]
    if name == "fold":
        root = ElementTree.parse(PACKAGING / "galaxy/rnafm_fold.xml").getroot()
        switches = [param.get(key) or "" for param in root.iter("param") for key in ("truevalue", "falsevalue")]
        texts += [root.findtext("command") or "", *switches]
    used = set(re.findall(r"(?<=\s)--[a-z][\w-]*", " " + " ".join(texts))) - {"--version"}
    assert used and used <= known
