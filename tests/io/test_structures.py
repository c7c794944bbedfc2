"""Structure files: exact output, round trips, tolerated sloppiness, located errors."""

from __future__ import annotations

import gzip
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.vienna import vienna_records

from rnafm_cli.errors import InputError, RnafmWarning
from rnafm_cli.io.structure_output import OUTPUT_FORMATS, format_ct, format_dotbracket
from rnafm_cli.io.structures import STRUCTURE_FORMATS, read_bpseq, read_ct, read_dotbracket, read_structures
from rnafm_cli.rna.pairs import from_dot_bracket, to_dot_bracket
from rnafm_cli.rna.records import StructureRecord

HAIRPIN = StructureRecord("hp", "GGGAAACCC", from_dot_bracket("(((...)))"), "a hairpin")
WRITTEN = ["tsv", "ct", "bpseq", "dbn"]


@st.composite
def structures(draw: st.DrawFn, *, letters: str = "ACGU") -> StructureRecord:
    """Any pairing of any bases: nested, knotted in any number of layers, or none; from one nucleotide on."""
    length = draw(st.integers(1, 40))
    sequence = draw(st.text(letters, min_size=length, max_size=length))
    order = draw(st.permutations(range(length)))
    count = draw(st.integers(0, length // 2))
    pairs = np.array(order[: 2 * count], dtype=np.int64).reshape(-1, 2)
    return StructureRecord("rna1", sequence, pairs)


def written(format_name: str, *records: StructureRecord) -> str:
    (form,) = OUTPUT_FORMATS[format_name]
    return form.header + "".join(form.text(record, None) for record in records)


def back(format_name: str, text: str) -> list[StructureRecord]:
    return list(STRUCTURE_FORMATS[format_name].read(io.StringIO(text), "x"))


@pytest.mark.parametrize("format_name", ["ct", "bpseq", "tsv"])
@settings(deadline=None)
@given(record=structures())
def test_round_trip(format_name: str, record: StructureRecord) -> None:
    assert back(format_name, written(format_name, record)) == [record]


@settings(deadline=None)
@given(structures())
def test_dot_bracket_round_trip_with_letters(record: StructureRecord) -> None:
    structure = to_dot_bracket(record.pairs, len(record), letters=True)
    text = f">{record.id}\n{record.sequence}\n{structure}\n"
    if structure[0].isalpha():  # can follow a sequence only where brackets tell it from one
        return
    assert back("dbn", text) == [record]


@pytest.mark.parametrize(
    "structure",
    [".", "....", "((((..))))", "((([[[)))]]]", "(((([[[{{{))))...]]]...}}}", "((.[[.{{.<<.)).]].}}.>>"],
)
@pytest.mark.parametrize("format_name", WRITTEN)
def test_known_structures_in_every_format(format_name: str, structure: str) -> None:
    record = StructureRecord("id.1", ("ACGU" * 10)[: len(structure)], from_dot_bracket(structure))
    (again,) = back(format_name, written(format_name, record))
    assert again == record
    assert again.dot_bracket == structure


@pytest.mark.parametrize("format_name", WRITTEN)
def test_several_records_and_sniffing(tmp_path: Path, format_name: str) -> None:
    records = [
        HAIRPIN,
        StructureRecord("one", "A"),
        StructureRecord("knot", "ACGUACGUACGU", from_dot_bracket("((([[[)))]]]"), "x y"),
    ]
    content = written(format_name, *records).encode()
    for name, packed in (("plain", content), ("packed", gzip.compress(content))):
        (tmp_path / name).write_bytes(packed)
        found = list(read_structures(tmp_path / name))
        assert [record.id for record in found] == ["hp", "one", "knot"]
        assert [record.dot_bracket for record in found] == ["(((...)))", ".", "((([[[)))]]]"]
        assert [record.sequence for record in found] == [record.sequence for record in records]


def test_dot_bracket_is_three_plain_lines() -> None:
    record = StructureRecord("a|b", "GGRNAACCC", from_dot_bracket("(((...)))"), "two words")
    assert format_dotbracket(record) == ">a|b two words\nGGNNAACCC\n(((...)))\n"


def test_ct_columns() -> None:
    lines = format_ct(HAIRPIN).splitlines()
    assert lines[0] == "    9  hp a hairpin"
    assert lines[1] == "    1 G       0    2    9    1"
    assert lines[4] == "    4 A       3    5    0    4"
    assert lines[9] == "    9 C       8    0    1    9"


def test_bpseq_rows() -> None:
    assert written("bpseq", HAIRPIN).startswith("# rnafm hp a hairpin\n1 G 9\n2 G 8\n3 G 7\n4 A 0\n")


@pytest.mark.parametrize(
    "text",
    [
        ">hp a hairpin\nGGGAAACCC\n(((...))) ( -1.20)\n",
        ">hp a hairpin\nGGGAAACCC\n(((...)))\n# score 0.9\n",
        "# made by hand\n;old style\n\n>hp a hairpin\n\nGGGAA\nACCC\n\n(((..\n.)))\n",
        ">hp a hairpin\ngggaaaccc\n(((...))) [ -1.20]\n(((,,.||} [ -1.51]\n(((...))) { -1.20 d=0.93}\n"
        " frequency of mfe structure in ensemble 0.84; ensemble diversity 1.62\n",
        ">hp a hairpin\nGGG AAA CCC\n(((...)))",
        ">hp a hairpin\nGGGAAACCC\n<<<...\n>>>\n",
    ],
)
def test_sloppy_dot_bracket(text: str) -> None:
    assert list(read_dotbracket(io.StringIO(text), "x")) == [HAIRPIN]


def test_strand_breaks_stay() -> None:
    text = ">dimer\nGGGGAAAA&UUUU&CCCC\n((((((((&))))&))))\n"
    (record,) = read_dotbracket(io.StringIO(text), "x")
    assert (record.sequence, record.breaks) == ("GGGGAAAAUUUUCCCC", (8, 12))
    assert format_dotbracket(record) == text
    with pytest.raises(InputError, match="no base on one side"):
        list(read_dotbracket(io.StringIO(">d\nACGU&\n....&\n"), "x"))


def test_headerless_dot_bracket_is_numbered() -> None:
    text = "GGGAAACCC\n(((...)))\nACGT\n....\n>named\nAC\n..\n"
    found = list(read_dotbracket(io.StringIO(text), "x"))
    assert [(record.id, record.sequence) for record in found] == [
        ("seq1", "GGGAAACCC"),
        ("seq2", "ACGU"),
        ("named", "AC"),
    ]


def test_wuss_beside_its_sequence() -> None:
    (record,) = read_dotbracket(io.StringIO(">a\nGGGAAACCC\n<<<_-,>>>\n"), "x")
    assert record.pairs.tolist() == [[0, 8], [1, 7], [2, 6]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (">a\nGGGAAACCC\n(((...))\n", "x:1: record 'a': sequence of 9, structure of 8"),
        (">a\nGGGAAACCC\n(((...))))\n", "x:1: record 'a': sequence of 9, structure of 10"),
        (">a\nGGGAAACCC\n(((....))\n", "x:1: record 'a': unbalanced"),
        (">a\nGGGAAACCC\n>b\nA\n.\n", "x:1: record 'a': has no structure"),
        (">b\nA\n.\n>a\n", "x:4: record 'a': has no sequence"),
        ("((...))\n", "x:1: a structure without a sequence"),
        (">a\nGG1AAACCC\n(((...)))\n", "x:1: record 'a': '1' is not a base"),
        (">a\nGG&GAAACCC\n(((&...)))\n", "strand breaks"),
    ],
)
def test_bad_dot_bracket(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        list(read_dotbracket(io.StringIO(text), "x"))
    assert said in caught.value.message


ROWS = ["1 G 0 2 4 1", "2 A 1 3 0 2", "3 A 2 4 0 3", "4 C 3 0 1 4"]


@pytest.mark.parametrize(
    ("text", "name", "description"),
    [
        ("4  ENERGY = -0.5  myrna of mine\n" + "\n".join(ROWS), "myrna", "of mine"),
        ("4 dG = -0.5 myrna\n" + "\n".join(ROWS), "myrna", ""),
        ("4\tmyrna\n" + "\n".join(row.replace(" ", "\t") for row in ROWS), "myrna", ""),
        ("4 myrna\n" + "\n".join([*ROWS[:3], "4 C 3 5 1 4"]), "myrna", ""),
        ("4 myrna\n" + "\n".join(row.rsplit(" ", 1)[0] for row in ROWS), "myrna", ""),
        ("4 myrna\n" + "\n".join(row + " 0 0" for row in ROWS), "myrna", ""),
        (">seq length: 4\t seq name: myrna\n" + "\n".join(ROWS), "myrna", ""),
        ("# remark\n\n4\n" + "\n".join(ROWS).lower() + "\n\n", "file", ""),
    ],
)
def test_sloppy_ct(text: str, name: str, description: str) -> None:
    expected = StructureRecord(name, "GAAC", np.array([[0, 3]]), description)
    assert list(read_ct(io.StringIO(text), "some/file.ct")) == [expected]


def test_ct_letters() -> None:
    text = "3 x\n1 t 0 2 0 1\n2 X 1 3 0 2\n3 n 2 0 0 3\n"
    (record,) = read_ct(io.StringIO(text), "x")
    assert record.sequence == "UNN"


def test_ct_with_several_structures_of_one_rna() -> None:
    unfolded = [row.split()[:4] + ["0", row.split()[5]] for row in ROWS]
    text = "4 r\n" + "\n".join(ROWS) + "\n4 r\n" + "\n".join(map(" ".join, unfolded)) + "\n"
    found = list(read_ct(io.StringIO(text), "x"))
    assert [(record.id, record.dot_bracket) for record in found] == [("r", "(..)"), ("r", "....")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4 r\n" + "\n".join(ROWS[:3]), "x:1: 4 bases announced, 3 found"),
        ("4 r\n" + "\n".join([ROWS[0], *ROWS[2:]]), "x:3: index 3 where 2 is expected"),
        ("4 r\n" + "\n".join([*ROWS[:3], "4 C 3 0 0 4"]), "x:2: base 1 pairs with 4, but base 4 is unpaired"),
        ("4 r\n" + "\n".join([*ROWS[:3], "4 C 3 0 2 4"]), "x:2: base 1 pairs with 4, but base 4 pairs with 2"),
        ("4 r\n" + "\n".join(["1 G 0 2 9 1", *ROWS[1:]]), "x:2: base 1 pairs with 9, there are 4 bases"),
        ("4 r\n" + "\n".join(["1 G 0 2 1 1", *ROWS[1:]]), "x:2: base 1 pairs with itself"),
        ("4 r\n" + "\n".join([*ROWS[:3], "4 C 3"]), "x:5: base 4 of 4 is expected here"),
        ("r\n" + "\n".join(ROWS), "x:1: the number of bases is expected here"),
        ("2 r\n" + "\n".join(ROWS), "x:2: base 1 pairs with 4, there are 2 bases"),
    ],
)
def test_bad_ct(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        list(read_ct(io.StringIO(text), "x"))
    assert said in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "1 G 4\n2 A 0\n3 A 0\n4 C 1\n",
        "# comment\n1\tg\t4\n2\ta\t0\n3\ta\t0\n4\tc\t1\n",
        "Filename: d.5.a.bpseq\nOrganism: Aquifex\nAccession: X\nCitation: 12 of 3\n1 G 4\n2 A 0\n3 A 0\n4 C 1\n",
        "1 G 4 # name= x\n2 A 0 # name= x\n3 A 0\n4 C 1 7\n\n",
        "1 G 4\n2 A -1\n3 A -1\n4 C 1",
    ],
)
def test_sloppy_bpseq(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.bpseq").write_text(text)
    assert list(read_structures(tmp_path / "file.bpseq")) == [StructureRecord("file", "GAAC", np.array([[0, 3]]))]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 G 3\n1 A -1\n2 A -1\n3 C 0\n", "x:1: base 0, bases count from 1"),
        ("1 G 4\n2 A 0\n4 C 1\n", "x:3: index 4 where 3 is expected"),
        ("1 G 2\n2 C 0\n", "x:1: base 1 pairs with 2, but base 2 is unpaired"),
        ("1 G 0\nnonsense\n", "x:2: base 2 is expected here"),
    ],
)
def test_bad_bpseq(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        list(read_bpseq(io.StringIO(text), "x"))
    assert said in caught.value.message


def test_table_of_structures(tmp_path: Path) -> None:
    path = tmp_path / "set.tsv.gz"
    path.write_bytes(gzip.compress(b"name\tfamily\tsequence\tpairs\nr1\tRF00005\tGGAACC\t((..))\nr2\t-\tACGT\tA..a\n"))
    found = list(read_structures(path))
    assert [(record.id, record.family, record.sequence) for record in found] == [
        ("r1", "RF00005", "GGAACC"),
        ("r2", "", "ACGU"),
    ]
    assert found[1].pairs.tolist() == [[0, 3]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name\tsequence\tpairs\nr\tACGU\t...\n", "x.tsv:2: record 'r': sequence of 4, structure of 3"),
        ("name\tsequence\tpairs\nr\tACGU\t(...\n", "x.tsv:2: record 'r': unbalanced"),
        ("name\tsequence\tpairs\nr\tACGU\n", "x.tsv:2: 2 cells under 3 columns"),
        ("name\tpairs\nr\t....\n", "x.tsv: is no secondary structure file"),
    ],
)
def test_bad_table(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.tsv").write_text(text)
    with pytest.raises(InputError) as caught:
        list(read_structures(tmp_path / "x.tsv"))
    assert said in caught.value.message


def test_bprna_st_file(tmp_path: Path) -> None:
    text = (
        "#Name: bpRNA_1\n#Length: 9\n#PageNumber: 1\nGGGAAACCC\n(((...)))\nSSSHHHSSS\nNNNNNNNNN\nS1 1..3 GGG 7..9 CCC\n"
    )
    (tmp_path / "a.st").write_text(text)
    (record,) = read_structures(tmp_path / "a.st")
    assert (record.id, record.sequence, record.dot_bracket) == ("bpRNA_1", "GGGAAACCC", "(((...)))")


def test_folder_of_files(tmp_path: Path) -> None:
    (tmp_path / "b.dbn").write_text(format_dotbracket(HAIRPIN))
    (tmp_path / "a.ct.gz").write_bytes(gzip.compress(format_ct(StructureRecord("first", "ACGU")).encode()))
    (tmp_path / "notes.txt").write_text("nothing to see")
    assert [record.id for record in read_structures(tmp_path)] == ["first", "hp"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="holds no structure file"):
        list(read_structures(empty))


def test_structures_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(format_dotbracket(HAIRPIN).encode())))
    assert [record.where for record in read_structures("-")] == ["stdin:1: record 'hp'"]


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is empty"), (b"\n\n", "is empty"), (b"hello\n", "no secondary structure file")]
)
def test_unknown_content(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=said):
        list(read_structures(tmp_path / "x"))


