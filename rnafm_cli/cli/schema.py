"""``rnafm schema``: the columns of a command's tables."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rnafm_cli.errors import UsageError


def schema(
    command: Annotated[str | None, typer.Argument(metavar="[COMMAND]", help="Whose tables; all if left out.")] = None,
) -> None:
    """Print the columns of the tables that commands write, one a line.

    Columns: table (the command with the options that decide), column, type, meaning. JSON Lines have the same names
    where they have no entry of their own. Parts of HDF5 files: /NAME is a data set, /NAME:key an attribute of it, :key
    one of the file.

    Example: rnafm schema annotate
    """
    from rnafm_cli.io.columns import SCHEMA

    head, *rows = SCHEMA
    known = sorted({row.split()[0] for row in rows})
    if command is not None and command not in known:
        raise UsageError(f"'{command}' writes no table that is described", hint=f"commands are {', '.join(known)}")
    chosen = [row for row in rows if command in (None, row.split()[0])]
    sys.stdout.write("\n".join([head, *chosen]) + "\n")
