"""Inputs of 3D programs follow their rules."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from rnafm_cli.errors import InputError
from rnafm_cli.io.map_output import PairRow, format_casprr
from rnafm_cli.io.structure_output import OUTPUT_FORMATS
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.pairs import from_dot_bracket
from rnafm_cli.rna.records import SequenceRecord, StructureRecord
from rnafm_cli.structure.map_files import read_maps


def text(name: str, record: StructureRecord, number: int = 0) -> str:
    return OUTPUT_FORMATS[name][number].text(record, None)


THREE_LAYERS = StructureRecord(
    "my/rna 1", "GGGAACCCAAUUUCCCAAAGGGUUGGG", from_dot_bracket("(((..[[[..{{{)))...]]]..}}}"), "", "", "x.dbn", 1
)


def test_3drna_input() -> None:
    sequence, structure = text("3drna", THREE_LAYERS).splitlines()
    assert sequence == THREE_LAYERS.sequence
    assert structure == "(((..[[[.....)))...]]]....."
    assert re.fullmatch(r"[AUGC]+", sequence) and re.fullmatch(r"[.()\[\]]+", structure)


def test_rosetta_input() -> None:
    assert text("rosetta", THREE_LAYERS, 1) == f">my_rna_1\n{THREE_LAYERS.sequence.lower()}\n"
    structure, sequence = text("rosetta", THREE_LAYERS).splitlines()
    assert re.fullmatch(r"[.()\[\]{}]+", structure)
    assert structure == "(((..[[[..{{{)))...]]]..}}}"
    assert sequence == THREE_LAYERS.sequence.lower()


def test_rosetta_takes_canonical_pairs_only() -> None:
    record = StructureRecord("a", "GGGAAACAC", from_dot_bracket("(((...)))"))
    assert text("rosetta", record).splitlines()[0] == "(.(...).)"


@pytest.mark.parametrize("name", ["3drna", "rosetta"])
def test_unknown_bases_are_refused(name: str) -> None:
    record = StructureRecord("a", "GGNAACC", from_dot_bracket("((...))"), "", "", "x.dbn", 4)
    with pytest.raises(InputError, match="x.dbn:4: record 'a': 'N' at position 3"):
        text(name, record)


def test_contacts_in_casps_format_come_back(tmp_path: Path) -> None:
    record = SequenceRecord("a", "GGGGAAAACCCC")
    rows = [PairRow(1, 12, "G", "C", 0.75), PairRow(2, 11, "G", "C", 0.5)]
    chain = Chain("a", record.sequence, contact_LL=np.zeros((12, 12), dtype=np.int8))
    whole = format_casprr(record, rows)
    for written in (whole, whole.replace(" 0 8 ", " "), whole + "MODEL 2\n3 10 0 8 0.9\nEND\n"):
        (tmp_path / "a.rr").write_text(written)
        found_LL = read_maps(tmp_path / "a.rr", [chain], "contact")["a"]
        assert np.argwhere(np.triu(found_LL)).tolist() == [[0, 11], [1, 10]]
        assert found_LL[0, 11] == found_LL[11, 0] == 0.75
    (tmp_path / "a.rr").write_text("PFRMAT RR\nTARGET a\n1 12 0 8\n")
    with pytest.raises(InputError, match="a.rr:3: 4 columns"):
        read_maps(tmp_path / "a.rr", [chain], "contact")