def test_viennarna_reads_our_records(tmp_path: Path) -> None:
    """RNAeval's own record reader, through ViennaRNA's Python package."""
    records = [HAIRPIN, StructureRecord("knot", "GGGAAACCCUUU", from_dot_bracket("((([[[)))]]]"), "two words")]
    (tmp_path / "x.dbn").write_text("".join(map(format_dotbracket, records)))
    read = vienna_records(tmp_path / "x.dbn")
    assert [(r.header, r.sequence, r.rest) for r in read] == [(r.header, r.sequence, [r.dot_bracket]) for r in records]
    assert all(record.energy < 100 for record in read)


def test_viennarna_reads_our_ct(tmp_path: Path) -> None:
    vienna = pytest.importorskip("RNA")
    text = format_ct(HAIRPIN)
    table = [0] * (len(HAIRPIN) + 1)
    for row in text.splitlines()[1:]:
        cells = row.split()
        table[int(cells[0])] = int(cells[4])
    table[0] = len(HAIRPIN)
    assert vienna.db_from_ptable(table) == HAIRPIN.dot_bracket


@pytest.mark.parametrize(
    ("name", "text", "left"),
    [
        ("x.dbn", ">a\nGGAACC\n((..))\n>b\nGGAACC\n((..)\n>c\nAC\n..\n", ["a", "c"]),
        ("x.dbn", "(((...)))\n>c\nAC\n..\n", ["c"]),
        ("x.dbn", ">a\nGGAACC\n((..(.\n>c\nAC\n..\n", ["c"]),
        ("x.tsv", "name\tsequence\tpairs\na\tACGU\t...\nb\tAC\nc\tAC\t..\n", ["c"]),
        (
            "x.ct",
            "2 a\n1 A 0 2 0 1\n2 C 1 0 0 2\n2 b\n1 A 0 2 0 1\n3 C 1 0 0 2\n2 c\n1 A 0 2 0 1\n2 C 1 0 0 2\n",
            ["a"],
        ),
    ],
)
def test_bad_records_are_left_out_if_wanted(tmp_path: Path, name: str, text: str, left: list[str]) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / name).write_text(text)
    (tmp_path / "0" / "z.dbn").write_text(format_dotbracket(HAIRPIN))
    rejected: list[InputError] = []
    assert [record.id for record in read_structures(tmp_path / "0", reject=rejected.append)] == [*left, "hp"]
    assert rejected and all(str(tmp_path / "0" / name) in error.message for error in rejected)
    assert ("with all that follows in" in rejected[0].message) == (name == "x.ct")
    with pytest.raises(InputError) as caught:
        list(read_structures(tmp_path / "0" / name))
    assert "with all that follows" not in caught.value.message


