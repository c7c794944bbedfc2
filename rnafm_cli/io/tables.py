"""Tables row by row: TSV with a header line, or JSON Lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

__all__ = ["TableFormat", "TableWriter"]

TableFormat = Literal["tsv", "jsonl"]
_TSV_ESCAPES = str.maketrans({"\t": " ", "\n": " ", "\r": " "})


class _Sink(Protocol):
    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class TableWriter:
    """Writes rows with fixed columns; the TSV header goes out before the first row, or at the end of none.

    Floats get ``digits`` significant digits. A missing value is an empty cell, or null in JSON, where
    numbers that JSON lacks (NaN, infinities) are null as well.
    """

    def __init__(self, out: _Sink, columns: Sequence[str], *, format: TableFormat = "tsv", digits: int = 6) -> None:
        self._out = out
        self._columns = tuple(columns)
        self._json = format == "jsonl"
        self._digits = digits
        self._started = self._json

    def write(self, row: Mapping[str, Any] | Sequence[Any]) -> None:
        """Write one row, by column name or in column order.

        Raises:
            ValueError: for a row whose columns are not the table's.
        """
        self.write_all([row])

    def write_all(self, rows: Iterable[Mapping[str, Any] | Sequence[Any]]) -> None:
        """Write rows as one block of text."""
        lines = [] if self._started else ["\t".join(self._columns)]
        self._started = True
        lines += [self._line(self._values(row)) for row in rows]
        if lines:
            self._out.write("\n".join(lines) + "\n")

    def flush(self) -> None:
        """Hand everything to the reader; called after every batch. Writes the header of an empty table."""
        self.write_all([])
        self._out.flush()

    def _values(self, row: Mapping[str, Any] | Sequence[Any]) -> list[Any]:
        if isinstance(row, Mapping):
            if unknown := row.keys() - set(self._columns):
                raise ValueError(f"no column {sorted(unknown)} among {list(self._columns)}")
            return [row.get(column) for column in self._columns]
        if len(row) != len(self._columns):
            raise ValueError(f"{len(row)} values for the columns {list(self._columns)}")
        return list(row)

    def _line(self, values: list[Any]) -> str:
        if self._json:
            pairs = zip(self._columns, map(self._plain, values), strict=True)
            return json.dumps(dict(pairs), ensure_ascii=False, allow_nan=False)
        return "\t".join(map(self._cell, values))

    def _cell(self, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool | np.bool_):
            return str(bool(value)).lower()
        if isinstance(value, float | np.floating):
            return f"{value:.{self._digits}g}"
        return str(value).translate(_TSV_ESCAPES)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            value = value.tolist()
        if isinstance(value, float):
            return float(f"{value:.{self._digits}g}") if math.isfinite(value) else None
        if isinstance(value, list | tuple):
            return [self._plain(item) for item in value]
        return value
