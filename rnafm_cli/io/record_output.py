"""Where results go as text, record by record: one text for all, or a folder with a file for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rnafm_cli.errors import UsageError
from rnafm_cli.io.names import DistinctNames, Record, file_stem, refuse_suffix
from rnafm_cli.io.streams import TextSink, open_output, writing


@dataclass(frozen=True)
class TextFormat:
    """How results are written.

    Args:
        suffix: of a record's own file.
        text: a record's text, from the record and what was found of it; raises InputError for one it cannot hold.
        header: what comes once before the records.
        single: whether a text can hold one record only.
        also: further suffixes that fit the format.
    """

    name: str
    suffix: str
    text: Callable[[Any, Any], str]
    header: str = ""
    single: bool = False
    also: tuple[str, ...] = ()


class RecordOutput(Protocol):
    """Takes results one by one."""

    def claim(self, record: Record) -> None:
        """Make sure that a record can be written, before anything is predicted for it."""
        ...

    def add(self, record: Record, found: Any = None) -> None:
        """Write one record and what was found of it.

        Raises:
            InputError: when the format cannot hold the record.
        """
        ...


class RecordStream:
    """All records in one text, flushed after each so that a reader down the pipe sees it.

    Args:
        elsewhere: what goes to other options, for a target whose name promises that.

    Raises:
        UsageError: for a format of several files, and a target that is named like something else.
    """

    def __init__(self, sink: TextSink, formats: Sequence[TextFormat], *, elsewhere: str) -> None:
        self._sink, self._format = sink, formats[0]
        self._first: str | None = None
        name = self._format.name
        if len(formats) > 1:
            raise UsageError(f"the format {name} has several files for each record", hint="add --out-dir DIR")
        fitting = (self._format.suffix, *self._format.also)
        refuse_suffix(sink.name, fitting, f"the format {name}", f"--format says what -o gets; {elsewhere}")
        if self._format.header:
            sink.write(self._format.header)

    def claim(self, record: Record) -> None:
        """Refuse a second record where the format has no place for it.

        Raises:
            UsageError: for a second record.
        """
        if self._format.single and self._first is not None:
            raise UsageError(
                f"{record.where}: the format has no place for a second RNA beside '{self._first}'",
                hint="add --out-dir DIR for a file each",
            )
        self._first = record.id

    def add(self, record: Record, found: Any = None) -> None:
        self._sink.write(self._format.text(record, found))
        self._sink.flush()


class RecordFolder:
    """A folder with a file in each format for each record, named by its id; each appears whole or not at all.

    Args:
        folder: made if need be.
        force: replace files that exist.

    Raises:
        UsageError: when the folder is a file.
        RnafmError: when it cannot be made.
    """

    def __init__(self, folder: str | Path, formats: Sequence[TextFormat], *, force: bool = False) -> None:
        self.folder, self._formats, self._force = Path(folder), formats, force
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{folder}: is no folder", hint="name a folder, or write to one file with -o")
        with writing(folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._names = DistinctNames(lambda name: file_stem(name).casefold(), kind="file name")

    def claim(self, record: Record) -> None:
        """Reserve a record's file names.

        Raises:
            InputError: when an earlier record has them.
            UsageError: when a file is there and ``force`` is off.
        """
        self._names.claim(record)
        for format in self._formats:
            path = self._path(record, format)
            if path.exists() and not self._force:
                raise UsageError(f"{path}: exists", hint="--force replaces it")

    def add(self, record: Record, found: Any = None) -> None:
        texts = [(self._path(record, format), format.header + format.text(record, found)) for format in self._formats]
        for path, text in texts:
            with open_output(path) as sink:
                sink.write(text)

    def _path(self, record: Record, format: TextFormat) -> Path:
        return self.folder / (file_stem(record.id) + format.suffix)


@contextmanager
def record_output(
    output: Path, folder: Path | None, formats: Sequence[TextFormat], *, elsewhere: str, force: bool = False
) -> Iterator[RecordOutput]:
    """The folder if there is one, else the file or ``-``; arguments as for the two classes."""
    if folder is not None:
        yield RecordFolder(folder, formats, force=force)
        return
    with open_output(output) as sink:
        yield RecordStream(sink, formats, elsewhere=elsewhere)
