"""The folder of .npy files: upstream's names, refusals, folders of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.embeddings import NpyFolder, read_embeddings
from rnafm_cli.rna.records import SequenceRecord

RECORDS = [SequenceRecord("r1", "ACGU", "some\ttext"), SequenceRecord("a/b|c", "GG"), SequenceRecord("r3", "CCC")]


def vectors(record: SequenceRecord) -> np.ndarray:
    return np.arange(len(record) * 4, dtype=np.float32).reshape(-1, 4)


def write(path: Path, records, **options) -> None:
    with NpyFolder(path, **options) as writer:
        for record in writer.todo(records, lambda: None):
            writer.add(record, vectors(record))
    assert writer.count == len(records)


def test_one_file_per_record(tmp_path: Path) -> None:
    write(tmp_path / "out", RECORDS)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a_b|c.npy", "r1.npy", "r3.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "r1.npy"), vectors(RECORDS[0]))
    assert [name for name, _, _ in read_embeddings(tmp_path / "out")] == ["a_b|c", "r1", "r3"]


def test_half(tmp_path: Path) -> None:
    write(tmp_path / "out", RECORDS, half=True)
    assert np.load(tmp_path / "out" / "r1.npy").dtype == np.float16


def test_refusals(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, RECORDS[:1])
    with pytest.raises(UsageError, match="is not empty; --force replaces files in it"):
        write(out, RECORDS)
    write(out, RECORDS, force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        write(tmp_path / "file", RECORDS)


def test_equal_file_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'a_b' is also that of the record 'a/b'") as caught:
        write(tmp_path / "out", [SequenceRecord("a/b", "A"), SequenceRecord("a_b", "A")])
    assert caught.value.exit_code == 3
