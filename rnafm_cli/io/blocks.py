"""Blocks of bytes on their way to text: compression found by content, damage and binary data told kindly."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from rnafm_cli.errors import InputError

__all__ = ["BLOCK", "BlockReader", "text_blocks"]

BLOCK = 1 << 16
_BOM = b"\xef\xbb\xbf"
_HEAD = 6
_FOREIGN = {
    b"PK\x03\x04": ("a zip archive", "unpack it first"),
    b"\x89HDF": ("an HDF5 file", None),
    b"%PDF": ("a PDF document", None),
    b"\xff\xfe": ("UTF-16 text", "save it as UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "save it as UTF-8"),
}


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
    for magic, (kind, decoder) in _DECODERS.items():
        if head.startswith(magic):
            packed = io.BufferedReader(BlockReader(itertools.chain([head], blocks)), BLOCK)
            blocks = _guarded(decoder(name, packed), name, f"{kind} data")
            head = _take(blocks)
            break
    for magic, (what, hint) in _FOREIGN.items():
        if head.startswith(magic):
            raise InputError(f"{name}: is {what}, not plain text", hint=hint)
    for block in itertools.chain([head.removeprefix(_BOM)], blocks):
        end = block.find(b"\0")
        if end < 0:
            yield block
            continue
        if end:
            yield block[:end]
        raise InputError(f"{name}: holds binary data, not text")


def _take(blocks: Iterator[bytes]) -> bytes:
    """The first bytes of a stream, enough to tell its kind unless it ends before."""
    head = b""
    while len(head) < _HEAD:
        block = next(blocks, b"")
        if not block:
            break
        head += block
    return head


def _guarded(stream: Any, name: str, what: str) -> Iterator[bytes]:
    """Blocks of a binary stream, its failures told as errors of the input."""
    while True:
        try:
            block = stream.read1(BLOCK)
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


def _zstd(name: str, packed: BinaryIO) -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise InputError(f"{name}: is zstd-compressed", hint="pip install zstandard, or recompress as .gz") from error
    return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True))


_DECODERS: dict[bytes, tuple[str, Callable[[str, BinaryIO], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda name, packed: gzip.GzipFile(fileobj=packed, mode="rb")),
    b"BZh": ("bzip2", lambda name, packed: bz2.BZ2File(packed)),
    b"\xfd7zXZ\x00": ("xz", lambda name, packed: lzma.LZMAFile(packed)),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
}
