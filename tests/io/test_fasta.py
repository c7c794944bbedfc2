"""What FASTA intake accepts, converts and refuses."""

from __future__ import annotations

import gzip
import io
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnafm_cli.errors import InputError, raise_rejected
from rnafm_cli.io.fasta import IntakeReport, as_records, read_fasta
from rnafm_cli.rna.alphabet import IUPAC_LETTERS
from rnafm_cli.rna.records import SequenceRecord


@pytest.fixture
def fasta(tmp_path: Path):
    def write(content: str | bytes, name: str = "x.fa") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def sequences(path: Path, **options) -> list[tuple[str, str]]:
    return [(record.id, record.sequence) for record in read_fasta([path], **options)]


def problem(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        list(read_fasta([path]))
    assert caught.value.exit_code == 3
    return caught.value


def test_record_fields(fasta) -> None:
    path = fasta("\n>a first one\nACG\nUAC\n\n> b\nG\n>c\ttabbed text\nC\n")
    records = list(read_fasta([path]))
    assert records == [
        SequenceRecord("a", "ACGUAC", "first one", str(path), 2),
        SequenceRecord("b", "G", "", str(path), 6),
        SequenceRecord("c", "C", "tabbed text", str(path), 8),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b">a\r\nAC\r\nGU\r\n>b\r\nNN\r\n",
        b"\xef\xbb\xbf>a\nACGU\n>b\nNN",
        b"\n\n>a\n\nAC\n\nGU\n\n>b\nNN\n\n\n",
        b">a\rACGU\r>b\rNN\r",
        b"\xef\xbb\xbf>a\nAC\nGU\n\xef\xbb\xbf>b\nNN\n",
        b">a\r\nACGU\r\n>b\r\nNN\r\n\x1a",
        b"; old style\n>a\n;remark\nAC GU\n>b\n\tN N \n",
    ],
)
def test_tolerated_text(fasta, content: bytes) -> None:
    assert sequences(fasta(content)) == [("a", "ACGU"), ("b", "NN")]


def test_conversions_are_counted_in_one_line(fasta) -> None:
    path = fasta(">a\nACGT\n>b\nacgu\n>c\nAC--G.U\n>d\nACGU\n>e\n" + IUPAC_LETTERS + "\n")
    told = list[str]()
    counts = IntakeReport(told.append)
    records = sequences(path, report=counts)
    assert records[:4] == [("a", "ACGU"), ("b", "ACGU"), ("c", "ACGU"), ("d", "ACGU")]
    assert records[4] == ("e", IUPAC_LETTERS)
    assert counts == IntakeReport(records=5, t_to_u=1, lower=1, gapped=1, gap_letters=3)
    assert counts.summary() == "5 records read: T read as U in 1, lower case raised in 1, 3 gaps removed from 1"
    assert len(told) == 1 and "x.fa:5: record 'c': gaps" in told[0]


def test_clean_input_has_no_summary(fasta) -> None:
    counts = IntakeReport()
    list(read_fasta([fasta(">a\nACGU\n")], report=counts))
    assert counts.summary() == ""


def test_sources_are_read_in_turn(fasta, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = fasta(">a\nA\n", "1.fa"), fasta(gzip.compress(b">b\nC\n"), "2.fa")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b">c\nG\n")))
    records = list(read_fasta([one, "-", two]))
    assert [(record.id, record.source) for record in records] == [("a", str(one)), ("c", "stdin"), ("b", str(two))]


def test_no_path_is_stdin() -> None:
    code = (
        "from rnafm_cli.io.fasta import read_fasta\nfor r in read_fasta([]): assert r.where == \"stdin:1: record 'a'\""
    )
    subprocess.run([sys.executable, "-c", code], input=b">a\nACGT\n", check=True)


@pytest.mark.parametrize("letter", ["*", "7", "Z", "Ä", "X", "!"])
def test_foreign_letter_is_located(fasta, letter: str) -> None:
    error = problem(fasta(f">ok\nACGU\n>bad one\nACGU\n\nACG{letter}U\n>later\nA\n"))
    assert "x.fa:6: record 'bad', column 4" in error.message
    assert letter in error.message


def test_position_numbers_are_told(fasta) -> None:
    assert problem(fasta(">a\n  1 ACGU ACGU 10\n")).hint == "write sequences without position numbers"


def test_protein_is_refused_kindly(fasta) -> None:
    error = problem(fasta(">p\nMKVLAAGIVGLCAKEFQWERTYIPASDFGHKLCVNM\n"))
    assert "protein" in error.message and "'L'" in error.message
    assert error.hint is not None and "transcript" in error.hint