def test_a_file_with_dots_in_its_name_keeps_them_in_the_id(tmp_path: Path) -> None:
    rows = "1 A 0\n2 C 0\n"
    (tmp_path / "d.5.b.E.coli.bpseq").write_text(rows)
    (tmp_path / "d.5.b.B.subtilis.bpseq.gz").write_bytes(gzip.compress(rows.encode()))
    (tmp_path / "x.1.ct").write_text("2\n1 A 0 2 0 1\n2 C 1 0 0 2\n")
    assert [record.id for record in read_structures(tmp_path)] == ["d.5.b.B.subtilis", "d.5.b.E.coli", "x.1"]


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("5 dG = -1.0 [initially -1.2] yeast", "yeast"),
        ("5 ENERGY = -1.0  tRNA of yeast", "tRNA"),
        ("Filename: x.ct\nOrganism: yeast\n5 dG = -1 yeast", "yeast"),
    ],
)
def test_titles_of_ct_files(title: str, name: str) -> None:
    rows = "".join(f"{i} {base} {i - 1} {i + 1} 0 {i}\n" for i, base in enumerate("ACGU?", start=1))
    with pytest.warns(RnafmWarning):
        (record,) = read_ct(io.StringIO(f"{title}\n{rows}"), "x")
    assert (record.id, record.sequence) == (name, "ACGUN")


