"""TSV and JSON Lines rows."""

from __future__ import annotations

import io
import json

import numpy as np

from rnafm_cli.io.tables import TableWriter


def test_tsv_has_a_header_and_plain_cells() -> None:
    out = io.StringIO()
    table = TableWriter(out, ["id", "p", "ok", "note"])
    table.write({"id": "a", "p": 0.123456789, "ok": True, "note": "tab\tand\nline"})
    table.write(["b", np.float32(0.5), np.bool_(False), None])
    assert out.getvalue() == "id\tp\tok\tnote\na\t0.123457\ttrue\ttab and line\nb\t0.5\tfalse\t\n"


def test_jsonl_keeps_types_and_key_order() -> None:
    out = io.StringIO()
    table = TableWriter(out, ["id", "n", "p", "v", "odd"], format="jsonl", digits=3)
    table.write(
        {"odd": float("nan"), "v": np.array([1.23456, np.inf]), "n": np.int64(3), "p": np.float32(0.1), "id": "é"}
    )
    text = out.getvalue()
    assert text.startswith('{"id": "é", "n": 3,')
    assert json.loads(text) == {"id": "é", "n": 3, "p": 0.1, "v": [1.23, None], "odd": None}


def test_empty_table_still_has_its_header() -> None:
    out = io.StringIO()
    TableWriter(out, ["a", "b"]).flush()
    assert out.getvalue() == "a\tb\n"
    out = io.StringIO()
    TableWriter(out, ["a", "b"], format="jsonl").flush()
    assert out.getvalue() == ""
