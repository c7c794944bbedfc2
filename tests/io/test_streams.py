"""Compression by content, inputs that fail kindly, outputs that appear whole."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import tarfile
import threading
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rnafm_cli.errors import InputError, RnafmError, UsageError
from rnafm_cli.io.streams import atomic_path, open_output, open_text

TEXT = ">a\nACGU\n>b\n" + "ACGU" * 5000 + "\n"


def lzma_alone(content: bytes) -> bytes:
    return lzma.compress(content, format=lzma.FORMAT_ALONE)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, lzma_alone])
def test_compression_is_found_by_content_not_name(tmp_path: Path, pack) -> None:
    path = tmp_path / "plain.txt"
    path.write_bytes(pack(TEXT.encode()))
    with open_text(path) as handle:
        assert handle.read() == TEXT


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_stdin_is_sniffed_as_well(pack) -> None:
    code = "import sys; from rnafm_cli.io.streams import open_text; sys.stdout.write(open_text('-').read())"
    done = subprocess.run([sys.executable, "-c", code], input=pack(TEXT.encode()), capture_output=True, check=True)
    assert done.stdout.decode() == TEXT
    assert done.stderr == b""


def test_several_gzip_members_are_one_text(tmp_path: Path) -> None:
    path = tmp_path / "two.gz"
    path.write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    with open_text(path) as handle:
        assert list(handle) == ["one\n", "two\n"]


def test_mark_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "dos.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree")
    with open_text(path) as handle:
        assert list(handle) == ["one\n", "two\n", "three"]


@pytest.mark.parametrize("content", [b"", b"A", b"\xef\xbb\xbf"])
def test_tiny_inputs(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tiny"
    path.write_bytes(content)
    with open_text(path) as handle:
        assert handle.read() == content.decode("utf-8-sig")


def test_pipe_is_followed_as_it_fills() -> None:
    read, write = os.pipe()
    got: list[str] = []

    def consume() -> None:
        with open_text(f"/dev/fd/{read}") as handle:
            got.append(handle.readline())

    reader = threading.Thread(target=consume)
    reader.start()
    os.write(write, b"first line\n")
    reader.join(10)
    alive = reader.is_alive()
    os.close(write)
    reader.join()
    os.close(read)
    assert not alive, "the first line came only when the pipe was closed"
    assert got == ["first line\n"]


def tar_of(content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("a.fa")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def test_what_is_packed_twice_is_unpacked_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.fa.gz.xz"
    path.write_bytes(lzma.compress(gzip.compress(TEXT.encode())))
    with open_text(path) as handle:
        assert handle.read() == TEXT


def test_files_of_dos_end_with_control_z(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(b">a\r\nAC\r\n" * 10_000 + b"\x1a")
    with open_text(path) as handle:
        assert handle.read() == ">a\nAC\n" * 10_000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04rest", "zip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        ("text".encode("utf-16"), "UTF-16"),
        (tar_of(b">a\nACGU\n"), "a tar archive"),
        (gzip.compress(tar_of(b">a\nACGU\n"), mtime=0), "a tar archive"),
        (b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml", "an Office document, not plain text; save it"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07", "a RAR archive"),
        (b"\x1f\x9d\x90text", r"packed by compress \(.Z\)"),
        (gzip.compress(b"BAM\1" + bytes(50), mtime=0), "a BAM file.*samtools"),
        (b"{\\rtf1 >a\\par ACGU}", "an RTF document"),
        (b"\n<!doctype HTML><p>moved", "a page of HTML"),
        (b"text and \x00 bytes", "binary"),
    ],
)
def test_foreign_content_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "odd"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught, open_text(path) as handle:
        handle.read()
    assert str(path) in caught.value.message


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, partial(lzma.compress, preset=0)])
def test_truncated_archive_gives_its_lines_first(tmp_path: Path, pack) -> None:
    path = tmp_path / "cut"
    lines = [f"line {k} {os.urandom(30).hex()}\n" for k in range(20000)]
    packed = pack("".join(lines).encode())
    path.write_bytes(packed[: len(packed) * 3 // 4])
    got = []
    with pytest.raises(InputError, match="end early"), open_text(path) as handle:
        for line in handle:
            got.append(line)
    assert len(got) > 1000
    assert got == lines[: len(got)]


def test_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "bad.gz"
    packed = bytearray(gzip.compress(os.urandom(5000).hex().encode()))
    packed[-6] ^= 1
    path.write_bytes(packed)
    with pytest.raises(InputError, match="gzip data cannot be read"), open_text(path) as handle:
        handle.read()


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_text(tmp_path / "none")
    with pytest.raises(InputError, match="is a directory"):
        open_text(tmp_path)


def test_unreadable_device() -> None:
    with pytest.raises(InputError, match="/proc/self/mem.*cannot be read"), open_text("/proc/self/mem") as handle:
        handle.read()


@pytest.mark.parametrize("name", ["out.txt", "out.txt.gz"])
def test_output_appears_when_complete(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with open_output(path) as out:
        out.write(TEXT)
        out.flush()
        assert not path.exists()
    with open_text(path) as handle:
        assert handle.read() == TEXT
    assert path.read_bytes().startswith(b"\x1f\x8b") == name.endswith(".gz")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_same_records_compress_to_same_bytes(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        with open_output(tmp_path / name) as out:
            out.write(TEXT)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_failed_output_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(InputError) as caught, open_output(path) as out:
        out.write("new")
        raise InputError("bad record")
    assert path.read_text() == "old"
    (partial,) = tmp_path.glob("out.txt.*.tmp")
    assert partial.read_text() == "new"
    assert caught.value.hint == f"the results so far are in {partial}"


def test_failed_output_leaves_no_empty_rest(tmp_path: Path) -> None:
    with pytest.raises(InputError), open_output(tmp_path / "out.txt"):
        raise InputError("bad record")
    assert list(tmp_path.iterdir()) == []


def test_output_to_folder_or_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"), open_output(tmp_path):
        pass
    with pytest.raises(UsageError, match="there is no folder"), open_output(tmp_path / "none" / "x"):
        pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk(tmp_path: Path) -> None:
    with pytest.raises(RnafmError, match="/dev/full.*disk is full") as caught, open_output("/dev/full") as out:
        out.write(TEXT)
        out.flush()
    assert caught.value.exit_code == 1
    code = "from rnafm_cli.io.streams import open_output\nwith open_output('-') as out: out.write('x' * 100000)"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)
    assert "RnafmError: stdout: cannot be written (the disk is full)" in done.stderr


def test_stdout_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    for text in ("one\n", "two\n"):
        with open_output("-") as out:
            out.write(text)
    assert stdout.getvalue() == "one\ntwo\n"


def test_closed_pipe_is_left_to_the_caller() -> None:
    read, write = os.pipe()
    with pytest.raises(BrokenPipeError), open_output(f"/dev/fd/{write}") as out:
        os.close(read)
        out.write(TEXT * 10)
        out.flush()
    os.close(write)


def test_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with open_output(tmp_path / "link.txt") as out:
        out.write("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_atomic_path(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x.bin") as path:
        path.write_bytes(b"whole")
    with pytest.raises(ValueError), atomic_path(tmp_path / "x.bin") as path:
        path.write_bytes(b"half")
        raise ValueError
    assert (tmp_path / "x.bin").read_bytes() == b"whole"
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]


def test_devices_and_pipes_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is no regular file"), atomic_path(tmp_path / "pipe"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_an_open_file_is_written_to_and_not_replaced(tmp_path: Path, name: str) -> None:
    path = tmp_path / "acc"
    with path.open("w") as handle:
        handle.write("before\n")
        handle.flush()
        with open_output(name.format(handle.fileno())) as out:
            out.write("within\n")
        handle.write("after\n")
    assert path.read_text() == "before\nwithin\nafter\n" and list(tmp_path.iterdir()) == [path]
    with path.open("a") as handle, pytest.raises(UsageError, match="is no file of its own"):
        with atomic_path(name.format(handle.fileno())):
            pass


def test_dev_stdout_appends_where_the_shell_does(tmp_path: Path) -> None:
    code = "from rnafm_cli.io.streams import open_output\nwith open_output('/dev/stdout') as out: out.write('x\\n')"
    for _ in range(2):
        with (tmp_path / "acc").open("a") as handle:
            subprocess.run([sys.executable, "-c", code], stdout=handle, check=True)
    assert (tmp_path / "acc").read_text() == "x\nx\n"


@pytest.mark.parametrize("writer", [open_output, atomic_path])
def test_temporary_names_are_never_followed_or_shared(tmp_path: Path, writer: Any) -> None:
    precious, path = tmp_path / "precious", tmp_path / "out.txt"
    precious.write_text("precious")
    (tmp_path / "out.txt.tmp").symlink_to(precious)

    def put(opened: Any, text: str) -> object:
        return opened.write_text(text) if isinstance(opened, Path) else opened.write(text)

    with writer(path) as first:
        put(first, "first\n" * 1000)
        with writer(path) as second:
            put(second, "second\n")
        assert path.read_text() == "second\n"
    assert path.read_text() == "first\n" * 1000
    assert precious.read_text() == "precious"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.txt", "out.txt.tmp", "precious"]


@pytest.mark.parametrize("writer", [open_output, atomic_path])
def test_what_exists_stays_unless_forced(tmp_path: Path, writer: Any) -> None:
    path = tmp_path / "out.txt"
    with pytest.raises(UsageError, match="another process"), writer(path, force=False):
        path.write_text("precious")
    with pytest.raises(UsageError, match="exists; --force replaces it"), writer(path, force=False):
        pass
    assert path.read_text() == "precious"
    with writer(path, force=True):
        pass
    assert path.read_text() == ""


def test_zstd(tmp_path: Path) -> None:
    path = tmp_path / "a.fa.zst"
    if not find_spec("zstandard"):
        path.write_bytes(b"\x28\xb5\x2f\xfdtext")
        with pytest.raises(InputError, match="is packed by zstd; unpack it first, or pip install zstandard"):
            open_text(path).read()
        return
    path.write_bytes(import_module("zstandard").compress(b">a\nACGU\n"))
    assert open_text(path).read() == ">a\nACGU\n"