def test_symbols_of_modified_and_unknown_bases(tmp_path: Path) -> None:
    path = tmp_path / "strand.bpseq"
    path.write_text("# made up\n" + "".join(f"{i} {x} 0\n" for i, x in enumerate("?~PI7acgt", start=1)))
    with pytest.warns(RnafmWarning, match="strand.bpseq: symbols of unknown bases are read as N"):
        (record,) = read_structures(path)
    assert record.sequence == "NNUGGACGU"


def test_sub_folders_are_looked_into_and_hidden_files_passed_over(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.dbn").write_text(">a\nACGU\n....\n")
    (tmp_path / "deep" / "._a.dbn").write_text("junk")
    assert [record.id for record in read_structures(tmp_path)] == ["a"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.sto", "# STOCKHOLM 1.0\n#=GF AC RF00001.2\na    GG-GA-AACCCA\n#=GC SS_cons <<-<..__>>>:\n//\n"),
        ("x.csv", "seq,structure,other\nGGGAAACCCA,(((...))).,1\n"),
        ("x.csv", "id;SEQUENCE;DotBracket\na;gggaaaccca;(((...))).\n"),
        ("x.tsv", "# made by hand\nname\tsequence\tdot_bracket\na\tGGGAAACCCA\t<<<...>>>.\n"),
        ("x.csv", 'id,note,sequence,structure\na,"one, two",GGGAAACCCA,(((...))).\n'),
        ("x.dbn", ">a\nGGGAAACCCA\n>structure\n(((...))).\n"),
        ("x.dbn", ">a [500]\nGGGAAACCCA   -1.20   5.00\n.(......).   3.20\n(((...))).  -1.20\n..........   0.00\n"),
        ("x.dbn", "GGGAAACCCA    -120    500\n(((...))).  -1.20\n"),
        ("x.jsonl", '{"id": "a", "sequence": "GGGAAACCCA", "pairs": [[1, 9], [2, 8], [3, 7]]}\n'),
        ("x.jsonl", '{"sequence": "gggaaaccca", "structure": "(((...)))."}\n'),
        ("x.ct", "Filename: x.ct\nOrganism: yeast\nCitation and related information available at http://x\n10 a\n@"),
        ("x.ct", "Sfold 2.2\n\nStructure   1   -1.20   .13E-01\n10 a\n@"),
    ],
)
def test_ways_of_writing_one_structure(tmp_path: Path, name: str, text: str) -> None:
    rows = zip("GGGAAACCCA", (9, 8, 7, 0, 0, 0, 3, 2, 1, 0), strict=True)
    ct = "".join(f"{i} {base} {i - 1} {i + 1} {j} {i}\n" for i, (base, j) in enumerate(rows, start=1))
    (tmp_path / name).write_text(text.replace("@", ct))
    (record,) = read_structures(tmp_path)
    assert record.id == ("a" if re.search(r"\ba\b", text) else "seq1")
    assert (record.sequence, record.dot_bracket) == ("GGGAAACCCA", "(((...))).")


