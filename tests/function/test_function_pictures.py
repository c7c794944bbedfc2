"""Logos are written whole, the same each time, and show what they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnafm_cli.errors import UsageError
from rnafm_cli.function.figures import LETTER_COLOURS, draw_logo, saliency_gallery
from rnafm_cli.function.rbp import Binding
from rnafm_cli.rna.records import SequenceRecord


def test_tall_letters_have_their_colour_and_flat_ones_are_left_out(tmp_path: Path) -> None:
    draw_logo("ACGU", np.array([2.0, 0.0, -1.0, 0.0]), tmp_path / "a.svg", title="x: P & Q")
    text = (tmp_path / "a.svg").read_text()
    assert LETTER_COLOURS["A"] in text and LETTER_COLOURS["G"] in text
    assert LETTER_COLOURS["C"] not in text and LETTER_COLOURS["U"] not in text
    assert "x: P &amp; Q" in text
    draw_logo("ACGU", np.array([2.0, 0.0, -1.0, 0.0]), tmp_path / "b.svg", title="x: P & Q")
    assert (tmp_path / "b.svg").read_bytes() == text.encode()


def test_long_sequences_take_rows(tmp_path: Path) -> None:
    for length in (1, 101, 230):
        draw_logo("ACGUN" * (length // 5 + 1), np.ones(5 * (length // 5 + 1)), tmp_path / f"{length}.png", title="t")
    sizes = [(tmp_path / f"{length}.png").stat().st_size for length in (1, 101, 230)]
    assert 0 < sizes[0] < sizes[1] < sizes[2]


def test_a_gallery_keeps_names_apart(tmp_path: Path) -> None:
    def found(name: str, sequence: str, effects_PL4: np.ndarray) -> Binding:
        one, p = np.ones(1, dtype=int), np.array([[0.9]])
        record = SequenceRecord(name, sequence)
        return Binding(record, ("P",), 0 * one, one, p, p[0], one == 0, effects_PL4)

    with saliency_gallery(tmp_path / "why") as add:
        for name in ("a/1", "a?1"):
            add(found(name, "AC", np.array([[[0.0, -1, -2, 0], [0, 1, 2, 3]]])), [0], [0])
        add(found("b", "N", np.full((1, 1, 4), np.nan)), [0], [])
    assert {path.name for path in (tmp_path / "why").iterdir()} == {"a_1.P.svg", "a_1.P_2.svg", "saliency.tsv"}
    lines = (tmp_path / "why" / "saliency.tsv").read_text().splitlines()
    assert len(lines) == 6 and lines[1] == "a/1\tP\t1\tA\t1\t0\t-1\t-2\t0"
    assert lines[5] == "b\tP\t1\tN\t0\t\t\t\t"
    with pytest.raises(UsageError, match="exists"), saliency_gallery(tmp_path / "why"):
        pass
