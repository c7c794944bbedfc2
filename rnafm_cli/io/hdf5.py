"""HDF5 files: new ones that appear whole or not at all and say what made them, and those to be read."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rnafm_cli import __version__
from rnafm_cli.errors import InputError
from rnafm_cli.io.streams import atomic_path, write_error

Provenance = Mapping[str, str | int | float | bool | None]


def stamped(provenance: Provenance) -> dict[str, str | int | float | bool]:
    """The known entries with this program's version and the time added."""
    return {
        "rnafm_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **{key: value for key, value in provenance.items() if value is not None},
    }


def attributes_of(stored: h5py.File | h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """The attributes as Python values."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in stored.attrs.items()}


class _SteadyFile(io.FileIO):
    """A file whose writes never fail under HDF5's feet: it crashes when the disk is full as it closes a file.

    What went wrong first, a signal included, is kept in ``error``, and later writes do nothing.
    """

    error: BaseException | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        size = len(view)
        try:
            while view and self.error is None:
                view = view[super().write(view) :]
        except BaseException as error:
            self.error = self.error or error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except BaseException as error:
            self.error = self.error or error
        return size or 0


class Hdf5Output(h5py.File):
    """A file of :func:`new_hdf5`."""

    def __init__(self, raw: _SteadyFile, path: Path, mode: str, **options: Any) -> None:
        self._raw, self._path = raw, path
        super().__init__(raw, mode, driver="fileobj", **options)

    def check(self) -> None:
        """See that all was written so far.

        Raises:
            RnafmError: when the disk is full.
        """
        if isinstance(error := self._raw.error, OSError):
            raise write_error(self._path, error) from error
        if error is not None:
            raise error


@contextlib.contextmanager
def new_hdf5(path: str | Path, *, force: bool = True, **options: Any) -> Iterator[Hdf5Output]:
    """An HDF5 file that takes its name when the ``with`` block ends well, and leaves nothing when it does not.

    Args:
        force: replace a file that exists.
        options: of ``h5py.File``.

    Raises:
        UsageError: when the path is a folder or lies in none, or exists and ``force`` is off.
        RnafmError: when the disk is full.
    """
    with atomic_path(path, force=force) as scratch:
        with _SteadyFile(scratch, "r+b") as raw:
            file = Hdf5Output(raw, Path(path), "w", **options)
            try:
                yield file
                file.close()
            except (OSError, RuntimeError):
                file.check()
                raise
            finally:
                with contextlib.suppress(OSError, RuntimeError):
                    file.close()
            file.check()


@contextlib.contextmanager
def open_hdf5(path: str | Path, *, hint: str | None = None) -> Iterator[h5py.File]:
    """An HDF5 file to read.

    Args:
        hint: what to do when it is none.

    Raises:
        InputError: when it is missing or no HDF5 file, or damage shows in the ``with`` block.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        problem = "is no readable HDF5 file" if Path(path).exists() else "no such file"
        raise InputError(f"{path}: {problem}", hint=hint) from error
    with file:
        try:
            yield file
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            raise InputError(f"{path}: is damaged ({error})") from error
