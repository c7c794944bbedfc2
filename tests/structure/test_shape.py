from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnafm_cli.errors import InputError
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.evidence import ReactivityProfiles

HAIRPIN = SequenceRecord("hp/1", "GGGGAAAACCCC")
OTHER = SequenceRecord("other", "ACGU")


def profiles(tmp_path: Path, text: str) -> ReactivityProfiles:
    path = tmp_path / "x.shape"
    path.write_text(text)
    return ReactivityProfiles(path)


def test_rnafolds_two_columns(tmp_path: Path) -> None:
    found = profiles(tmp_path, "# made up\n1 0.25\n3\t1.5\n4 -1\n5\n6 NA\n12 0\n").of(HAIRPIN)
    assert found is not None
    assert found.shape == (12,)
    assert found[[0, 2, 11]].tolist() == [0.25, 1.5, 0.0]
    assert np.isnan(np.delete(found, [0, 2, 11])).all()


def test_shapemappers_map(tmp_path: Path) -> None:
    found = profiles(tmp_path, "1\t-999\t0\tG\n2\t0.31\t0.02\tG\n5\t1.2\t0.1\tA\n").of(HAIRPIN)
    assert found is not None
    assert found[[1, 4]].tolist() == [0.31, 1.2]
    assert np.isnan(found[0])


def test_letters_are_checked(tmp_path: Path) -> None:
    found = profiles(tmp_path, "1 G 0.5\n5 a 0.7\n").of(HAIRPIN)
    assert found is not None
    assert found[4] == 0.7
    with pytest.raises(InputError, match=r"'U' at position 1, the sequence has 'G'"):
        profiles(tmp_path, "1 T 0.5\n").of(HAIRPIN)


def test_a_profile_without_id_is_for_one_record(tmp_path: Path) -> None:
    single = profiles(tmp_path, "1 0.5\n")
    assert single.of(OTHER) is not None
    assert single.of(OTHER) is not None
    with pytest.raises(InputError, match="more than one record"):
        single.of(HAIRPIN)


def test_many_records(tmp_path: Path) -> None:
    many = profiles(tmp_path, ">hp/1 first\n1 0.5\n>nowhere\n1 1\n")
    found = many.of(HAIRPIN)
    assert found is not None
    assert found[0] == 0.5
    assert many.of(OTHER) is None
    assert many.unused() == ["nowhere"]


def test_a_folder_of_profiles(tmp_path: Path) -> None:
    (tmp_path / "hp_1.shape").write_text("position\tvalue\n1\t0.5\n")
    (tmp_path / "other.dat").write_text("2,0.25\n")
    folder = ReactivityProfiles(tmp_path)
    hairpin, other = folder.of(HAIRPIN), folder.of(OTHER)
    assert hairpin is not None
    assert other is not None
    assert hairpin[0] == 0.5
    assert other[1] == 0.25
    assert folder.unused() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no reactivities"),
        (">hp/1\nGGGGAAAACCCC\n", "no position|holds no reactivities"),
        ("These are notes about\nthe reactivities of an RNA.\n", "no position"),
        ("Only one line of words\n", "x.shape:1: holds no reactivities"),
        (">hp/1\n", "x.shape:1: holds no reactivities of 'hp/1'"),
        (">hp/1\n1 0.5\n>other\n", "x.shape:3: holds no reactivities of 'other'"),
        ("position value\n", "holds no reactivities"),
        ("1 0.5\n1 0.6\n", "x.shape:2: position 1 appears twice"),
        ("1 0.5\nzwei 0.6\n", "x.shape:2: 'zwei' is no position"),
        ("0 0.5\n", "x.shape:1: '0' is no position"),
        ("1 high\n", "x.shape:1: 'high' is no reactivity"),
        ("1 0.5 0.6\n", "x.shape:1: 3 columns"),
        (">\n1 0.5\n", "x.shape:1: a header without an id"),
        (">a\n1 0.5\n>a\n1 0.5\n", "x.shape:3: reactivities of 'a' again, beside .*x.shape:1"),
        ("99 0.5\n", "position 99 in a sequence of 12 nt"),
    ],
)
def test_bad_profiles_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        profiles(tmp_path, text).of(HAIRPIN)


def test_packed_profiles_of_ids_with_dots_are_found(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "NR_003287.4.shape.gz").write_bytes(gzip.compress(b"1 0.5\n"))
    (tmp_path / "NR_003287.5.shape").write_text("1 0.25\n")
    profiles = ReactivityProfiles(tmp_path)
    for name, value in (("NR_003287.4", 0.5), ("NR_003287.5", 0.25)):
        found = profiles.of(SequenceRecord(name, "AC"))
        assert found is not None and found[0] == value
    assert profiles.unused() == []
