"""The folder of .npy files: upstream's names, resume, refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.embeddings import NpyDirWriter, read_embeddings, read_provenance
from rnafm_cli.rna.records import SequenceRecord

MADE_BY = {"model": "tiny", "weights_sha256": "ab" * 32, "layer": 3}
RECORDS = [SequenceRecord("r1", "ACGU", "some\ttext"), SequenceRecord("a/b|c", "GG"), SequenceRecord("r3", "CCC")]


def vectors(record: SequenceRecord) -> np.ndarray:
    return np.arange(len(record) * 4, dtype=np.float32).reshape(-1, 4)


def write(path: Path, records, *, made_by=MADE_BY, **options) -> list[str]:
    with NpyDirWriter(path, provenance=made_by, **options) as writer:
        todo = [record for record in records if not writer.done(record)]
        for record in todo:
            writer.add(record, vectors(record))
    return [record.id for record in todo]


def test_one_file_per_record(tmp_path: Path) -> None:
    write(tmp_path / "out", RECORDS)
    assert sorted(p.name for p in (tmp_path / "out").glob("*.npy")) == ["a_b|c.npy", "r1.npy", "r3.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "r1.npy"), vectors(RECORDS[0]))
    found = list(read_embeddings(tmp_path / "out"))
    assert [name for name, _, _ in found] == ["r1", "a/b|c", "r3"]
    assert [attributes["length"] for _, _, attributes in found] == [4, 2, 3]


def test_half(tmp_path: Path) -> None:
    write(tmp_path / "out", RECORDS, half=True)
    assert np.load(tmp_path / "out" / "r1.npy").dtype == np.float16


def test_resume_adds_what_lacks(tmp_path: Path) -> None:
    write(tmp_path / "out", RECORDS[:1])
    index = tmp_path / "out" / "index.tsv"
    index.write_text(index.read_text() + "a_b|c.npy\ta/b|c\t2")  # a kill in the middle of a line
    assert write(tmp_path / "out", RECORDS, resume=True) == ["a/b|c", "r3"]
    assert write(tmp_path / "out", RECORDS, resume=True) == []
    assert [name for name, _, _ in read_embeddings(tmp_path / "out")] == ["r1", "a/b|c", "r3"]


def test_refusals(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, RECORDS[:1])
    with pytest.raises(UsageError, match="is not empty"):
        write(out, RECORDS)
    with pytest.raises(UsageError, match="layer 3, this run has 2"):
        write(out, RECORDS, made_by=MADE_BY | {"layer": 2}, resume=True)
    with pytest.raises(UsageError, match="contradict"):
        write(out, RECORDS, force=True, resume=True)
    with pytest.raises(InputError, match="another sequence"):
        write(out, [SequenceRecord("r1", "A")], resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        write(tmp_path / "file", RECORDS)


def test_force_starts_over(tmp_path: Path) -> None:
    write(tmp_path / "out", RECORDS[:2])
    write(tmp_path / "out", RECORDS[2:], force=True)
    assert [name for name, _, _ in read_embeddings(tmp_path / "out")] == ["r3"]


def test_equal_file_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'a_b' is also that of the record 'a/b'") as caught:
        write(tmp_path / "out", [SequenceRecord("a/b", "A"), SequenceRecord("a_b", "A")])
    assert caught.value.exit_code == 3


def test_failed_run_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught, NpyDirWriter(tmp_path / "out", provenance=MADE_BY) as writer:
        writer.add(RECORDS[0], vectors(RECORDS[0]))
        raise InputError("bad record")
    assert caught.value.hint is not None and "--resume" in caught.value.hint


def test_foreign_folder(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.ones(3))
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    found = list(read_embeddings(tmp_path))
    assert [(name, values.shape) for name, values, _ in found] == [("a", (2, 3)), ("b", (3,))]
    (tmp_path / "c.npy").write_bytes(b"\x93NUMPY junk")
    with pytest.raises(InputError, match="c.npy"):
        list(read_embeddings(tmp_path))
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no .npy file"):
        list(read_embeddings(tmp_path / "none"))


def test_a_resumed_run_killed_at_once_keeps_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "out", RECORDS)
    before = (tmp_path / "out" / "index.tsv").read_bytes()
    code = (
        "import os, sys; from pathlib import Path; from rnafm_cli.io.embeddings import NpyDirWriter\n"
        f"NpyDirWriter(Path(sys.argv[1]), provenance={MADE_BY!r}, resume=True).__enter__(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "out"], check=False).returncode == 9
    assert (tmp_path / "out" / "index.tsv").read_bytes() == before


def test_provenance_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "out", RECORDS)
    assert read_provenance(tmp_path / "out")["model"] == MADE_BY["model"]
    (tmp_path / "theirs").mkdir()
    assert read_provenance(tmp_path / "theirs") == {}
