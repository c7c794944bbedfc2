"""What is known about records beside their sequence: ``key=value`` words of FASTA headers, and tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rnafm_cli.errors import InputError
from rnafm_cli.io.streams import input_name, open_text

__all__ = ["header_attributes", "read_label_table", "read_times"]

_ID_NAMES = {"id", "name", "seq_id", "sequence_id"}


def header_attributes(description: str) -> dict[str, str]:
    """The ``key=value`` words of a header's description; words without ``=`` are left out."""
    pairs = (word.partition("=") for word in description.split())
    return {key: value for key, sign, value in pairs if key and sign and value}


def read_label_table(path: str | Path, *, key: str) -> dict[str, dict[str, str]]:
    """Attributes by record id from a TSV.

    With a header line that starts with ``id``, each further column is an attribute; without one, the second of two
    columns is the attribute ``key``. Empty cells are unknown.

    Raises:
        InputError: naming the line, for rows of another width and ids that come twice with different values.
    """
    result: dict[str, dict[str, str]] = {}
    columns: list[str] | None = None
    with open_text(path) as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip() or (line.startswith("#") and columns is None):
                continue
            cells = line.rstrip("\r\n").split("\t")
            if columns is None:
                headed = cells[0].lower() in _ID_NAMES and len(cells) > 1
                columns = cells[1:] if headed else [key]
                if headed:
                    continue
            if len(cells) != len(columns) + 1:
                raise InputError(
                    f"{input_name(path)}:{number}: {len(cells)} columns, expected {len(columns) + 1}",
                    hint="a table of labels has tabs between the id and its labels; a header line starts with id",
                )
            values = {name: cell.strip() for name, cell in zip(columns, cells[1:], strict=True) if cell.strip()}
            if result.setdefault(cells[0], values) != values:
                raise InputError(f"{input_name(path)}:{number}: the id '{cells[0]}' has two different labels")
    if not result:
        raise InputError(f"{input_name(path)}: holds no labels")
    return result


def read_times(path: str | Path) -> Mapping[str, float]:
    """A number for each label, from the first two columns of a TSV (a header line may stand above).

    Raises:
        InputError: for a second column that is no number.
    """
    result: dict[str, float] = {}
    with open_text(path) as handle:
        rows = [line.rstrip("\r\n").split("\t") for line in handle if line.strip() and not line.startswith("#")]
    for number, cells in enumerate(rows, start=1):
        try:
            result[cells[0]] = float(cells[1])
        except (IndexError, ValueError) as error:
            if number == 1 and len(cells) > 1:
                continue
            raise InputError(
                f"{input_name(path)}: row {number} has no number in its second column", hint="give label, tab, time"
            ) from error
    if not result:
        raise InputError(f"{input_name(path)}: holds no times")
    return result
