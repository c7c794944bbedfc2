from __future__ import annotations

from pathlib import Path

import pytest

from rnafm_cli.errors import InputError
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.evidence import ConstraintLines

HAIRPIN = SequenceRecord("hp", "GGGGAAAACCCC")
OTHER = SequenceRecord("other", "ACGU")


def lines(tmp_path: Path, text: str) -> ConstraintLines:
    path = tmp_path / "x.con"
    path.write_text(text)
    return ConstraintLines(path)


def symbols(found: ConstraintLines, record: SequenceRecord) -> str:
    constraints = found.of(record)
    assert constraints is not None
    return constraints.symbols


def test_three_lines_by_id(tmp_path: Path) -> None:
    found = lines(tmp_path, "# made up\n>hp a hairpin\nggggaaaacccc\n((..xx.|..)) (-1.20)\n>gone\nACGU\n....\n")
    assert symbols(found, HAIRPIN) == "((..xx.|..))"
    assert found.of(OTHER) is None
    assert found.unused() == ["gone"]


def test_wrapped_lines_and_constraints_that_look_like_headers(tmp_path: Path) -> None:
    found = lines(tmp_path, ">hp\nGGGGAA\nAACCCC\n<<<<..\n>>>...\n>other\nACGT\n>>..\n")
    assert symbols(found, HAIRPIN) == "<<<<..>>>..."
    assert symbols(found, OTHER) == ">>.."


def test_without_a_header_for_the_only_record(tmp_path: Path) -> None:
    found = lines(tmp_path, "GGGGAAAACCCC\n((((....))))\n")
    assert symbols(found, HAIRPIN) == "((((....))))"
    with pytest.raises(InputError, match="more than one record"):
        found.of(OTHER)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no constraints"),
        (">hp\nGGGGAAAACCCC\n", "x.con:1: record 'hp': sequence of 12, constraint of 0 symbols"),
        (">hp\n>gone\nACGU\n....\n", "x.con:1: record 'hp': sequence of 0, constraint of 0 symbols"),
        (">hp\nGGGGAAAACCCC\n((..))\n", "sequence of 12, constraint of 6 symbols"),
        (">hp\nGGGGAAAACCCC\n((((..?.))))\n", r"x.con:3: '\?' does not fit"),
        (">hp\nACGU\n....\n>hp\nACGU\n....\n", "x.con:4: constraints of 'hp' again, beside .*x.con:1"),
        (">hp\nGGGG-AAAACCCC\n((((.....))))\n", "x.con:2: '-' does not fit here"),
        (">hp\nGGGGAAAACCCA\n((((....))))\n", "the sequence is not that of record 'hp'"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        lines(tmp_path, text).of(HAIRPIN)


def test_one_line_of_symbols_holds_for_all(tmp_path: Path) -> None:
    found = lines(tmp_path, "((((....\n))))\n")
    same = SequenceRecord("same", "GCGCAAAAGCGC", source="x.fa", line=3)
    assert symbols(found, HAIRPIN) == symbols(found, same) == "((((....))))"
    assert found.unused() == []


def test_a_bracket_without_partner_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="x.con:1: unbalanced structure: .* position 4 "):
        lines(tmp_path, ">hp\nGGGGAAAACCCC\n...(........\n")
