"""Write docs/cli.md from the commands' own help and columns; ``--check`` fails when it has drifted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rnafm_cli.io.columns import SCHEMA

TARGET = Path(__file__).with_name("cli.md")
HEAD = """# Command line reference

Written by `python docs/generate_cli.py` from each command's `--help`. What [columns of tables](#columns-of-tables) mean
stands at the end.
"""
NAMES = """A table is named by its command and the options that decide; `rnafm schema` prints the same list. JSON Lines
have the names of the table where they have no entry of their own. Of HDF5 files, `/NAME` is a data set, `/NAME:key` an
attribute of it and `:key` one of the file; ID is an RNA's id."""


def help_of(*command: str) -> str:
    """The help text of ``rnafm COMMAND``."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    environment = {k: v for k, v in environment.items() if not k.startswith("RNAFM_")}
    result = subprocess.run(
        [sys.executable, "-m", "rnafm_cli", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return "\n".join(line.rstrip() for line in result.stdout.strip().splitlines())


def subcommands(text: str) -> list[str]:
    """The names listed under ``Commands:`` in a help text."""
    names: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("Commands:"):
            inside = True
        elif inside and not line.strip():
            break
        elif inside and not line.startswith("   "):
            names.append(line.split()[0])
    return names


def sections(*command: str) -> list[str]:
    """One section for a command and one for each of its subcommands."""
    text = help_of(*command)
    title = " ".join(["rnafm", *command])
    found = [f"## {title}\n\n```text\n{text}\n```\n"]
    for name in subcommands(text):
        found += sections(*command, name)
    return found


def columns() -> str:
    """The columns of the tables that commands write, as ``rnafm schema`` tells them."""
    rows = ["| `{}` | {} | {} | {} |".format(*line.split("\t")) for line in SCHEMA[1:]]
    return "\n".join(
        ["## Columns of tables", "", NAMES, "", "| table | column | type | meaning |", "|---|---|---|---|", *rows, ""]
    )


def main() -> None:
    document = "\n".join([HEAD, *sections(), columns()])
    if "--check" in sys.argv[1:]:
        if TARGET.read_text() != document:
            sys.exit("docs/cli.md has drifted; run: python docs/generate_cli.py")
        return
    TARGET.write_text(document)


if __name__ == "__main__":
    main()