def test_modified_bases_are_no_protein(fasta) -> None:
    error = problem(fasta(">t\n" + "GCGGAUUUAGCUCAGDDGGGAGAGC" * 3 + "PI\n"))
    assert "'P' is not a nucleotide" in error.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "x.fa: is empty"),
        ("\n \n\n", "x.fa: is empty"),
        (">a\n>b\nACGU\n", "x.fa:1: record 'a': has no sequence"),
        (">a\nACGU\n>b\n", "x.fa:3: record 'b': has no sequence"),
        (">a\n--..\n", "x.fa:1: record 'a': has only gaps"),
        (">\nACGU\n", "x.fa:1: record '': the header has no name"),
        ("ACGU\n", "x.fa:1: a sequence without a FASTA header"),
        ("@read\nACGU\n+\nIIII\n", "x.fa:1: looks like FASTQ"),
        ("LOCUS       AB1  4 bp\nORIGIN\n  1 acgu\n//\n", "x.fa:1: looks like GenBank"),
        ("ID   X5; SV 1; linear\n", "x.fa:1: looks like EMBL"),
        ("CLUSTAL W (1.83)\n\na  ACGU\n", "x.fa:1: looks like a Clustal alignment"),
        ("# STOCKHOLM 1.0\na ACGU\n//\n", "x.fa:1: looks like a Stockholm alignment"),
        ("##gff-version 3\n", "x.fa:1: looks like GFF"),
        ('{"id": "a", "sequence": "ACGU"}\n', "x.fa:1: looks like JSON"),
        ("@SQ\tSN:a\tLN:4\n", "x.fa:1: looks like SAM"),
        (">a\nAC\u00a0GU\n", "x.fa:2: record 'a', column 3: '\u00a0' (U+00A0) is not a nucleotide"),
        (">a\n\u0410CGU\n", "x.fa:2: record 'a', column 1: '\u0410' (U+0410) is not a nucleotide"),
        ("name,letters\n", "x.fa:1: is not FASTA"),
        ("id,sequence\na,ACGU\nb,AC!U\n", "x.fa:3: record 'b', column 3: '!' is not a nucleotide"),
        ("id,sequence\na\n", "x.fa:2: 1 cells under 2 columns"),
        ("id\tsequence\n", "x.fa: is empty"),
        (">a\nACGU\n((.))\n", "x.fa:3: record 'a', column 1: '(' in a sequence"),
        (b"\x01\x02\x03\x04", "x.fa:1: holds binary data"),
        (b"\x7fELF\x02\x01\x00\x00", "x.fa: holds binary data"),
        (b">a\nAC\xff\xfe\x9cGU\n", "x.fa:2: record 'a', column 3: binary data"),
        (b">a\nACGU\n>b\nAC\x00GU\n", "x.fa: holds binary data, not text; reading stopped in the record 'b' of line 3"),
    ],
)
def test_bad_input(fasta, content: str | bytes, said: str) -> None:
    assert said in problem(fasta(content)).message


def test_random_bytes_are_never_records(fasta) -> None:
    problem(fasta(random.Random(1).randbytes(100_000)))
    problem(fasta(gzip.compress(random.Random(2).randbytes(100_000))))


def test_unreadable_paths_fail_before_any_record(fasta, tmp_path: Path) -> None:
    good = fasta(">a\nACGU\n")
    for bad, said in ((tmp_path / "none.fa", "no such file"), (tmp_path, "is a directory")):
        with pytest.raises(InputError, match=said):
            next(read_fasta([good, bad]))


def test_forbidden_path(fasta) -> None:
    path = fasta(">a\nACGU\n")
    path.chmod(0)
    user = os.geteuid()
    try:
        os.seteuid(user or 65534)  # root could read it all the same
        error = problem(path)
    finally:
        os.seteuid(user)
    assert "cannot be read (Permission denied)" in error.message


def test_named_pipe_is_not_drained_by_the_check(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'w').write('>a\\nACGU\\n')"])
    assert sequences(pipe) == [("a", "ACGU")]
    assert writer.wait(10) == 0


def test_skip_leaves_out_bad_records(fasta) -> None:
    path = fasta(">a\nACGU\n>b\nAC*U\n>c\n>d\nGG\n")
    counts, told = IntakeReport(), list[InputError]()
    assert sequences(path, reject=told.append, report=counts) == [("a", "ACGU"), ("d", "GG")]
    assert counts.records == 2 and len(told) == 2
    assert "x.fa:4" in told[0].message and "x.fa:5" in told[1].message


def test_empty_file_among_others(fasta) -> None:
    paths = [fasta("", "empty.fa"), fasta(">a\nA\n", "full.fa")]
    with pytest.raises(InputError, match="empty.fa: is empty"):
        list(read_fasta(paths))
    told = list[InputError]()
    assert len(list(read_fasta(paths, reject=told.append))) == 1
    assert [error.message for error in told] == [f"{paths[0]}: is empty"]


