"""``rnafm cite``: what to cite for a command's results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rnafm_cli import __version__
from rnafm_cli.errors import UsageError


def cite(
    command: Annotated[
        str | None, typer.Argument(metavar="[COMMAND]", help="What was run; everything if left out.")
    ] = None,
) -> None:
    """Print what to cite for the results of a command.

    Energy parameters are those of the shipped heads; the card of another head tells which it used.

    Example: rnafm cite fold
    """
    import tomllib

    works = tomllib.loads(Path(__file__).with_name("works.toml").read_text(encoding="utf-8"))["work"]
    known = sorted({name for work in works for name in work["commands"]})
    if command is not None and command not in known:
        raise UsageError(f"nothing is known to cite for '{command}'", hint=f"commands are {', '.join(known)}")
    sys.stdout.write(f"rnafm {__version__} (CITATION.cff in its source)\n")
    for work in works:
        if command is None or command in work["commands"]:
            sys.stdout.write("\n{used_for}:\n  {authors} ({year}). {title}. {where}\n".format_map(work))
