"""Names from ids: safe, bounded, distinct."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnafm_cli.errors import InputError
from rnafm_cli.io.names import DistinctNames, file_stem, hdf5_key, rename_duplicates
from rnafm_cli.rna.records import SequenceRecord


def test_viennarna_rule() -> None:
    assert file_stem("s/1|a b") == "s_1_a_b"
    assert file_stem('a\\b?c%d*e:f"g<h>i') == "a_b_c_d_e_f_g_h_i"


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_names_are_usable(identifier: str) -> None:
    name = file_stem(identifier)
    assert name and "/" not in name and not name.startswith(".") and len(name.encode()) <= 200
    assert "/" not in hdf5_key(identifier) and hdf5_key(identifier) not in (".", "..")


def test_long_ids_stay_apart() -> None:
    assert file_stem("x" * 300 + "1") != file_stem("x" * 300 + "2")


def test_collision_names_both_ids() -> None:
    names = DistinctNames(file_stem, kind="file name")
    assert names.claim(SequenceRecord("a/b", "A")) == "a_b"
    with pytest.raises(InputError, match="record 'a:b': its file name 'a_b' is also that of the record 'a/b'"):
        names.claim(SequenceRecord("a:b", "A"))
    with pytest.raises(InputError, match="record 'a/b': the id appears twice"):
        names.claim(SequenceRecord("a/b", "A"))


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "a_2", "a_3", "a_2_2"]), max_size=12))
def test_renamed_records_are_distinct(ids: list[str]) -> None:
    renamed = list(rename_duplicates(SequenceRecord(name, "A") for name in ids))
    found = [record.id for record in renamed]
    assert len(set(found)) == len(ids)
    assert all(new == old or new.startswith(f"{old}_") for new, old in zip(found, ids, strict=True))


def test_first_keeps_its_id() -> None:
    records = [SequenceRecord(name, "A") for name in ("a", "a", "b", "a")]
    assert [record.id for record in rename_duplicates(records)] == ["a", "a_2", "b", "a_3"]
