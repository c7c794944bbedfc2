"""Tables: those of others read by the names of their columns, and a command's results as TSV, JSON Lines or HDF5."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeAlias

import numpy as np

from rnafm_cli.errors import InputError, Reject, UsageError, raise_rejected
from rnafm_cli.io.names import HDF5_SUFFIXES, refuse_suffix
from rnafm_cli.io.streams import STDIO, TextSink, open_output

if TYPE_CHECKING:
    from rnafm_cli.io.hdf5 import Hdf5Output, Provenance


_SAME = {
    "name": "id",
    "seq_id": "id",
    "sequence_id": "id",
    "seq": "sequence",
    "utr": "sequence",
    "pairs": "structure",
    "dotbracket": "structure",
    "dot_bracket": "structure",
    "rl": "mrl",
}
"""What columns are called elsewhere, by what they are called here."""
# A genome in one cell is no reason to stop.
csv.field_size_limit(1 << 30)


def cells_of(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Number (from 1) and cells of the rows of a text, blank ones and comments (``#``) above the first left out.

    The first row tells what divides cells: a tab if it has one, else a comma or semicolon, as spreadsheets write them.
    """
    numbered = enumerate(lines, start=1)
    number, first = next(((k, line) for k, line in numbered if line.strip() and line[0] != "#"), (0, ""))
    if not first:
        return
    dividers = ["\t", *sorted(",;", key=first.count, reverse=True)]
    divider = next((one for one in dividers if one in first), "\t")
    text = itertools.chain([first], (line for _, line in numbered))
    if divider == "\t":
        table = csv.reader(text, delimiter=divider, quoting=csv.QUOTE_NONE)
    else:
        table = csv.reader(text, delimiter=divider, skipinitialspace=True)
    for cells in table:
        if any(cells):
            yield number + table.line_num - 1, [cell.strip() for cell in cells]


def column_names(cells: Sequence[str]) -> list[str]:
    """The columns of a header as they are called here: ``seq`` and ``utr`` are ``sequence``, ``rl`` is ``mrl``."""
    plain = [cell.lower() for cell in cells]
    return [_SAME[name] if name in _SAME and _SAME[name] not in plain else name for name in plain]


def table_rows(
    lines: Iterable[str], source: str, needed: Sequence[str], reject: Reject = raise_rejected
) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by column (see :func:`column_names`) of each row of a table with a header line.

    Args:
        reject: called with the error of a row that has more or fewer cells; when it returns, the row is left out.

    Raises:
        InputError: for a missing column.
    """
    rows = cells_of(lines)
    columns = column_names(next(rows, (0, []))[1])
    if missing := [name for name in needed if name not in columns]:
        raise InputError(
            f"{source}: has no column '{missing[0]}'", hint=f"a header line names the columns: {', '.join(needed)}"
        )
    for number, cells in rows:
        if len(cells) != len(columns):
            reject(InputError(f"{source}:{number}: {len(cells)} cells under {len(columns)} columns"))
            continue
        yield number, dict(zip(columns, cells, strict=True))


_TSV_ESCAPES = str.maketrans({"\t": " ", "\n": " ", "\r": " "})
_Row = Mapping[str, Any] | Sequence[Any]


class TableWriter:
    """Writes rows with fixed columns; the TSV header goes out before the first row, or at the end of none.

    Floats get ``digits`` significant digits; TSV joins lists by commas. A missing value is an empty cell, or null in
    JSON, where numbers that JSON lacks (NaN, infinities) are null as well.
    """

    def __init__(
        self,
        out: TextSink | TextIO,
        columns: Sequence[str],
        *,
        format: Literal["tsv", "jsonl"] = "tsv",
        digits: int = 6,
    ) -> None:
        self._out, self._columns, self._digits = out, columns, digits
        self._line = self._json_line if format == "jsonl" else self._tsv_line
        self._above = [] if format == "jsonl" else ["\t".join(columns)]

    def write(self, row: _Row) -> None:
        """Write one row, by column name or in column order."""
        self.write_all([row])

    def write_all(self, rows: Iterable[_Row]) -> None:
        """Write rows as one block of text."""
        lines, self._above = self._above, []
        for row in rows:
            lines.append(self._line([row.get(name) for name in self._columns] if isinstance(row, Mapping) else row))
        if lines:
            self._out.write("\n".join(lines) + "\n")

    def flush(self) -> None:
        """Hand everything to the reader; called after every batch. Writes the header of an empty table."""
        self.write_all([])
        self._out.flush()

    def _tsv_line(self, values: Sequence[Any]) -> str:
        return "\t".join(map(self._cell, values))

    def _json_line(self, values: Sequence[Any]) -> str:
        pairs = zip(self._columns, map(self._plain, values), strict=True)
        return json.dumps(dict(pairs), ensure_ascii=False, allow_nan=False)

    def _cell(self, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool | np.bool_):
            return str(bool(value)).lower()
        if isinstance(value, float | np.floating):
            return f"{value:.{self._digits}g}"
        if isinstance(value, list | tuple):
            return _joined(value)
        return str(value).translate(_TSV_ESCAPES)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            value = value.tolist()
        if isinstance(value, float):
            return float(f"{value:.{self._digits}g}") if math.isfinite(value) else None
        if isinstance(value, list | tuple):
            return [self._plain(item) for item in value]
        return value


class Tabular:
    """A result that is rows of a table, and is shown as one in notebooks."""

    def rows(self) -> list[dict[str, Any]]:
        """Rows by column name."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        import pandas

        return str(pandas.DataFrame(self.rows()).to_html(index=False))


