"""HDF5 embeddings: what is stored, what is refused, and what survives kills and full disks."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from rnafm_cli.errors import InputError, RnafmError, UsageError
from rnafm_cli.io.embeddings import EmbeddingWriter, read_embeddings, read_provenance, sequence_hash
from rnafm_cli.rna.records import SequenceRecord

MADE_BY = {"model": "tiny", "weights_sha256": "ab" * 32, "layer": 3, "pooling": "none", "unit": None, "dim": 8}


def record(number: int, length: int = 20) -> SequenceRecord:
    sequence = "".join(random.Random(number).choices("ACGU", k=length))
    return SequenceRecord(f"r{number}", sequence, f"number {number}", "x.fa", 2 * number + 1)


def array(item: SequenceRecord, *, pooled: bool = False, width: int = 8) -> np.ndarray:
    rng = np.random.default_rng(len(item) + int(item.id[1:]))
    return rng.standard_normal((width,) if pooled else (len(item), width), dtype=np.float32)


def write(path: Path, numbers, *, pooled: bool = False, made_by=MADE_BY, **options) -> None:
    with EmbeddingWriter(path, provenance=made_by, layout="matrix" if pooled else "per-record", **options) as writer:
        for item in map(record, numbers):
            if not writer.done(item):
                writer.add(item, array(item, pooled=pooled))


def check(path: Path, numbers, *, pooled: bool = False) -> None:
    found = {name: (values, attributes) for name, values, attributes in read_embeddings(path)}
    assert list(found) == [f"r{number}" for number in numbers]
    for item in map(record, numbers):
        values, attributes = found[item.id]
        np.testing.assert_array_equal(values, array(item, pooled=pooled))
        assert attributes["length"] == len(item)
        assert attributes["sequence_sha256"] == sequence_hash(item.sequence)


@pytest.mark.parametrize("pooled", [False, True])
def test_what_is_written_reads_back_in_input_order(tmp_path: Path, pooled: bool) -> None:
    path = tmp_path / "e.h5"
    numbers = [3, 1, 10, 2]
    write(path, numbers, pooled=pooled)
    check(path, numbers, pooled=pooled)
    assert [p.name for p in tmp_path.iterdir()] == ["e.h5"]


def test_the_usual_one_liner_reads_records(tmp_path: Path) -> None:
    write(tmp_path / "e.h5", [1, 2])
    with h5py.File(tmp_path / "e.h5") as f:
        arrays = {key: values[()] for key, values in f.items()}
        attributes = dict(f["r1"].attrs)
    assert {key: values.shape for key, values in arrays.items()} == {"r1": (20, 8), "r2": (20, 8)}
    assert arrays["r1"].dtype == np.float32
    assert attributes == {
        "id": "r1",
        "original_id": "r1",
        "description": "number 1",
        "length": 20,
        "sequence_sha256": sequence_hash(record(1).sequence),
    }


def test_matrix_layout(tmp_path: Path) -> None:
    write(tmp_path / "e.h5", range(300), pooled=True)
    with h5py.File(tmp_path / "e.h5") as f:
        assert set(f) == {"embeddings", "ids", "lengths", "sequence_sha256"}
        assert f["embeddings"].shape == (300, 8)
        assert f["ids"].asstr()[:3].tolist() == ["r0", "r1", "r2"]
        assert (f["lengths"][:] == 20).all()


def test_provenance(tmp_path: Path) -> None:
    write(tmp_path / "e.h5", [1])
    stored = read_provenance(tmp_path / "e.h5")
    assert stored["format"] == "rnafm-embeddings" and stored["format_version"] == 1
    assert stored["model"] == "tiny" and stored["layer"] == 3 and stored["dim"] == 8
    assert stored["dtype"] == "float32" and stored["layout"] == "per-record"
    assert stored["created"].endswith("+00:00") and "unit" not in stored


@pytest.mark.parametrize("pooled", [False, True])
def test_half(tmp_path: Path, pooled: bool) -> None:
    write(tmp_path / "e.h5", [1, 2], pooled=pooled, half=True)
    ((_, values, _), _) = read_embeddings(tmp_path / "e.h5")
    assert values.dtype == np.float16
    np.testing.assert_allclose(values, array(record(1), pooled=pooled), atol=2e-3)


def test_sizes_at_the_ends(tmp_path: Path) -> None:
    """One nucleotide, and 100,000 of them; a description that no attribute heap page holds."""
    one = SequenceRecord("r1", "A", "d" * 200_000)
    long = record(2, 100_000)
    with EmbeddingWriter(tmp_path / "e.h5", provenance=MADE_BY) as writer:
        writer.add(one, array(one))
        writer.add(long, array(long))
    found = list(read_embeddings(tmp_path / "e.h5"))
    assert [values.shape for _, values, _ in found] == [(1, 8), (100_000, 8)]
    np.testing.assert_array_equal(found[1][1], array(long))
    assert found[0][2]["description"] == one.description


def test_slash_becomes_underscore_and_the_id_is_kept(tmp_path: Path) -> None:
    items = [SequenceRecord("chr1/10-29", "ACGU"), SequenceRecord(".", "A"), SequenceRecord("a|b é", "C")]
    with EmbeddingWriter(tmp_path / "e.h5", provenance=MADE_BY) as writer:
        for item in items:
            writer.add(item, np.zeros((len(item), 4)))
    with h5py.File(tmp_path / "e.h5") as f:
        assert list(f) == ["chr1_10-29", "_", "a|b é"]
    assert [name for name, _, _ in read_embeddings(tmp_path / "e.h5")] == ["chr1/10-29", ".", "a|b é"]


def test_colliding_names_are_refused_by_both_ids(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught, EmbeddingWriter(tmp_path / "e.h5", provenance=MADE_BY) as writer:
        assert not writer.done(SequenceRecord("a/b", "ACGU", "", "x.fa", 1))
        writer.done(SequenceRecord("a_b", "ACGU", "", "x.fa", 3))
    assert caught.value.message == "x.fa:3: record 'a_b': its data set name 'a_b' is also that of the record 'a/b'"
    assert caught.value.hint is not None and "--rename-duplicates" in caught.value.hint


@pytest.mark.parametrize("pooled", [False, True])
def test_repeated_id_is_refused_before_it_is_computed(tmp_path: Path, pooled: bool) -> None:
    with pytest.raises(InputError, match="x.fa:3: record 'r1': the id appears twice"):
        write(tmp_path / "e.h5", [1, 1], pooled=pooled)


def test_existing_output_is_not_touched_unasked(tmp_path: Path) -> None:
    path = tmp_path / "e.h5"
    write(path, [1])
    before = path.read_bytes()
    with pytest.raises(UsageError, match="e.h5: exists") as caught:
        write(path, [2])
    assert caught.value.exit_code == 2 and "--force" in str(caught.value)
    assert path.read_bytes() == before
    write(path, [2], force=True)
    check(path, [2])


def test_rest_of_an_interrupted_run_is_not_thrown_away_unasked(tmp_path: Path) -> None:
    path = tmp_path / "e.h5"
    interrupt(path, [1, 2])
    with pytest.raises(UsageError, match="interrupted run left this"):
        write(path, [1, 2, 3])
    write(path, [4], force=True)
    check(path, [4])


def test_contradicting_and_impossible_targets(tmp_path: Path) -> None:
    for path, options, said in (
        (tmp_path / "e.h5", {"force": True, "resume": True}, "contradict"),
        (tmp_path, {}, "is a folder"),
        (tmp_path / "none" / "e.h5", {}, "there is no folder"),
        ("-", {}, "stdout"),
        ("/dev/null", {"force": True}, "no regular file"),
    ):
        with pytest.raises(UsageError, match=said):
            write(path, [1], **options)


def interrupt(path: Path, numbers, *, pooled: bool = False, **options) -> RnafmError:
    """A run that stores some records and then meets a bad one."""

    def broken():
        yield from numbers
        raise InputError("bad record")

    with pytest.raises(InputError) as caught:
        write(path, broken(), pooled=pooled, **options)
    return caught.value


@pytest.mark.parametrize("pooled", [False, True])
def test_failed_run_keeps_its_records_and_goes_on(tmp_path: Path, pooled: bool) -> None:
    path = tmp_path / "e.h5"
    error = interrupt(path, [1, 2], pooled=pooled)
    assert error.hint == f"2 records are safe in {path}.tmp: add --resume to go on from there"
    assert not path.exists()
    check(Path(f"{path}.tmp"), [1, 2], pooled=pooled)

    with EmbeddingWriter(path, provenance=MADE_BY, layout="matrix" if pooled else "per-record", resume=True) as writer:
        assert [writer.done(record(number)) for number in (1, 2, 3)] == [True, True, False]
        writer.add(record(3), array(record(3), pooled=pooled))
        assert writer.count == 3
    check(path, [1, 2, 3], pooled=pooled)
    assert [p.name for p in tmp_path.iterdir()] == ["e.h5"]


def test_failure_before_the_first_record_leaves_nothing(tmp_path: Path) -> None:
    error = interrupt(tmp_path / "e.h5", [])
    assert error.hint is None
    assert list(tmp_path.iterdir()) == []


def test_failed_forced_run_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "e.h5"
    write(path, [1])
    interrupt(path, [2], force=True)
    check(path, [1])


@pytest.mark.parametrize("pooled", [False, True])
def test_complete_file_takes_more_records(tmp_path: Path, pooled: bool) -> None:
    path = tmp_path / "e.h5"
    write(path, [1, 2], pooled=pooled)
    write(path, [1, 2, 3, 4], pooled=pooled, resume=True)
    check(path, [1, 2, 3, 4], pooled=pooled)


def test_complete_file_is_not_rewritten_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "e.h5"
    write(path, [1, 2])
    before = path.stat()
    write(path, [1, 2], resume=True)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_resume_without_anything_starts(tmp_path: Path) -> None:
    write(tmp_path / "e.h5", [1], resume=True)
    check(tmp_path / "e.h5", [1])


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights_sha256": "cd" * 32}, "weights_sha256"),
        ({"layer": 2}, "layer 3, this run has 2"),
        ({"pooling": "mean"}, "pooling none, this run has mean"),
    ],
)
def test_other_provenance_is_not_mixed_in(tmp_path: Path, complete: bool, change, said: str) -> None:
    path = tmp_path / "e.h5"
    write(path, [1]) if complete else interrupt(path, [1])
    with pytest.raises(UsageError, match=said) as caught:
        write(path, [1, 2], made_by=MADE_BY | change, resume=True)
    assert "--force" in str(caught.value)
    check(path if complete else Path(f"{path}.tmp"), [1])


def test_other_dtype_and_layout_are_not_mixed_in(tmp_path: Path) -> None:
    interrupt(tmp_path / "e.h5", [1])
    with pytest.raises(UsageError, match="dtype float32, this run has float16"):
        write(tmp_path / "e.h5", [1], half=True, resume=True)
    with pytest.raises(UsageError, match="layout per-record, this run has matrix"):
        write(tmp_path / "e.h5", [1], pooled=True, resume=True)
    write(tmp_path / "e.h5", [1, 2], made_by=MADE_BY | {"command": "another", "threads": 3}, resume=True)
    check(tmp_path / "e.h5", [1, 2])


def test_same_id_with_another_sequence_is_not_resumed(tmp_path: Path) -> None:
    write(tmp_path / "e.h5", [1])
    with EmbeddingWriter(tmp_path / "e.h5", provenance=MADE_BY, resume=True) as writer:
        with pytest.raises(InputError, match="record 'r1'.*another sequence"):
            writer.done(SequenceRecord("r1", "GGGG", "", "x.fa", 1))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.h5", b""),
        *((name, text) for name in ("e.h5", "e.h5.tmp") for text in (b"text", b"\x89HDF\r\n\x1a\n" + bytes(2000))),
        ("e.h5.tmp", b'{"format": "else"}\n'),
        ("e.h5.tmp", b"no JSON\n"),
    ],
)
def test_resuming_a_damaged_file_says_so(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=name) as caught:
        write(tmp_path / "e.h5", [1], resume=True)
    assert "--force" in str(caught.value)
    write(tmp_path / "e.h5", [1], force=True)
    check(tmp_path / "e.h5", [1])


def test_resuming_a_foreign_file_says_so(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "e.h5", "w") as f:
        f["x"] = [1.0]
    with pytest.raises(UsageError, match="not made by rnafm embed"):
        write(tmp_path / "e.h5", [1], resume=True)


def test_a_kill_amid_a_record_costs_that_record_alone(tmp_path: Path) -> None:
    path, part = tmp_path / "e.h5", tmp_path / "e.h5.tmp"
    interrupt(path, [1, 2])
    part.write_bytes(part.read_bytes()[:-9])
    assert [name for name, _, _ in read_embeddings(part)] == ["r1"]
    write(path, [1, 2, 3], resume=True)
    check(path, [1, 2, 3])


def test_additions_to_a_complete_file_survive_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "e.h5"
    write(path, [1, 2])
    before = path.read_bytes()
    error = interrupt(path, [1, 2, 3], resume=True)
    assert error.hint == f"1 record is safe in {path}.tmp: add --resume to go on from there"
    assert path.read_bytes() == before
    with EmbeddingWriter(path, provenance=MADE_BY, resume=True) as writer:
        assert [writer.done(record(number)) for number in (1, 2, 3)] == [True, True, True]
    check(path, [1, 2, 3])


def test_an_interrupted_forced_run_replaces_the_old_file_when_resumed(tmp_path: Path) -> None:
    path = tmp_path / "e.h5"
    write(path, [1])
    interrupt(path, [2], force=True)
    write(path, [2, 3], resume=True)
    check(path, [2, 3])


def test_a_link_in_the_place_of_the_partial_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "e.h5.tmp").symlink_to(tmp_path / "precious")
    for options in ({}, {"force": True}, {"resume": True}):
        with pytest.raises(UsageError, match="e.h5.tmp: is a link"):
            write(tmp_path / "e.h5", [1], **options)
    assert (tmp_path / "precious").read_text() == "precious"


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    with EmbeddingWriter(tmp_path / "e.h5", provenance=MADE_BY):
        for options in ({}, {"resume": True}, {"force": True}):
            with pytest.raises(UsageError, match="another process is writing"):
                write(tmp_path / "e.h5", [1], **options)


CHILD = """if True:
    import sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_embeddings import MADE_BY, EmbeddingWriter, array, record
    path, pooled, total = Path(sys.argv[2]), sys.argv[3] == "matrix", int(sys.argv[4])
    with EmbeddingWriter(path, provenance=MADE_BY, layout=sys.argv[3], resume=True) as writer, open(1, "w") as log:
        for number in range(total):
            item = record(number)
            if not writer.done(item):
                writer.add(item, array(item, pooled=pooled))
                if number % 16 == 15:
                    log.write(f"{number}\\n")
                    log.flush()
