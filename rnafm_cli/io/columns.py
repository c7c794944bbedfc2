"""The columns of the commands' tables, the keys of their JSON Lines and the parts of their HDF5 files: what the writers
write, and what ``rnafm schema`` tells of them, from ``schema.tsv``.

In HDF5, ``/NAME`` is a data set, ``/NAME:key`` an attribute of it and ``:key`` one of the file; ID is an RNA's id.
"""

from __future__ import annotations

from importlib.resources import files

SCHEMA = files(__package__).joinpath("schema.tsv").read_text(encoding="utf-8").splitlines()
"""A header, then table, column, type and meaning in each line; a table is a command with the options that decide."""
TABLES: dict[str, dict[str, type]] = {}
"""The columns of each table in their order, with the type of the values (a list is joined by commas in TSV)."""

_TYPES = {kind.__name__: kind for kind in (str, int, float, bool, list, dict)}
for _line in SCHEMA[1:]:
    _table, _column, _type, _ = _line.split("\t")
    TABLES.setdefault(_table, {})[_column] = _TYPES[_type]
