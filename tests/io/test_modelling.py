"""Inputs of 3D programs follow their rules."""

from __future__ import annotations

import re

import pytest

from rnafm_cli.errors import InputError
from rnafm_cli.io.modelling import format_3drna, format_secstruct, rosetta_files
from rnafm_cli.rna.pseudoknots import from_dot_bracket
from rnafm_cli.rna.records import StructureRecord

THREE_LAYERS = StructureRecord(
    "my/rna 1", "GGGAACCCAAUUUCCCAAAGGGUUGGG", from_dot_bracket("(((..[[[..{{{)))...]]]..}}}"), "", "", "x.dbn", 1
)


def test_3drna_input() -> None:
    sequence, structure = format_3drna(THREE_LAYERS).splitlines()
    assert sequence == THREE_LAYERS.sequence
    assert structure == "(((..[[[.....)))...]]]....."
    assert re.fullmatch(r"[AUGC]+", sequence) and re.fullmatch(r"[.()\[\]]+", structure)


def test_rosetta_input() -> None:
    files = rosetta_files(THREE_LAYERS)
    assert sorted(files) == ["my_rna_1.fasta", "my_rna_1.secstruct"]
    assert files["my_rna_1.fasta"] == f">my_rna_1\n{THREE_LAYERS.sequence.lower()}\n"
    structure, sequence = files["my_rna_1.secstruct"].splitlines()
    assert re.fullmatch(r"[.()\[\]{}]+", structure)
    assert structure == "(((..[[[..{{{)))...]]]..}}}"
    assert sequence == THREE_LAYERS.sequence.lower()


def test_rosetta_takes_canonical_pairs_only() -> None:
    record = StructureRecord("a", "GGGAAACAC", from_dot_bracket("(((...)))"))
    assert format_secstruct(record).splitlines()[0] == "(.(...).)"


@pytest.mark.parametrize("form", [format_3drna, format_secstruct])
def test_unknown_bases_are_refused(form) -> None:
    record = StructureRecord("a", "GGNAACC", from_dot_bracket("((...))"), "", "", "x.dbn", 4)
    with pytest.raises(InputError, match="x.dbn:4: record 'a': 'N' at position 3"):
        form(record)
