"""Rows of figures as TSV, JSON or aligned text for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rnafm_cli.io.streams import TextSink
from rnafm_cli.io.tables import TableWriter

__all__ = ["write_figures"]

_DIGITS = 4


def write_figures(
    sink: TextSink, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, format: str, **facts: Any
) -> None:
    """Write a table of figures.

    Args:
        columns: keys of the rows, in order; a row may lack some.
        format: ``tsv``, ``json`` (a document with ``facts`` and the rows) or ``table``.
        facts: what holds of the whole table, such as seed and resamples.
    """
    if format == "tsv":
        writer = TableWriter(sink, columns)
        writer.write_all([[_missing(row.get(column)) for column in columns] for row in rows])
        writer.flush()
    elif format == "json":
        plain = [{key: _rounded(_missing(row.get(key))) for key in columns} for row in rows]
        document = {**facts, "figures": plain}
        sink.write(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        shown = [column for column in columns if any(_missing(row.get(column)) is not None for row in rows)]
        cells = [shown, *([_text(row.get(column)) for column in shown] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        names = [k for k, column in enumerate(shown) if any(isinstance(row.get(column), str) for row in rows)]
        for line in cells:
            padded = [
                cell.ljust(width) if k in names else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            sink.write("  ".join(padded).rstrip() + "\n")


def _missing(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def _text(value: Any) -> str:
    value = _missing(value)
    if value is None:
        return "-"
    return f"{value:.{_DIGITS}f}" if isinstance(value, float) else str(value)