def test_a_row_of_a_stockholm_file_has_its_own_structure(tmp_path: Path) -> None:
    path = tmp_path / "a.sto"
    rows = "a GGAAC-C\n#=GR a SS (....-)\nb GGA-CCC\n#=GR b AS ..*....\n"
    path.write_text(f"# STOCKHOLM 1.0\n{rows}#=GC SS_cons <<..>.>\n//\n".replace("(....-)", "(.....)"))
    assert [(one.id, one.dot_bracket) for one in read_structures(path)] == [("a", "(....)"), ("b", "((.).)")]
    path.write_text(f"# STOCKHOLM 1.0\n{rows}//\n".replace("(....-)", "(.....)"))
    errors: list[InputError] = []
    assert [one.id for one in read_structures(path, reject=errors.append)] == ["a"]
    assert "row b has no structure" in errors[0].message
    for bad, said in (("(......", "structure of row a: .*never closed"), ("(....)", r"SS of a has 6 columns")):
        path.write_text(f"# STOCKHOLM 1.0\na GGAAC-C\n#=GR a SS {bad}\n//\n")
        with pytest.raises(InputError, match=said):
            list(read_structures(path))


def test_an_energy_is_no_id(tmp_path: Path) -> None:
    path = tmp_path / "a.dot"
    path.write_text(">ENERGY = -5.4  yeast tRNA\nGGAACC\n((..))\n")
    (record,) = read_structures(path)
    assert (record.id, record.description) == ("yeast", "tRNA")