OutputFormat = Literal["tsv", "jsonl", "h5"]
_SUFFIXES: dict[OutputFormat, tuple[str, ...]] = {"h5": HDF5_SUFFIXES, "jsonl": (".jsonl", ".json"), "tsv": (".tsv",)}


def output_format(path: Path, chosen: OutputFormat | None) -> OutputFormat:
    """The format of an output: the one chosen, else what its name tells, else TSV.

    Raises:
        UsageError: for HDF5 on standard output, and a name that tells another format.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix
    found: Any = chosen or next((name for name, suffixes in _SUFFIXES.items() if suffix in suffixes), "tsv")
    if found == "h5" and str(path) == STDIO:
        raise UsageError("HDF5 cannot be written to stdout", hint="name a file with -o FILE.h5")
    kinds = "name it .tsv, .jsonl or .h5, or choose with --format"
    refuse_suffix(path, _SUFFIXES[found], f"a table of the format {found}", kinds)
    return found


@contextmanager
def table_output(
    path: Path,
    columns: Mapping[str, type],
    *,
    format: OutputFormat,
    provenance: Provenance | None = None,
    force: bool = False,
) -> Iterator[RowSink]:
    """A table for the time of a ``with`` block.

    HDF5 has a data set for each column at the root, all of one length, and attributes that say what made it.

    Args:
        columns: name -> type of the values: str, int, float, or list (JSON: an array; else joined by commas).
        provenance: what made the table; attributes of an HDF5 file.
        force: replace a file that exists.

    Raises:
        UsageError: for a folder, or a file that exists and ``force`` is off.
    """
    if format == "h5":
        # Tables of text start faster without it.
        from rnafm_cli.io.hdf5 import new_hdf5, stamped

        with new_hdf5(path, force=force, track_order=True) as file:
            file.attrs.update({"format": "rnafm-table", "format_version": 1, **stamped(provenance or {})})
            table = _Hdf5Table(file, columns)
            yield table
            table.store()
        return
    with open_output(path, force=force) as sink:
        writer = TableWriter(sink, tuple(columns), format=format)
        yield writer
        writer.flush()


class _Hdf5Table:
    """Takes rows in column order and stores them in blocks; None is an empty text."""

    def __init__(self, file: Hdf5Output, columns: Mapping[str, type]) -> None:
        import h5py

        self._file, self._columns = file, columns
        self._rows: list[Sequence[Any]] = []
        for name, kind in columns.items():
            dtype = np.dtype(kind) if kind in (int, float) else h5py.string_dtype()
            file.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(_BLOCK,))

    def write(self, row: Sequence[Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= _BLOCK:
            self.store()

    def flush(self) -> None:
        """There is nobody to hand rows to before the file is complete."""

    def store(self) -> None:
        """Write the rows that wait."""
        for (name, kind), values in zip(self._columns.items(), zip(*self._rows, strict=True), strict=False):
            known = len(self._file[name])
            self._file[name].resize(known + len(values), axis=0)
            self._file[name][known:] = [_joined(v) if kind is list else "" if v is None else v for v in values]
        self._rows.clear()
        self._file.check()


_BLOCK = 4096
RowSink: TypeAlias = TableWriter | _Hdf5Table
"""Takes the rows of a table, in the order of its columns."""


def _joined(values: Sequence[Any]) -> str:
    return ",".join(map(str, values))
