"""The rows of the feature table: what a head sees, and whether its pair head comes trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rnafm_cli.errors import UsageError
from rnafm_cli.models.pair import INPUTS

__all__ = ["ALL", "RANDOM", "TRANSFER", "Row", "main_row", "named_rows", "rows_for"]

ALL = "sequence+embedding+prior"
RANDOM, TRANSFER = "random", "transfer"
_SUBSETS = ("sequence", "prior", "embedding", "sequence+prior", "sequence+embedding", ALL)


@dataclass(frozen=True)
class Row:
    """One kind of head.

    Args:
        shown: the inputs it sees.
        shape_of_start: whether its pair head has the shape of the trained one instead of the recipe's.
        transferred: whether it also has its weights.
    """

    name: str
    shown: frozenset[str]
    shape_of_start: bool = False
    transferred: bool = False


def rows_for(*, embedding: bool, prior: bool, start: bool) -> list[Row]:
    """The rows that can be made of what there is, in the order of the table."""
    there = {"sequence"} | ({"embedding"} if embedding else set()) | ({"prior"} if prior else set())
    rows = [Row(name, frozenset(name.split("+"))) for name in _SUBSETS]
    rows = [row for row in rows if row.shown <= there]
    if start:
        shown = frozenset(INPUTS) & there
        rows += [
            Row(RANDOM, shown, shape_of_start=True),
            Row(TRANSFER, shown, shape_of_start=True, transferred=True),
        ]
    return rows


def main_row(rows: Iterable[Row]) -> Row:
    """The row whose heads become the final one: all inputs, and the trained pair head where there is one."""
    return max(rows, key=lambda row: (row.transferred, not row.shape_of_start, len(row.shown)))


def named_rows(rows: Iterable[Row], names: Iterable[str]) -> list[Row]:
    """The rows of these names; ``all`` stands for every one.

    Raises:
        UsageError: for a name that is none of them.
    """
    known = {row.name: row for row in rows}
    names = list(names)
    if names == ["all"]:
        return list(known.values())
    chosen = []
    for name in names:
        if name not in known:
            raise UsageError(f"there is no row '{name}' here", hint=f"there are {', '.join(known)}")
        chosen.append(known[name])
    return chosen
