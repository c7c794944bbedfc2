from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.record_output import RecordFolder, RecordStream
from rnafm_cli.io.streams import TextSink, open_output
from rnafm_cli.io.structure_output import OUTPUT_FORMATS, structure_formats
from rnafm_cli.io.structures import read_structures
from rnafm_cli.rna.pairs import from_dot_bracket
from rnafm_cli.rna.records import SequenceRecord, StructureRecord

KNOT = StructureRecord(
    "knot/1", "GCGCGAGGCCACGCGCAAGGCCAAAA", from_dot_bracket("(((((.[[[[.)))))..]]]]...."), "made up"
)
OPEN = StructureRecord("open", "ACGU", np.empty((0, 2), dtype=np.int64))
SCORE = SimpleNamespace(expected_accuracy=0.75, pair_confidence=0.5, hits=())
SURE = SimpleNamespace(expected_accuracy=1.0, pair_confidence=None, hits=())


def stream(sink: TextSink, format: str, *, scored: bool = False) -> RecordStream:
    return RecordStream(sink, structure_formats(format, scored=scored), elsewhere="--probs")


def folder(path: Path, format: str, *, force: bool = False) -> RecordFolder:
    return RecordFolder(path, structure_formats(format), force=force)


def written(tmp_path: Path, format: str, *, scored: bool = False) -> str:
    path = tmp_path / "out"
    with open_output(path) as sink:
        output = stream(sink, format, scored=scored)
        for record, score in ((KNOT, SCORE), (OPEN, SURE)):
            output.add(record, score if scored else None)
    return path.read_text()


@pytest.mark.parametrize("format", ["dbn", "ct", "tsv"])
@pytest.mark.parametrize("scored", [False, True])
def test_own_readers_read_it(tmp_path: Path, format: str, scored: bool) -> None:
    if scored and format == "ct":
        pytest.skip("no place for scores")
    written(tmp_path, format, scored=scored)
    found = list(read_structures(tmp_path / "out"))
    assert [record.id for record in found] == ["knot/1", "open"]
    assert [record.dot_bracket for record in found] == [KNOT.dot_bracket, OPEN.dot_bracket]


def test_scores_follow_the_structure(tmp_path: Path) -> None:
    lines = written(tmp_path, "dbn", scored=True).splitlines()
    assert lines[3] == "# expected_accuracy=0.7500 pair_confidence=0.5000"
    assert lines[7] == "# expected_accuracy=1.0000"
    rows = [line.split("\t") for line in written(tmp_path, "tsv", scored=True).splitlines()]
    assert rows[0][-4:] == ["expected_accuracy", "pair_confidence", "best_family", "evalue"]
    assert [row[-4:] for row in rows[1:]] == [["0.7500", "0.5000", "", ""], ["1.0000", "", "", ""]]


def test_json_lines_have_stable_keys(tmp_path: Path) -> None:
    knot, free = map(json.loads, written(tmp_path, "jsonl", scored=True).splitlines())
    assert list(knot) == list(free)
    assert knot["structure"] == KNOT.dot_bracket
    assert [1, 16] in knot["pairs"]
    assert (knot["expected_accuracy"], knot["pair_confidence"]) == (0.75, 0.5)
    assert (free["pairs"], free["pair_confidence"]) == ([], None)


@pytest.mark.parametrize("format", sorted(set(OUTPUT_FORMATS) - {"rosetta", "elements"}))
def test_a_file_for_each_record(tmp_path: Path, format: str) -> None:
    output = folder(tmp_path / "new" / "out", format)
    output.claim(SequenceRecord(KNOT.id, KNOT.sequence))
    output.add(KNOT)
    (path,) = output.folder.iterdir()
    assert path.name == "knot_1" + OUTPUT_FORMATS[format][0].suffix
    assert KNOT.dot_bracket in path.read_text() or format in ("ct", "bpseq")
    with pytest.raises(UsageError, match="--force"):
        folder(output.folder, format).claim(SequenceRecord(KNOT.id, KNOT.sequence))
    folder(output.folder, format, force=True).claim(SequenceRecord(KNOT.id, KNOT.sequence))


def test_rosettas_two_files(tmp_path: Path) -> None:
    output = folder(tmp_path / "out", "rosetta")
    output.add(KNOT)
    assert sorted(path.name for path in output.folder.iterdir()) == ["knot_1.fasta", "knot_1.secstruct"]
    assert (output.folder / "knot_1.secstruct").read_text().splitlines()[0] == KNOT.dot_bracket
    assert (output.folder / "knot_1.fasta").read_text().splitlines()[1] == KNOT.sequence.lower()
    with pytest.raises(UsageError, match=r"knot_1\.secstruct"):
        folder(output.folder, "rosetta").claim(SequenceRecord(KNOT.id, KNOT.sequence))


def test_names_that_meet_are_refused(tmp_path: Path) -> None:
    output = folder(tmp_path, "dbn")
    output.claim(SequenceRecord("a/1", "ACGU"))
    for name in ("a/1", "a:1", "A_1"):
        with pytest.raises(InputError, match="a/1|twice"):
            output.claim(SequenceRecord(name, "ACGU"))


def test_formats_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no place for scores"):
        written(tmp_path, "ct", scored=True)
    with pytest.raises(UsageError, match="--out-dir"):
        written(tmp_path, "rosetta")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="no folder"):
        folder(tmp_path / "file", "dbn")


DIMER = StructureRecord("dimer", "GGGGCCCC", np.array([[0, 7], [1, 6], [2, 5], [3, 4]]), breaks=(4,))


@pytest.mark.parametrize("format", sorted(OUTPUT_FORMATS))
def test_strands_are_never_joined(tmp_path: Path, format: str) -> None:
    output = folder(tmp_path, format)
    if format == "dbn":
        output.add(DIMER)
        assert (tmp_path / "dimer.dbn").read_text() == ">dimer\nGGGG&CCCC\n((((&))))\n"
        return
    with pytest.raises(InputError, match="'dimer'.* 2 strands.*--format dbn"):
        output.add(DIMER)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "name"), [("dbn", "x.ct"), ("dbn", "x.svg"), ("ct", "x.dbn.gz"), ("tsv", "x.csv"), ("jsonl", "x.h5")]
)
def test_a_name_that_promises_another_format_is_refused(tmp_path: Path, format: str, name: str) -> None:
    with pytest.raises(UsageError, match="--format"), open_output(tmp_path / name) as sink:
        stream(sink, format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "name"),
    [("dbn", "x.fold"), ("dbn", "x.fa"), ("dbn", "x.txt"), ("dbn", "x.v2"), ("ct", "x.ct.gz"), ("3drna", "x.3drna")],
)
def test_other_names_are_free(tmp_path: Path, format: str, name: str) -> None:
    with open_output(tmp_path / name) as sink:
        stream(sink, format).add(StructureRecord("a", "ACGU"))
    assert (tmp_path / name).exists()


@pytest.mark.parametrize("format", ["3drna", "rosetta"])
def test_modelling_programs_take_four_letters(tmp_path: Path, format: str) -> None:
    odd = StructureRecord("odd", "ACGN", np.empty((0, 2), dtype=np.int64))
    output = folder(tmp_path, format)
    with pytest.raises(InputError, match="'odd'.*position 4"):
        output.add(odd)
    assert list(tmp_path.iterdir()) == []