"""


def run_child(path: Path, layout: str, total: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(path), layout, str(total)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("layout", ["per-record", "matrix"])
def test_killed_again_and_again(tmp_path: Path, layout: str) -> None:
    """SIGKILL at odd moments: what was added is there and can be read, and in the end nothing lacks."""
    path, rng = tmp_path / "e.h5", random.Random(5)
    pooled = layout == "matrix"
    safe = -1
    for _ in range(4):
        child = run_child(path, layout, 10**7)
        assert child.stdout is not None
        for _ in range(rng.randint(3, 12)):
            safe = max(safe, int(child.stdout.readline() or safe))
        time.sleep(rng.random() * 0.02)
        child.send_signal(signal.SIGKILL)
        safe = max([safe, *map(int, child.stdout.read().split())])
        assert child.wait() == -signal.SIGKILL
        assert not path.exists(), "an unfinished file has the final name"
        left = list(read_embeddings(f"{path}.tmp"))
        assert len(left) > safe
        for number, (name, values, _) in enumerate(left):
            assert name == f"r{number}"
            np.testing.assert_array_equal(values, array(record(number), pooled=pooled))
    total = safe + 100
    child = run_child(path, layout, total)
    computed = child.communicate()[0].split()
    assert child.returncode == 0
    assert all(int(number) > safe for number in computed), "a stored record was computed again"
    check(path, range(total), pooled=pooled)


@pytest.mark.parametrize("layout", ["per-record", "matrix"])
def test_ctrl_c_keeps_whole_records(tmp_path: Path, layout: str) -> None:
    path, pooled = tmp_path / "e.h5", layout == "matrix"
    child = run_child(path, layout, 10**7)
    assert child.stdout is not None
    for _ in range(5):
        safe = int(child.stdout.readline())
    child.send_signal(signal.SIGINT)
    child.communicate()
    assert child.returncode == -signal.SIGINT
    assert not path.exists()
    kept = sum(1 for _ in read_embeddings(f"{path}.tmp"))
    assert kept > safe
    check(Path(f"{path}.tmp"), range(kept), pooled=pooled)
    write(path, range(kept + 1), pooled=pooled, resume=True)
    check(path, range(kept + 1), pooled=pooled)


@pytest.mark.parametrize("pooled", [False, True])
def test_full_disk_keeps_what_was_added(tmp_path: Path, pooled: bool) -> None:
    """The file-size limit of the process stands for the end of the disk: the write fails half way."""
    path = tmp_path / "e.h5"
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, old[1]))
    try:
        with pytest.raises(RnafmError) as caught:
            with EmbeddingWriter(path, provenance=MADE_BY, layout="matrix" if pooled else "per-record") as writer:
                for number in range(100_000):
                    writer.add(record(number), array(record(number), pooled=pooled))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert caught.value.exit_code == 1
    assert f"{path}.tmp: cannot be written (the disk is full)" in caught.value.message
    assert not path.exists()
    kept = sum(1 for _ in read_embeddings(f"{path}.tmp"))
    assert kept >= 50
    assert caught.value.hint == f"{kept} records are safe in {path}.tmp: add --resume to go on from there"
    write(path, range(kept + 10), pooled=pooled, resume=True)
    check(path, range(kept + 10), pooled=pooled)


def test_full_disk_from_the_start(tmp_path: Path) -> None:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, old[1]))
    try:
        with pytest.raises(RnafmError, match="the disk is full"):
            write(tmp_path / "e.h5", [1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert list(tmp_path.iterdir()) == []


def test_ten_thousand_short_records(tmp_path: Path) -> None:
    vectors = np.zeros((20, 8), np.float32)
    with EmbeddingWriter(tmp_path / "e.h5", provenance=MADE_BY) as writer:
        for number in range(10_000):
            writer.add(SequenceRecord(f"r{number}", "ACGUACGUACGUACGUACGU"), vectors)
    with h5py.File(tmp_path / "e.h5") as f:
        assert len(f) == 10_000
        assert list(f)[::2500] == ["r0", "r2500", "r5000", "r7500"]


def test_files_of_other_tools_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "e.h5", "w") as f:
        f["P1"] = np.ones((3, 2))
        f["P2"] = np.ones(2)
    assert [(name, values.shape) for name, values, _ in read_embeddings(tmp_path / "e.h5")] == [
        ("P1", (3, 2)),
        ("P2", (2,)),
    ]


def test_reading_what_is_no_embeddings_file(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("text")
    with pytest.raises(InputError, match="is no readable HDF5 file"):
        list(read_embeddings(tmp_path / "x.h5"))
    with pytest.raises(InputError, match="no such file"):
        list(read_embeddings(tmp_path / "none.h5"))


def test_a_folder_of_npy_files_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.ones(3))
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    found = list(read_embeddings(tmp_path))
    assert [(name, values.shape) for name, values, _ in found] == [("a", (2, 3)), ("b", (3,))]
    assert read_provenance(tmp_path) == {}
    (tmp_path / "c.npy").write_bytes(b"\x93NUMPY junk")
    with pytest.raises(InputError, match="c.npy"):
        list(read_embeddings(tmp_path))
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no .npy file"):
        list(read_embeddings(tmp_path / "none"))
