"""Stockholm alignments in and out, and what is said of broken ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.seeds import HAIRPIN, KNOT, rows_of, seeds_text, stockholm

from rnafm_cli.errors import InputError
from rnafm_cli.io.stockholm import format_stockholm, read_stockholm, wuss, wuss_pairs
from rnafm_cli.rna.pairs import as_pairs

GOOD = stockholm("MF00009", ["ACGU-acgt", "AC.UUACGU"], "<<.....>>", ID="good")


def test_reads_plain_and_packed_files(tmp_path: Path) -> None:
    (tmp_path / "a.sto").write_text(seeds_text())
    (tmp_path / "a.sto.gz").write_bytes(gzip.compress(seeds_text().encode()))
    for name in ("a.sto", "a.sto.gz"):
        first, _, knot = read_stockholm(tmp_path / name)
        assert first.accession == "MF00001" and first.tags["TP"] == "Gene; tRNA;" and len(first.rows) == 12
        assert len(first.pairs) == HAIRPIN.count("<")
        assert {(11, 49), (12, 48)} <= set(map(tuple, knot.pairs.tolist()))


def test_letters_and_blocks_are_brought_to_one_form(tmp_path: Path) -> None:
    path = tmp_path / "a.sto"
    path.write_text(GOOD.replace("//", "r0/1-9 GG\nr1/1-9 ~n\n#=GC SS_cons ..\n//"))
    (found,) = read_stockholm(path)
    assert found.rows == ["ACGU-ACGUGG", "AC-UUACGU-N"] and found.columns["SS_cons"] == "<<.....>>.."


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (GOOD.replace("<<.....>>", "<<.....>."), 1, "SS_cons"),
        (GOOD.replace("AC.UUACGU", "AC.UUACG"), 1, "row r1/1-9 has 8 columns and the first row 9"),
        (GOOD.replace("<<.....>>", "<<...>>"), 1, "#=GC SS_cons has 7 columns"),
        ("# STOCKHOLM 1.0\n#=GF AC MF00009\n//\n", 1, "has no rows"),
        (GOOD.replace("AC.U", "AC%U"), 5, "holds '%'"),
        (GOOD.replace("r1/1-9 AC", "r1/1-9AC"), 5, "is no row of name and aligned sequence"),
        (GOOD.replace("//", ""), 1, "ends without '//'"),
    ],
)
def test_a_broken_family_is_named_and_the_next_one_read(tmp_path: Path, text: str, line: int, problem: str) -> None:
    path = tmp_path / "a.sto"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        list(read_stockholm(path))
    assert str(raised.value).startswith(f"{path}:{line}: family MF00009: ") and problem in str(raised.value)
    assert raised.value.hint
    if "ends" not in problem:
        path.write_text(text + seeds_text())
        errors: list[InputError] = []
        assert len(list(read_stockholm(path, errors.append))) == 3 and len(errors) == 1


@pytest.mark.parametrize(
    ("text", "what"), [("<!DOCTYPE html>\n", "a page of HTML"), (">a\nACGU\n", "FASTA"), ("", "holds no alignment")]
)
def test_other_files_are_told(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "a.sto"
    path.write_text(text)
    with pytest.raises(InputError, match=what):
        list(read_stockholm(path))


@given(st.permutations(range(30)), st.integers(0, 15))
def test_structure_lines_come_back(bases: list[int], count: int) -> None:
    pairs = as_pairs([(bases[2 * k], bases[2 * k + 1]) for k in range(count)])
    assert wuss_pairs(wuss(pairs, 30)).tolist() == pairs.tolist()


def test_alignments_come_back(tmp_path: Path) -> None:
    path = tmp_path / "a.sto"
    path.write_text(stockholm("MF00003", rows_of(KNOT, 3, seed=2), KNOT, ID="knot"))
    (first,) = read_stockholm(path)
    path.write_text(format_stockholm(first))
    (again,) = read_stockholm(path)
    assert (again.names, again.rows, again.columns) == (first.names, first.rows, first.columns)
