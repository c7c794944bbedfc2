"""Bytes and text in and out: files and ``-``, compressed or not, and outputs that appear whole or not at all."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import io
import itertools
import json
import lzma
import os
import re
import secrets
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from rnafm_cli.errors import InputError, RnafmError, UsageError

_BLOCK = 1 << 16
_BOM = b"\xef\xbb\xbf"
_CONTROL_Z = b"\x1a"
_HEAD = 6


def _zstd(packed: BinaryIO) -> Any:
    import zstandard

    return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True))


_PACKINGS: dict[bytes, tuple[str, Callable[[BinaryIO], Any]]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\x00": ("xz", lzma.open),
    b"\x5d\x00\x00": ("lzma", lzma.open),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
}
_FOREIGN = {
    rb"PK\x03\x04.{0,60}\[Content_Types\]\.xml": ("an Office document", "save it as text, a table as CSV"),
    rb"PK\x03\x04": ("a zip archive", "unpack it first"),
    rb"\x89HDF": ("an HDF5 file", None),
    rb"%PDF": ("a PDF document", None),
    rb"\xff\xfe|\xfe\xff": ("UTF-16 text", "save it as UTF-8"),
    rb"7z\xbc\xaf": ("a 7z archive", "unpack it first"),
    rb"Rar!": ("a RAR archive", "unpack it first"),
    rb".{257}ustar": ("a tar archive", "unpack it first"),
    rb"\x1f\x9d": ("packed by compress (.Z)", "uncompress it first"),
    rb"BAM\x01": ("a BAM file", "take its sequences out first, e.g. with samtools fasta"),
    rb"{\\rtf": ("an RTF document", "save it as plain text"),
    rb"\s*<(?i:!doctype html|html)": ("a page of HTML", "its address was not that of the file; get it again"),
}
"""What beginnings of files say that they are, and what to do."""


class BlockReader(io.RawIOBase):
    """A raw byte stream over an iterator of blocks."""

    def __init__(self, blocks: Iterator[bytes], owned: BinaryIO | None = None) -> None:
        self._blocks = blocks
        self._owned = owned
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(filter(None, self._blocks), b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        if not self.closed and self._owned is not None:
            self._owned.close()
        super().close()


def text_blocks(raw: BinaryIO, name: str) -> Iterator[bytes]:
    """Decompressed, checked blocks of a byte stream, without byte-order mark."""
    blocks = _guarded(raw, name, "data")
    head = _take(blocks)
    # What was packed twice is unpacked twice.
    while packing := next((packing for magic, packing in _PACKINGS.items() if head.startswith(magic)), None):
        kind, unpack = packing
        packed = io.BufferedReader(BlockReader(itertools.chain([head], blocks)), _BLOCK)
        try:
            blocks = _guarded(unpack(packed), name, f"{kind} data")
        except ImportError as error:
            raise InputError(
                f"{name}: is packed by {kind}", hint="unpack it first, or pip install zstandard"
            ) from error
        head = _take(blocks)
    foreign = next((told for start, told in _FOREIGN.items() if re.match(start, head, re.DOTALL)), None)
    if foreign is not None:
        raise InputError(f"{name}: is {foreign[0]}, not plain text", hint=foreign[1])
    held = b""
    for block in itertools.chain([head.removeprefix(_BOM)], blocks):
        # Control-Z ends files of DOS.
        block = held + block
        held = _CONTROL_Z * block.endswith(_CONTROL_Z)
        text, zero, _ = block.removesuffix(_CONTROL_Z).partition(b"\0")
        yield text
        if zero:
            raise InputError(f"{name}: holds binary data, not text")


def _take(blocks: Iterator[bytes]) -> bytes:
    """The first bytes of a stream, enough to tell its kind unless it ends before."""
    head = b""
    while len(head) < _HEAD and (block := next(blocks, b"")):
        head += block
    return head


def _guarded(stream: Any, name: str, what: str) -> Iterator[bytes]:
    """Blocks of a binary stream, its failures told as errors of the input."""
    while True:
        try:
            block = stream.read1(_BLOCK)
        except InputError:
            raise
        except EOFError as error:
            raise InputError(f"{name}: the {what} end early", hint="the file is truncated: fetch it again") from error
        except (OSError, zlib.error, lzma.LZMAError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise InputError(f"{name}: the {what} cannot be read ({reason})") from error
        if not block:
            return
        yield block


STDIO = "-"
_DESCRIPTOR = re.compile(r"/dev/(stdout|stderr)|(?:/dev|/proc/self)/fd/(\d+)")
_STANDARD = {"stdout": 1, "stderr": 2}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def input_name(source: str | Path) -> str:
    """How messages call an input: its path, or ``stdin``."""
    return "stdin" if str(source) == STDIO else str(source)


def open_text(source: str | Path) -> TextIO:
    """Open a text input for reading; ``-`` is stdin.

    gzip, bzip2 and xz (zstd where a decoder is installed) are recognised by content, never by name;
    a byte-order mark is dropped; CR, LF and CRLF end lines; bytes that are no UTF-8 become U+FFFD.
    Nothing is read ahead beyond one block, so a pipe is followed as it fills.

    Raises:
        InputError: for a missing, unreadable or binary input; while reading, for data that end
            early or are damaged. Everything before the damage is delivered first.
    """
    name = input_name(source)
    if str(source) == STDIO:
        if sys.stdin is None:
            raise InputError("stdin: is closed")
        raw = cast(BinaryIO, sys.stdin.buffer)
    else:
        try:
            raw = cast(BinaryIO, Path(source).open("rb"))
        except OSError as error:
            known: dict[type, tuple[str, str | None]] = {
                IsADirectoryError: ("is a directory", "name the files in it"),
                FileNotFoundError: ("no such file", None),
            }
            problem, hint = known.get(type(error), (f"cannot be read ({error.strerror or error})", None))
            raise InputError(f"{name}: {problem}", hint=hint) from error
    # sys.stdin stays usable for its owner; only files opened here are closed with the reader.
    owned = None if raw is getattr(sys.stdin, "buffer", None) else raw
    reader = BlockReader(text_blocks(raw, name), owned)
    return io.TextIOWrapper(io.BufferedReader(reader, _BLOCK), encoding="utf-8", errors="replace")


class TextSink:
    """A text output that reports failures as :class:`RnafmError` (a closed pipe stays BrokenPipeError)."""

    def __init__(self, handle: TextIO, name: str) -> None:
        self._handle = handle
        self.name = name
        self.empty = True

    def write(self, text: str) -> int:
        """Write text; it may sit in a buffer until :meth:`flush`."""
        self.empty = self.empty and not text
        with writing(self.name):
            return self._handle.write(text)

    def flush(self) -> None:
        """Hand everything written so far to the system, so that a reader down the pipe sees it."""
        with writing(self.name):
            self._handle.flush()


def write_error(name: str | Path, error: OSError) -> Exception:
    """The error to raise for a failed write: itself for a closed pipe, else one that names the output."""
    if isinstance(error, BrokenPipeError):
        return error
    reason = "the disk is full" if error.errno in _FULL else error.strerror or str(error)
    reason = "it is closed" if error.errno == errno.EBADF else reason
    return RnafmError(f"{name}: cannot be written ({reason})")


@contextlib.contextmanager
def writing(name: str | Path) -> Iterator[None]:
    """A ``with`` block whose system errors are those of an output, see :func:`write_error`."""
    try:
        yield
    except OSError as error:
        raise write_error(name, error) from error


@contextlib.contextmanager
def open_output(target: str | Path, *, force: bool = True) -> Iterator[TextSink]:
    """A text output for the time of a ``with`` block; ``-`` is stdout, ``.gz`` compresses.

    A file grows under a name of its own and takes the target's when the block ends well. When it ends badly the
    text written so far stays under that name, and the error's hint says so. Devices and named pipes
    are written directly, as is what ``/dev/stdout`` and ``/dev/fd/N`` stand for, whatever it is.

    Args:
        force: replace a file that exists.

    Raises:
        UsageError: when the target is a folder or lies in none, or exists and ``force`` is off.
        RnafmError: when writing fails.
    """
    if str(target) == STDIO:
        sink = TextSink(sys.stdout, "stdout")
        yield sink
        sink.flush()
        return
    name, descriptor, path = str(target), _open_descriptor(target), Path(os.path.realpath(target))
    # The target itself is looked at: what /dev/fd/N resolves to may be no path at all.
    special = os.path.exists(target) and not os.path.isdir(target) and not stat.S_ISREG(os.stat(target).st_mode)
    scratch = None if special or descriptor is not None else _scratch(check_target(target, force=force))
    with writing(name):
        raw = out = cast(BinaryIO, open(scratch or path if descriptor is None else os.dup(descriptor), "wb"))
        if descriptor is None and path.suffix == ".gz":
            # Without name and time stamp: the same records give the same bytes.
            out = cast(BinaryIO, gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0))
        handle = io.TextIOWrapper(out, encoding="utf-8", newline="\n")
    sink = TextSink(handle, name)
    try:
        yield sink
        with writing(name), raw:
            handle.close()
        if scratch is not None:
            _publish(scratch, path, force=force)
    except BaseException as error:
        for opened in (handle, raw):
            with contextlib.suppress(OSError):
                opened.close()
        if scratch is not None and (sink.empty or not scratch.stat().st_size):
            scratch.unlink()
        elif scratch is not None and isinstance(error, RnafmError):
            kept = f"the results so far are in {scratch}"
            error.hint = f"{error.hint}; {kept}" if error.hint else kept
        raise


def _open_descriptor(target: str | Path) -> int | None:
    """The number of the open file that a path stands for: what it resolves to is no file to be replaced."""
    named = _DESCRIPTOR.fullmatch(os.fspath(target))
    return None if named is None else _STANDARD[named[1]] if named[1] else int(named[2])


def _scratch(path: Path) -> Path:
    """An empty file of this process alone beside ``path``: two writers never meet, and no link is followed."""
    while True:
        name = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        with writing(path), contextlib.suppress(FileExistsError):
            name.touch(exist_ok=False)
            return name


def check_target(target: str | Path, *, force: bool = True) -> Path:
    """The file that a target stands for, links followed.

    Raises:
        UsageError: when it is a folder or lies in none, or exists and ``force`` is off.
    """
    path = Path(os.path.realpath(target))
    if _open_descriptor(target) is not None:
        raise UsageError(f"{target}: is no file of its own", hint="name a file")
    if path.is_dir():
        raise UsageError(f"{target}: is a folder", hint="name a file")
    if path.exists() and not path.is_file():
        raise UsageError(f"{target}: is no regular file", hint="name a file: it would be replaced")
    if not path.parent.is_dir():
        raise UsageError(f"{target}: there is no folder {path.parent}", hint="make it first")
    if path.exists() and not force:
        raise UsageError(f"{target}: exists", hint="--force replaces it")
    return path


def _publish(written: Path, path: Path, *, force: bool = True) -> None:
    """Give a complete file its name, once its bytes are on the disk."""
    if not force and path.exists():
        raise UsageError(f"{path}: was written by another process meanwhile")
    with writing(path):
        with written.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(written, path)


@contextlib.contextmanager
def atomic_path(path: str | Path, *, force: bool = True) -> Iterator[Path]:
    """An empty file to write to that becomes ``path`` when the block ends well and vanishes when it does not.

    Args:
        force: replace a file that exists.

    Raises:
        UsageError: when the path is a folder or lies in none, or exists and ``force`` is off.
        RnafmError: when the disk is full.
    """
    final = check_target(path, force=force)
    written = _scratch(final)
    try:
        yield written
        _publish(written, final, force=force)
    except OSError as error:
        raise write_error(path, error) if error.errno in _FULL else error from error
    finally:
        written.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the whole new one."""
    with atomic_path(path) as written:
        written.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
