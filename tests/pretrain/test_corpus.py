from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnafm_cli.errors import InputError
from rnafm_cli.pretrain.prepare import attributes, clean, clusters_of, read_records
from rnafm_cli.pretrain.shards import Sequences, write_shard
from rnafm_cli.rna.alphabet import IUPAC_LETTERS, NUCLEOTIDE


@given(st.text(alphabet=IUPAC_LETTERS.replace("N", ""), min_size=16, max_size=50))
def test_clean_letters_become_the_alphabets_tokens(sequence: str) -> None:
    expected = NUCLEOTIDE.encode(sequence)[1:-1].tobytes()
    assert clean(sequence.encode()) == expected
    # T is U, case and gaps mean nothing.
    messy = sequence.replace("U", "T").lower()[:2] + "-.\n " + sequence.replace("U", "t")[2:]
    assert clean(messy.encode()) == expected


@pytest.mark.parametrize(
    ("sequence", "reason"),
    [("ACGUACGUACGUACG", "too short"), ("ACGXU" * 4, "foreign letters"), ("ACGN" * 5, "mostly N"), ("", "too short")],
)
def test_reasons_to_drop_a_record(sequence: str, reason: str) -> None:
    assert clean(sequence.encode()) == reason


def test_a_fifth_of_n_is_still_good() -> None:
    assert isinstance(clean(b"ACGUN" * 4), bytes)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_records_stream_from_any_packing(tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "x.dat"
    path.write_bytes(pack(b"\n>a type=tRNA\nACGUACGU\nACGUACGU\r\n>b\n\n>c x\nUUUU"))
    records = list(read_records([path, path]))
    assert records[-1][0] == 2 * path.stat().st_size
    assert [header for _, header, _ in records] == [b"a type=tRNA", b"b", b"c x"] * 2
    assert clean(records[0][2]) == NUCLEOTIDE.encode("ACGU" * 4)[1:-1].tobytes()


def test_what_is_no_fasta_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("ACGU\n")
    with pytest.raises(InputError, match="x.txt: not a FASTA file"):
        list(read_records([path]))
    whole = gzip.compress(b">a\nACGU\n" * 1000)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="end early"):
        list(read_records([path]))


def test_attributes_of_a_header() -> None:
    assert attributes(b"id type=tRNA family=RF1 x=y=z", ("type", "family")) == ("tRNA", "RF1")
    assert attributes(b"type=no", ("type",)) == ("",)
    assert attributes(b"", ("type",)) == ("",)


def test_cluster_files_are_looked_up_by_member(tmp_path: Path) -> None:
    path = tmp_path / "clusters.tsv"
    path.write_text("a\ta\na\tb\nc\tc\n")
    entry = write_shard(tmp_path, 0, [b"\4" * 20] * 4, [b"a", b"b", b"c", b"d"], [0] * 4, [-1] * 4)
    corpus = Sequences(tmp_path, [entry["stem"]])
    (a, b, c, d), missing = clusters_of(corpus, path)
    assert a == b and len({a, c, d}) == 3
    assert missing == 1
    path.write_text("a\ta\nb\n")
    with pytest.raises(InputError, match="clusters.tsv:2"):
        clusters_of(corpus, path)
