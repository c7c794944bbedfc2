from __future__ import annotations

import numpy as np
import pytest

from rnafm_cli.errors import InputError
from rnafm_cli.rna.records import SequenceRecord, StructureRecord


def test_header_and_place() -> None:
    record = SequenceRecord("a", "ACGU", "first one", source="x.fa", line=3)
    assert (record.header, record.where, len(record)) == ("a first one", "x.fa:3: record 'a'", 4)
    assert SequenceRecord("a", "ACGU").header == "a"
    assert SequenceRecord("a", "ACGU").where == "record 'a'"
    assert SequenceRecord("a", "ACGU", source="<stdin>").where == "<stdin>: record 'a'"


def test_structure_sorts_its_pairs() -> None:
    record = StructureRecord("a", "GGGAAACCC", np.array([[7, 1], [0, 8]]), "x", source="f", line=1)
    assert record.pairs.tolist() == [[0, 8], [1, 7]]
    assert record.dot_bracket == "((.....))"
    assert (record.header, record.where, len(record)) == ("a x", "f:1: record 'a'", 9)


def test_structures_compare_by_content() -> None:
    one = StructureRecord("a", "GAAAC", np.array([[0, 4]]))
    same = StructureRecord("a", "GAAAC", np.array([[4, 0]]), source="elsewhere")
    assert one == same and hash(one) == hash(same)
    assert one != StructureRecord("a", "GAAAC")
    assert one != "a"


def test_structure_refuses_what_is_no_structure() -> None:
    with pytest.raises(InputError, match="base 1 pairs more than once"):
        StructureRecord("a", "GAAAC", np.array([[0, 4], [0, 3]]))
    with pytest.raises(InputError, match="pair 1-6 lies outside a sequence of 5 nt"):
        StructureRecord("a", "GAAAC", np.array([[0, 5]]))
