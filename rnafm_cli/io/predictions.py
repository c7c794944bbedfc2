"""Tables that ``rnafm rbp`` and ``rnafm mrl`` wrote, matched with the rows that they are to be measured on."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.io.streams import input_name, open_text

__all__ = ["Predictions", "read_predictions"]


class Predictions:
    """Predicted values by output (protein or assay) and id of the record.

    Args:
        name: of the file.
        values: output -> id -> value; the output is empty where the table names none.
    """

    def __init__(self, name: str, values: dict[str, dict[str, float]]) -> None:
        self.name, self._values = name, values

    def of(self, output: str, ids: Sequence[str], *, table: str) -> NDArray[np.float64]:
        """(N,) values of one output for the records of a table.

        Raises:
            InputError: for an output or a record that is not there, and for a table without ids.
        """
        if not all(ids):
            raise InputError(
                f"{table}: its rows have no ids to match predictions by", hint="add a column 'id' with the FASTA ids"
            )
        known = self._values.get(output, self._values.get(""))
        if known is None:
            raise InputError(f"{self.name}: predicts nothing for '{output}'")
        missing = [name for name in ids if name not in known]
        if missing:
            raise InputError(
                f"{self.name}: {len(missing)} records have no prediction for '{output}', '{missing[0]}' for one"
            )
        return np.array([known[name] for name in ids])


def read_predictions(path: Path, column: str, *, by: str | None = None) -> Predictions:
    """Read the columns ``id`` and ``column``, and ``by`` if rows are of several outputs.

    Raises:
        InputError: for a missing column, a value that is no number, or an id that appears twice.
    """
    where = input_name(path)
    values: dict[str, dict[str, float]] = {}
    with open_text(path) as lines:
        table = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        wanted = ["id", column, *([by] if by else [])]
        for name in wanted:
            if name not in (table.fieldnames or []):
                raise InputError(f"{where}: has no column '{name}'", hint=f"columns {', '.join(wanted)} are expected")
        for number, row in enumerate(table, start=2):
            of_output = values.setdefault(row[by] if by else "", {})
            if row["id"] in of_output:
                raise InputError(f"{where}:{number}: a second prediction for '{row['id']}'")
            try:
                of_output[row["id"]] = float(row[column])
            except (TypeError, ValueError) as error:
                raise InputError(f"{where}:{number}: {column} '{row[column]}' is not a number") from error
    return Predictions(where, values)
