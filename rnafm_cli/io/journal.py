"""A file whose changes take effect together: after a kill it is as it was at some commit.

HDF5 spreads one change over many places of a file, so a process that dies between two writes leaves
nonsense. Here bytes beyond the last commit's end go straight to the file, where nothing refers to
them yet; changes to bytes before that end wait in memory as pages. A commit writes these pages to a
journal beside the file, then into the file, then removes the journal; opening a file with a whole
journal finishes that commit. No write ever fails under HDF5's feet: after an error the file keeps
the last commit, and the error is raised at the next one.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

from rnafm_cli.errors import UsageError
from rnafm_cli.io.streams import atomic_path, check_target, write_error

__all__ = ["JournaledFile", "NewHdf5", "journal_of"]


try:
    import fcntl
except ImportError:  # pragma: no cover - there is no fcntl on Windows
    fcntl = None  # type: ignore[assignment]


PAGE = 4096
_MAGIC = b"rnafmjnl"
_HEADER = struct.Struct("<8sQQ")
_OFFSET = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")


def journal_of(path: Path) -> Path:
    """Where the journal of a file lies while a commit is under way."""
    return path.with_name(path.name + ".journal")


class JournaledFile:
    """A binary file-like object for h5py's ``fileobj`` driver with all-or-nothing commits.

    Args:
        path: an existing file; a commit that was cut short is finished first.

    Raises:
        OSError: when it cannot be opened.
        UsageError: when another process has it open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("r+b", buffering=0)
        self._pages: dict[int, bytearray] = {}
        self._position = 0
        self.error: OSError | None = None
        try:
            self._lock()
            self._recover()
        except BaseException:
            self._file.close()
            raise
        self._size = self._committed = self._file.seek(0, io.SEEK_END)

    def _lock(self) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(f"{self._path}: another process is writing it", hint="wait for it to end") from error
            except OSError:  # pragma: no cover - some network file systems have no locks
                pass

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; the end is that of the file as written so far."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """The position of the next read or write."""
        return self._position

    def read(self, size: int) -> bytes:
        """Bytes at the position; beyond the end they are zero."""
        block = bytearray(size)
        self.readinto(block)
        return bytes(block)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the position on, with zeros beyond the end."""
        view = memoryview(buffer)
        start, size = self._position, len(view)
        view[:] = bytes(size) if start >= self._size else self._stored(start, size)
        for number in self._touched(start, size):
            page, low = self._pages[number], number * PAGE
            first, last = max(start, low), min(start + size, low + PAGE)
            view[first - start : last - start] = page[first - low : last - low]
        self._position += size
        return size

    def write(self, data: Any) -> int:
        """Write at the position; never fails, see :attr:`error`."""
        view = memoryview(data).cast("B")
        start, size = self._position, len(view)
        fresh = -(-self._committed // PAGE) * PAGE
        waiting = size if self.error is not None else min(max(fresh - start, 0), size)
        if waiting < size:
            try:
                self._store(start + waiting, view[waiting:])
            except OSError as error:
                self.error, waiting = error, size
        self._wait(start, view[:waiting])
        self._position += size
        self._size = max(self._size, self._position)
        return size

    def truncate(self, size: int) -> int:
        """Set the end of the file, in effect from the next commit on."""
        self._size = size
        return size

    def flush(self) -> None:
        """Nothing: only a commit, made when HDF5 has written all it holds, is a state to keep."""

    def commit(self) -> None:
        """Make everything written so far the state that survives.

        Raises:
            OSError: the first write that failed since the last commit, which stays the state.
        """
        if self.error is None:
            try:
                self._commit()
            except OSError as error:
                self.error = error
        if self.error is not None:
            raise self.error

    def sync(self) -> None:
        """Wait until the bytes are on the disk, safe from a power cut."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file as it was at the last commit."""
        if not self._file.closed:
            if not journal_of(self._path).exists():
                with contextlib.suppress(OSError):
                    self._file.truncate(self._committed)
            self._file.close()

    def _touched(self, start: int, size: int) -> list[int]:
        pages = range(start // PAGE, (start + size - 1) // PAGE + 1)
        if len(pages) < len(self._pages):
            return [number for number in pages if number in self._pages]
        return [number for number in self._pages if number in pages]

    def _wait(self, start: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            number, offset = divmod(start + done, PAGE)
            page = self._pages.get(number)
            if page is None:
                page = self._pages[number] = bytearray(self._stored(number * PAGE, PAGE))
            count = min(PAGE - offset, len(view) - done)
            page[offset : offset + count] = view[done : done + count]
            done += count

    def _stored(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        parts = []
        while size and (part := self._file.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts) + bytes(size)

    def _store(self, start: int, data: Any) -> None:
        view = memoryview(data)
        self._file.seek(start)
        while view:
            view = view[self._file.write(view) :]

    def _commit(self) -> None:
        journal = journal_of(self._path)
        if self._pages:
            try:
                _write_journal(journal, self._size, self._pages)
            except OSError:
                journal.unlink(missing_ok=True)
                raise
        self._apply(self._size, self._pages)
        journal.unlink(missing_ok=True)
        self._committed = self._size
        self._pages = {}

    def _apply(self, size: int, pages: dict[int, bytearray]) -> None:
        for number in sorted(pages):
            self._store(number * PAGE, pages[number])
        self._file.truncate(size)

    def _recover(self) -> None:
        journal = journal_of(self._path)
        if not journal.exists():
            return
        found = _read_journal(journal)
        if found is not None:
            self._apply(*found)
        journal.unlink()


def _write_journal(path: Path, size: int, pages: dict[int, bytearray]) -> None:
    parts = [_HEADER.pack(_MAGIC, size, len(pages))]
    for number, page in pages.items():
        parts += [_OFFSET.pack(number), bytes(page)]
    content = b"".join(parts)
    path.unlink(missing_ok=True)
    with path.open("xb") as handle:
        handle.write(content + _CHECKSUM.pack(zlib.crc32(content)))


def _read_journal(path: Path) -> tuple[int, dict[int, bytearray]] | None:
    """File size and pages of a journal, or None for one that was not finished."""
    content = path.read_bytes()
    body = content[: -_CHECKSUM.size]
    if len(content) < _HEADER.size + _CHECKSUM.size or content[len(body) :] != _CHECKSUM.pack(zlib.crc32(body)):
        return None
    magic, size, count = _HEADER.unpack_from(body)
    step = _OFFSET.size + PAGE
    if magic != _MAGIC or len(body) != _HEADER.size + count * step:
        return None
    starts = range(_HEADER.size, len(body), step)
    return size, {_OFFSET.unpack_from(body, k)[0]: bytearray(body[k + _OFFSET.size : k + step]) for k in starts}


class NewHdf5:
    """A new HDF5 file that takes its name when the ``with`` block ends well, and leaves nothing when it does not.

    HDF5 crashes when the disk is full as it closes a file, so no write fails under it, see :class:`JournaledFile`.

    Args:
        force: replace a file that exists.
        options: of ``h5py.File``.

    Raises:
        UsageError: when the path is a folder or lies in none, or exists and ``force`` is off.
    """

    def __init__(self, path: Path, *, force: bool = True, **options: Any) -> None:
        check_target(path, force=force)
        self._path, self._options = path, options
        self._target = atomic_path(path, force=force)

    def __enter__(self) -> Any:
        # Tables of text start faster without it.
        import h5py

        self._raw = JournaledFile(self._target.__enter__())
        self.file = h5py.File(self._raw, "w", driver="fileobj", **self._options)
        return self.file

    def check(self) -> None:
        """Look whether all was written so far.

        Raises:
            RnafmError: when the disk is full.
        """
        if self._raw.error is not None:
            raise write_error(self._path, self._raw.error) from self._raw.error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with contextlib.suppress(OSError, RuntimeError):
                self.file.close()
            if error is None or isinstance(error, OSError | RuntimeError):
                self.check()
            if error is None:
                self._raw.commit()
        except BaseException as failure:
            self._raw.close()
            self._target.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._raw.close()
        self._target.__exit__(kind, error, trace)
