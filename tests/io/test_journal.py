"""Commits of a journaled file take effect whole or not at all, wherever the process dies."""

from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnafm_cli.errors import RnafmError, UsageError
from rnafm_cli.io import journal
from rnafm_cli.io.journal import PAGE, JournaledFile, NewHdf5, journal_of


class Died(BaseException):
    """Stands for the end of the process."""


class MortalFile(JournaledFile):
    """Dies, or finds the disk full, at the nth write to the underlying file; half of that write gets through."""

    lives = 10**9
    full = False

    def _store(self, start: int, data) -> None:
        self.lives -= 1
        if self.lives == 0:
            super()._store(start, memoryview(data)[: len(data) // 2])
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            raise Died
        super()._store(start, data)


def drop(file: JournaledFile) -> None:
    """Let go of the file as the end of a process does."""
    file._file.close()


def content(path: Path) -> bytes:
    file = JournaledFile(path)
    try:
        size = file.seek(0, 2)
        file.seek(0)
        return file.read(size)
    finally:
        drop(file)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.tmp"
    path.write_bytes(b"")
    return path


def test_reads_what_was_written_before_any_commit(path: Path) -> None:
    path.write_bytes(b"a" * 10000)
    file = JournaledFile(path)
    file.seek(PAGE - 2)
    file.write(b"bcde")
    file.seek(9998)
    file.write(b"end of it")
    file.seek(PAGE - 3)
    assert file.read(6) == b"abcdea"
    file.seek(9996)
    assert file.read(14) == b"aaend of it\0\0\0"
    assert file.seek(0, 2) == 10007
    file.close()
    assert path.read_bytes() == b"a" * 10000, "nothing was committed"


def test_commit_is_what_a_new_reader_sees(path: Path) -> None:
    file = JournaledFile(path)
    file.write(b"one")
    file.commit()
    file.seek(0)
    file.write(b"two")
    assert path.read_bytes() == b"one"
    file.commit()
    assert path.read_bytes() == b"two"
    assert not journal_of(path).exists()
    file.close()


def test_second_writer_is_refused(path: Path) -> None:
    file = JournaledFile(path)
    with pytest.raises(UsageError, match="another process is writing"):
        JournaledFile(path)
    file.close()
    JournaledFile(path).close()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 6 * PAGE), st.integers(1, 3 * PAGE)),
        st.tuples(st.just("commit"), st.just(0), st.just(0)),
        st.tuples(st.just("truncate"), st.integers(0, 8 * PAGE), st.just(0)),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(steps, st.integers(1, 25), st.booleans(), st.integers(0, 99))
def test_death_or_full_disk_anywhere_leaves_a_commit(
    tmp_path_factory: pytest.TempPathFactory, steps, lives: int, full: bool, seed: int
) -> None:
    path = tmp_path_factory.mktemp("j") / "x.tmp"
    path.write_bytes(b"")
    rng = random.Random(seed)
    file = MortalFile(path)
    file.lives, file.full = lives, full
    model, commits = bytearray(), [b""]
    try:
        for kind, position, size in steps:
            if kind == "write":
                data = rng.randbytes(size)
                file.seek(position)
                file.write(data)
                model.extend(bytes(max(0, position - len(model))))
                model[position : position + size] = data
            elif kind == "truncate" and position >= len(model):
                file.truncate(position)
                model.extend(bytes(position - len(model)))
            elif kind == "commit":
                commits.append(bytes(model))
                file.commit()
            file.seek(0)
            assert file.read(len(model)) == model
    except Died:
        drop(file)
    except OSError as error:
        assert error.errno == errno.ENOSPC
        file.close()
    else:
        file.close()
    found = content(path)
    assert found[: len(commits[-1])] == commits[-1] or found[: len(commits[-2])] == commits[-2]


@pytest.mark.parametrize("cut", [0, 7, 30, 5000])
def test_half_a_journal_is_ignored_and_a_whole_one_finished(path: Path, cut: int) -> None:
    file = MortalFile(path)
    file.write(b"a" * 3 * PAGE)
    file.commit()
    file.seek(10)
    file.write(b"b" * 2 * PAGE)
    file.lives = 2
    with pytest.raises(Died):
        file.commit()
    drop(file)
    torn, journal = path.read_bytes(), journal_of(path).read_bytes()
    assert torn[10:11] == b"b" and torn[2 * PAGE : 2 * PAGE + 1] == b"a"

    assert content(path) == b"a" * 10 + b"b" * 2 * PAGE + b"a" * (PAGE - 10)

    path.write_bytes(b"a" * 3 * PAGE)
    journal_of(path).write_bytes(journal[:cut])
    assert content(path) == b"a" * 3 * PAGE
    assert not journal_of(path).exists()


def test_a_new_hdf5_file_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(JournaledFile):
        def _store(self, start: int, data: Any) -> None:
            if start + len(data) > 20_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            super()._store(start, data)

    monkeypatch.setattr(journal, "JournaledFile", Full)
    path = tmp_path / "x.h5"
    for checked in (True, False):
        output = NewHdf5(path, track_order=True)
        with pytest.raises(RnafmError, match=r"x.h5: cannot be written \(the disk is full\)"), output as file:
            for k in range(50):
                file.create_dataset(f"d{k}", data=np.random.default_rng(k).random(500))
                if checked:
                    output.check()
        assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    with NewHdf5(path) as file:
        file["a"] = 1
    with h5py.File(path) as file:
        assert file["a"][()] == 1
    with pytest.raises(UsageError, match="exists"):
        NewHdf5(path, force=False)
