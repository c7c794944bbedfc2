"""Where results go as text, record by record: one text for all, or a folder with a file for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

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


class RecordStream:
    """All records in one text, flushed after each so that a reader down the pipe sees it."""

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
        """Refuse a second record where the format has no place for it, before anything is predicted for it."""
        if self._format.single and self._first is not None:
            raise UsageError(
                f"{record.where}: the format has no place for a second RNA beside '{self._first}'",
                hint="add --out-dir DIR for a file each",
            )
        self._first = record.id

    def add(self, record: Record, found: Any = None) -> None:
        """Write one record and what was found of it."""
        self._sink.write(self._format.text(record, found))
        self._sink.flush()


class RecordFolder:
    """A folder with a file in each format for each record, named by its id; each appears whole or not at all."""

    def __init__(self, folder: Path, formats: Sequence[TextFormat], *, force: bool = False) -> None:
        self.folder, self._formats, self._force = folder, formats, force
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is no folder", hint="name a folder, or write to one file with -o")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._names = DistinctNames(lambda name: file_stem(name).casefold(), kind="file name")

    def claim(self, record: Record) -> None:
        """Reserve a record's file names, before anything is predicted for it.

        Raises:
            InputError: when an earlier record has them.
            UsageError: when a file is there and is not to be replaced.
        """
        self._names.claim(record)
        for format in self._formats:
            path = self._path(record, format)
            if path.exists() and not self._force:
                raise UsageError(f"{path}: exists", hint="--force replaces it")

    def add(self, record: Record, found: Any = None) -> None:
        """Write one record and what was found of it; nothing where one of the formats cannot hold it."""
        texts = [format.header + format.text(record, found) for format in self._formats]
        for format, text in zip(self._formats, texts, strict=True):
            with open_output(self._path(record, format)) as sink:
                sink.write(text)

    def _path(self, record: Record, format: TextFormat) -> Path:
        return self.folder / (file_stem(record.id) + format.suffix)


RecordOutput: TypeAlias = RecordStream | RecordFolder


@contextmanager
def record_output(
    output: Path, folder: Path | None, formats: Sequence[TextFormat], *, elsewhere: str, force: bool = False
) -> Iterator[RecordOutput]:
    """The folder if there is one, else the file or ``-``.

    Args:
        formats: of one result; several are several files.
        elsewhere: what goes to other options, for an output whose name promises that.
        force: replace files of the folder that exist.

    Raises:
        UsageError: for a file as folder, several formats in one output, and an output that is named like another one.
    """
    if folder is not None:
        yield RecordFolder(folder, formats, force=force)
        return
    with open_output(output) as sink:
        yield RecordStream(sink, formats, elsewhere=elsewhere)
