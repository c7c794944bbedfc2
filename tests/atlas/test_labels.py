from __future__ import annotations

from pathlib import Path

import pytest

from rnafm_cli.atlas.points import ROLES, read_label_table, read_times, role_of
from rnafm_cli.errors import InputError
from rnafm_cli.rna.records import SequenceRecord


def test_words_of_a_header() -> None:
    assert SequenceRecord("x", "ACGU", "a tRNA type=tRNA role= species=Mus_musculus =x a=b=c").attributes == {
        "type": "tRNA",
        "species": "Mus_musculus",
        "a": "b=c",
    }


def test_tables_with_and_without_a_header_line(tmp_path: Path) -> None:
    plain, headed = tmp_path / "a.tsv", tmp_path / "b.tsv"
    plain.write_text("r1\ttRNA\nr2\tsnRNA\n")
    assert read_label_table(plain, key="label") == {"r1": {"label": "tRNA"}, "r2": {"label": "snRNA"}}
    headed.write_text("# made by hand\nID\ttype\trole\nr1\ttRNA\thousekeeping\n\nr2\t\tother\r\n")
    assert read_label_table(headed, key="label") == {
        "r1": {"type": "tRNA", "role": "housekeeping"},
        "r2": {"role": "other"},
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [("id\ttype\nr1\n", ":2: 1 columns"), ("r1\ta\nr1\tb\n", "two different labels"), ("\n", "holds no labels")],
)
def test_tables_that_cannot_be_read(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "t.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_label_table(path, key="label")


def test_times_of_labels(tmp_path: Path) -> None:
    path = tmp_path / "times.tsv"
    path.write_text("species\tmillion years\nMus\t87\nDanio\t429.5\textra\n")
    assert read_times(path) == {"Mus": 87.0, "Danio": 429.5}
    path.write_text("Mus\t87\nDanio\told\n")
    with pytest.raises(InputError, match=":2: has no number"):
        read_times(path)


def test_every_type_has_one_role() -> None:
    assert role_of("tRNA") == "housekeeping" and role_of("riboswitch") == "regulatory"
    assert role_of("viroid") == "other" and role_of("") == ""
    assert set(ROLES.values()) == {"housekeeping", "regulatory"}