@pytest.mark.parametrize("reject", [raise_rejected, list[InputError]().append])
def test_truncated_gzip_yields_complete_records_first(fasta, reject) -> None:
    rng = random.Random(3)
    expected = [(f"r{k}", "".join(rng.choices("ACGU", k=90))) for k in range(3000)]
    packed = gzip.compress("".join(f">{name}\n{seq}\n" for name, seq in expected).encode())
    path = fasta(packed[: len(packed) // 2], "cut.fa.gz")
    got = []
    with pytest.raises(InputError, match="gzip data end early.*reading stopped in the record 'r") as caught:
        for record in read_fasta([path], reject=reject):
            got.append((record.id, record.sequence))
    assert 500 < len(got) < 3000
    assert got == expected[: len(got)]
    assert f"'r{len(got)}'" in caught.value.message


def test_unusual_sizes(fasta) -> None:
    long = "".join(random.Random(4).choices("ACGU", k=100_000))
    wrapped = "\n".join(long[k : k + 60] for k in range(0, len(long), 60))
    path = fasta(f">one\nA\n>wrapped\n{wrapped}\n>line\n{long}\n>n\n{'N' * 500}\n")
    assert sequences(path) == [("one", "A"), ("wrapped", long), ("line", long), ("n", "N" * 500)]


def test_long_header_line(fasta) -> None:
    header = "a " + "x" * 200_000
    (record,) = read_fasta([fasta(f">{header}\nACGU\n")])
    assert record.header == header


def test_memory_holds_one_record(tmp_path: Path) -> None:
    """A 20 MB file read in a process that may grow by far less."""
    path = tmp_path / "big.fa"
    with path.open("w") as out:
        for k in range(1000):
            out.write(f">r{k}\n" + "ACGU" * 5000 + "\n")
    code = """if True:
        import resource, sys
        from rnafm_cli.io.fasta import read_fasta
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert sum(1 for _ in read_fasta([sys.argv[1]])) == 1000
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 8_000  # KiB


def test_ten_thousand_short_records(fasta) -> None:
    path = fasta("".join(f">r{k}\nACGUACGUACGUACGUACGU\n" for k in range(10_000)))
    assert sum(len(record) for record in read_fasta([path])) == 200_000


def test_records_of_python() -> None:
    assert list(as_records([("a some text", "acgt nn")])) == [SequenceRecord("a", "ACGUNN", "some text")]
    for sequence, said in (("AC1", "record 'a', column 3: '1'"), ("", "record 'a': has no sequence")):
        with pytest.raises(InputError, match=said):
            list(as_records([("a", sequence)]))


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)
letters = st.text(IUPAC_LETTERS, min_size=1, max_size=200)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(names, letters), min_size=1, max_size=5), st.integers(1, 80))
def test_written_records_read_back(tmp_path_factory: pytest.TempPathFactory, items, width: int) -> None:
    path = tmp_path_factory.mktemp("round") / "x.fa"
    records = [SequenceRecord(name, sequence, "some text") for name, sequence in items]
    wrapped = [re.sub(f"(.{{{width}}})", r"\1\n", record.sequence) for record in records]
    path.write_text("".join(f">{r.header}\n{lines}\n" for r, lines in zip(records, wrapped, strict=True)))
    back = [(r.id, r.sequence, r.description) for r in read_fasta([path])]
    assert back == [(r.id, r.sequence, r.description) for r in records]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_give_records_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "x.fa"
    path.write_bytes(b">a\n" + content)
    try:
        records = list(read_fasta([path]))
    except InputError as error:
        assert "x.fa" in error.message
    else:
        assert records and all(record.sequence.strip(IUPAC_LETTERS) == "" for record in records)


def test_headers_that_are_not_utf8_are_told_once(fasta) -> None:
    told = list[str]()
    path = fasta(">S\xe9 x\nAC\n>S\xf6 y\nGU\n".encode("latin-1"))
    assert sequences(path, report=IntakeReport(told.append)) == [("S\ufffd", "AC"), ("S\ufffd", "GU")]
    assert len(told) == 1 and "x.fa:1: record 'S\ufffd': the header is not UTF-8" in told[0]


def test_a_complex_is_no_single_rna() -> None:
    with pytest.raises(InputError, match="'&' joins two strands.*RNAcofold"):
        list(as_records([("dimer", "GGGG&CCCC")]))


def test_python_takes_a_bare_sequence_and_rejects_what_is_none() -> None:
    assert [record.sequence for record in as_records("GGGGAAAACCCC")] == ["GGGGAAAACCCC"]
    told: list[InputError] = []
    given = [("a", "ACGU"), ("b", ""), ("c", "AC!U"), ("d", float("nan")), "GGGG"]
    assert [record.id for record in as_records(given, reject=told.append)] == ["a", "seq5"]  # type: ignore[arg-type]
    assert len(told) == 3 and "nan is no sequence" in told[2].message
    with pytest.raises(InputError, match="no such file"):
        list(as_records("seqs.fa"))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("sequence,label\nACGT,1\nacgu,0\n", ["seq1", "seq2"]),
        ("utr,rl\nACGT,6.5\nACGU,7\n", ["seq1", "seq2"]),
        ("# of mine\nname\tseq\na b\tACGT\n\nc\tAC GU\n", ["a", "c"]),
        ('"id";"Sequence"\n"a";"ACGU"\n"b";"A-CGU"\n', ["a", "b"]),
        ("sequence\nACGU\nACGU\n", ["seq1", "seq2"]),
    ],
)
def test_tables_of_sequences(fasta, text: str, ids: list[str]) -> None:
    found = list(read_fasta([fasta(text)]))
    assert [(record.id, record.sequence) for record in found] == [(name, "ACGU") for name in ids]
