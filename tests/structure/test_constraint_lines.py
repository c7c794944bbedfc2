from __future__ import annotations

from pathlib import Path

import pytest

from rnafm_cli.errors import InputError
from rnafm_cli.rna.decode import DecodeOptions
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.evidence import ConstraintLines

HAIRPIN = SequenceRecord("hp", "GGGGAAAACCCC")
OTHER = SequenceRecord("other", "ACGU")


def lines(tmp_path: Path, text: str) -> ConstraintLines:
    path = tmp_path / "x.con"
    path.write_text(text)
    return ConstraintLines(path)


def test_three_lines_by_id(tmp_path: Path) -> None:
    found = lines(tmp_path, "# made up\n>hp a hairpin\nggggaaaacccc\n((..xx.|..)) (-1.20)\n>gone\nACGU\n....\n")
    assert found.of(HAIRPIN).constraint == "((..xx.|..))"
    assert found.of(OTHER).constraint is None
    assert found.unused() == ["gone"]


def test_wrapped_lines_and_constraints_that_look_like_headers(tmp_path: Path) -> None:
    found = lines(tmp_path, ">hp\nGGGGAA\nAACCCC\n<<<<..\n>>>...\n>other\nACGT\n>>..\n")
    assert found.of(HAIRPIN).constraint == "<<<<..>>>..."
    assert found.of(OTHER).constraint == ">>.."


def test_without_a_header_for_the_only_record(tmp_path: Path) -> None:
    found = lines(tmp_path, "GGGGAAAACCCC\n((((....))))\n")
    assert found.of(HAIRPIN).constraint == "((((....))))"
    with pytest.raises(InputError, match="more than one record"):
        found.of(OTHER)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no constraints"),
        (">hp\nGGGGAAAACCCC\n", "x.con:1: record 'hp': has no constraint"),
        (">hp\n>gone\nACGU\n....\n", "x.con:1: record 'hp': has no sequence"),
        (">hp\nGGGGAAAACCCC\n((..))\n", "sequence of 12, constraint of 6 symbols"),
        (">hp\nGGGGAAAACCCC\n((((..?.))))\n", r"x.con:3: '\?' does not fit"),
        (">hp\nACGU\n....\n>hp\nACGU\n....\n", "x.con:4: a second constraint of 'hp'"),
        (">hp\nGGGG-AAAACCCC\n((((.....))))\n", "x.con:2: the sequence is gapped"),
        (">hp\nGGGGAAAACCCA\n((((....))))\n", "the sequence is not that of record 'hp'"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        lines(tmp_path, text).of(HAIRPIN)


def test_one_line_of_symbols_holds_for_all(tmp_path: Path) -> None:
    found = lines(tmp_path, "((((....\n))))\n")
    same = SequenceRecord("same", "GCGCAAAAGCGC", source="x.fa", line=3)
    assert found.of(HAIRPIN).constraint == found.of(same).constraint == "((((....))))"
    assert found.unused() == []
    with pytest.raises(InputError, match=r"x.con:1: constraint of record 'other': the constraint covers 12 bases"):
        found.of(OTHER).check(OTHER, DecodeOptions())


def test_the_file_of_constraints_is_named(tmp_path: Path) -> None:
    found = lines(tmp_path, ">hp\nGGGGAAAACCCC\n...(..).....\n").of(HAIRPIN)
    with pytest.raises(InputError, match=r"x.con:1: constraint of record 'hp': "):
        found.check(HAIRPIN, DecodeOptions())
