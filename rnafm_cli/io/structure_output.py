"""Where predicted structures go: one text for all, or a folder with a file for each record.

forgi is optional and is imported only here. Its compiled extension writes to the process's standard
error when it meets a newer numpy, past Python's ``sys.stderr``, so that is silenced where it is made.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from rnafm_cli.errors import InputError, RnafmError, UsageError
from rnafm_cli.io.columns import TABLES
from rnafm_cli.io.modelling import format_3drna, rosetta_files
from rnafm_cli.io.names import DistinctNames, file_stem, refuse_suffix
from rnafm_cli.io.streams import TextSink, open_output
from rnafm_cli.io.structures import STRUCTURE_FORMATS, plain_letters
from rnafm_cli.rna.pairs import to_dot_bracket
from rnafm_cli.rna.records import SequenceRecord, StructureRecord

__all__ = [
    "ELEMENT_LETTERS",
    "FamilyCall",
    "FolderOutput",
    "OUTPUT_FORMATS",
    "OutputFormat",
    "RecordFolder",
    "StreamOutput",
    "StructureOutput",
    "StructureScore",
    "check_format",
    "element_string",
    "format_elements",
]


ELEMENT_LETTERS = {
    "f": "5' end",
    "s": "stem",
    "h": "hairpin loop",
    "i": "interior loop or bulge",
    "m": "multiloop segment",
    "t": "3' end",
}
STDERR = 2


def element_string(record: StructureRecord) -> str:
    """One letter per base, see :data:`ELEMENT_LETTERS`; stems of a single pair count as stems.

    Raises:
        RnafmError: when forgi is missing or fails on the structure.
    """
    graphs = _bulge_graph()
    structure = to_dot_bracket(record.pairs, len(record))
    with _silence():
        try:
            graph = graphs.from_dotbracket(
                structure, seq=plain_letters(record.sequence), dissolve_length_one_stems=False
            )
            elements = str(graph.to_element_string())
        except Exception as error:
            raise RnafmError(f"{record.where}: forgi cannot annotate this structure ({error})") from error
    return elements


def format_elements(record: StructureRecord) -> str:
    """Header, sequence, structure and element string, one line each."""
    structure = to_dot_bracket(record.pairs, len(record))
    return f">{record.header}\n{plain_letters(record.sequence)}\n{structure}\n{element_string(record)}\n"


@cache
def _bulge_graph() -> Any:
    try:
        with _silence():
            from forgi.graph.bulge_graph import BulgeGraph
    except Exception as error:
        raise RnafmError(
            f"loop types need the forgi package ({type(error).__name__}: {error})",
            hint="pip install forgi (Python below 3.13), or choose another format",
        ) from error
    return BulgeGraph


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep Python's warnings and whatever compiled code writes to file descriptor 2 from the terminal."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
    try:
        saved = os.dup(STDERR)
    except OSError:
        saved = None
    sink = os.open(os.devnull, os.O_WRONLY)
    if sink != STDERR:
        os.dup2(sink, STDERR)
        os.close(sink)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        if saved is None:
            os.close(STDERR)
        else:
            os.dup2(saved, STDERR)
            os.close(saved)


@dataclass(frozen=True)
class FamilyCall:
    """A known family that a structure rests on: accession, name, E-value, and the stretch (0-based, end excluded)."""

    accession: str
    name: str
    evalue: float
    start: int
    end: int


@dataclass(frozen=True)
class StructureScore:
    """How sure a structure is, and why."""

    expected_accuracy: float
    """Expected share of bases whose partner, or lack of one, is right."""
    pair_confidence: float | None
    """Mean probability of the structure's pairs; None without pairs."""
    families: tuple[FamilyCall, ...] = ()
    """Families found, the surest first."""

    @property
    def remark(self) -> str:
        """The line that follows a structure; RNAeval, RNAplot and forgi skip it."""
        confidence = "" if self.pair_confidence is None else f" pair_confidence={self.pair_confidence:.4f}"
        family = ""
        if self.families:
            best = self.families[0]
            family = f" family={best.accession} name={best.name} evalue={best.evalue:.1e}"
        return f"# expected_accuracy={self.expected_accuracy:.4f}{confidence}{family}\n"


@dataclass(frozen=True)
class OutputFormat:
    """A text format of structures.

    Args:
        suffix: of a record's own file.
        text: a record's text, score included where one is given.
        header: what comes once before the records.
        scored_header: the same when scores are written; None when the format has no place for scores.
        files: a record's files by suffix, for formats of several files; such need a folder.
        strands: whether it has a mark between the strands of a complex.
    """

    suffix: str
    text: Callable[[StructureRecord, StructureScore | None], str] | None = None
    header: str = ""
    scored_header: str | None = None
    files: Callable[[StructureRecord], dict[str, str]] | None = None
    strands: bool = False

    def check(self, record: StructureRecord) -> None:
        """Make sure that the format can hold a record.

        Raises:
            InputError: for strands that it would join.
        """
        if record.breaks and not self.strands:
            held = ", ".join(name for name, entry in OUTPUT_FORMATS.items() if entry.strands)
            raise InputError(
                f"{record.where}: has {len(record.breaks) + 1} strands, and the format would join them",
                hint=f"strand breaks (&) are kept by --format {held}",
            )


def _remarked(write: Callable[[StructureRecord], str]) -> Callable[[StructureRecord, StructureScore | None], str]:
    return lambda record, score: write(record) + (score.remark if score else "")


def _bare(write: Callable[[StructureRecord], str]) -> Callable[[StructureRecord, StructureScore | None], str]:
    return lambda record, score: write(record)


def _tsv(record: StructureRecord, score: StructureScore | None) -> str:
    row = _text_of("tsv")(record)
    if score is None:
        return row
    confidence = "" if score.pair_confidence is None else f"{score.pair_confidence:.4f}"
    call = score.families[0] if score.families else None
    family = f"{call.accession}\t{call.evalue:.1e}" if call else "\t"
    return f"{row[:-1]}\t{score.expected_accuracy:.4f}\t{confidence}\t{family}\n"


def _jsonl(record: StructureRecord, score: StructureScore | None) -> str:
    row = {
        "id": record.id,
        "description": record.description,
        "length": len(record),
        "sequence": record.sequence,
        "structure": to_dot_bracket(record.pairs, len(record), letters=True),
        "pairs": (record.pairs + 1).tolist(),
        "expected_accuracy": round(score.expected_accuracy, 4) if score else None,
        "pair_confidence": round(score.pair_confidence, 4) if score and score.pair_confidence is not None else None,
        "families": [
            {"accession": c.accession, "name": c.name, "evalue": c.evalue, "start": c.start + 1, "end": c.end}
            for c in (score.families if score else ())
        ],
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def _text_of(name: str) -> Callable[[StructureRecord], str]:
    write = STRUCTURE_FORMATS[name].format
    assert write is not None
    return write


OUTPUT_FORMATS: dict[str, OutputFormat] = {
    "dbn": OutputFormat(".dbn", _remarked(_text_of("dbn")), scored_header="", strands=True),
    "ct": OutputFormat(".ct", _bare(_text_of("ct"))),
    "bpseq": OutputFormat(".bpseq", _bare(_text_of("bpseq"))),
    "tsv": OutputFormat(
        ".tsv",
        _tsv,
        "\t".join(TABLES["fold --format tsv"]) + "\n",
        scored_header="\t".join(TABLES["fold --format tsv --score"]) + "\n",
    ),
    "jsonl": OutputFormat(".jsonl", _jsonl, scored_header=""),
    "3drna": OutputFormat(".3drna", _bare(format_3drna)),
    "rosetta": OutputFormat("", files=rosetta_files),
    "elements": OutputFormat(".elements", _remarked(format_elements), scored_header=""),
}


class StructureOutput(Protocol):
    """Takes structures one by one."""

    def claim(self, record: SequenceRecord) -> None:
        """Make sure that a record can be written, before it is folded."""
        ...

    def add(self, record: StructureRecord, score: StructureScore | None = None) -> None:
        """Write one structure.

        Raises:
            InputError: when the format cannot hold the record.
        """
        ...


class StreamOutput:
    """All records in one text, flushed after each so that a reader down the pipe sees it."""

    def __init__(self, sink: TextSink, format: str, *, scored: bool = False) -> None:
        entry = check_format(format, scored=scored, folder=False)
        assert entry.text is not None
        known = STRUCTURE_FORMATS[format].suffixes if format in STRUCTURE_FORMATS else ()
        refuse_suffix(
            sink.name,
            (entry.suffix, *known),
            f"the format {format}",
            "--format says what -o gets; --probs FILE.h5 writes pair probabilities, --plot drawings",
        )
        self._sink, self._format, self._text = sink, entry, entry.text
        header = entry.scored_header if scored else entry.header
        if header:
            sink.write(header)

    def claim(self, record: SequenceRecord) -> None:
        """Nothing can be in the way."""

    def add(self, record: StructureRecord, score: StructureScore | None = None) -> None:
        """Write one structure.

        Raises:
            InputError: when the format cannot hold the record.
        """
        self._format.check(record)
        self._sink.write(self._text(record, score))
        self._sink.flush()


class RecordFolder:
    """A folder with files of each record, named by its id; each appears whole or not at all.

    Args:
        folder: made if need be.
        suffixes: of the files of a record.
        force: replace files that exist.

    Raises:
        UsageError: when the folder is a file.
    """

    def __init__(self, folder: str | Path, suffixes: Sequence[str], *, force: bool = False) -> None:
        self.folder, self._suffixes, self._force = Path(folder), suffixes, force
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{folder}: is no folder", hint="name a folder, or write to one file with -o")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RnafmError(f"{folder}: cannot be made ({error.strerror or error})") from error
        self._names = DistinctNames(lambda name: file_stem(name).casefold(), kind="file name")

    def claim(self, record: SequenceRecord) -> None:
        """Reserve a record's file names.

        Raises:
            InputError: when an earlier record has them.
            UsageError: when a file is there and ``force`` is off.
        """
        self._names.claim(record)
        for suffix in self._suffixes:
            path = self.folder / (file_stem(record.id) + suffix)
            if path.exists() and not self._force:
                raise UsageError(f"{path}: exists", hint="--force replaces it")

    def write(self, texts: Mapping[str, str]) -> None:
        """Write files by name.

        Raises:
            RnafmError: when writing fails.
        """
        for name, text in texts.items():
            with open_output(self.folder / name) as sink:
                sink.write(text)


class FolderOutput(RecordFolder):
    """A file (for ``rosetta`` two) for each record.

    Raises:
        UsageError: when the folder is a file, or the format has no place for scores.
    """

    def __init__(self, folder: str | Path, format: str, *, scored: bool = False, force: bool = False) -> None:
        self._format, self._scored = check_format(format, scored=scored, folder=True), scored
        suffixes = (".secstruct", ".fasta") if self._format.files else (self._format.suffix,)
        super().__init__(folder, suffixes, force=force)

    def add(self, record: StructureRecord, score: StructureScore | None = None) -> None:
        """Write one structure.

        Raises:
            InputError: when the format cannot hold the record.
            RnafmError: when writing fails.
        """
        self._format.check(record)
        self.write(self._texts(record, score))

    def _texts(self, record: StructureRecord, score: StructureScore | None) -> dict[str, str]:
        if self._format.files is not None:
            return self._format.files(record)
        assert self._format.text is not None
        header = self._format.scored_header if self._scored else self._format.header
        return {file_stem(record.id) + self._format.suffix: (header or "") + self._format.text(record, score)}


def check_format(name: str, *, scored: bool, folder: bool) -> OutputFormat:
    """The entry of a format that can be written as wanted.

    Raises:
        UsageError: when the format has no place for scores, or needs a folder.
    """
    entry = OUTPUT_FORMATS[name]
    if scored and entry.scored_header is None:
        have = ", ".join(key for key, value in OUTPUT_FORMATS.items() if value.scored_header is not None)
        raise UsageError(f"the format {name} has no place for scores", hint=f"--score goes with {have}")
    if entry.files is not None and not folder:
        raise UsageError(f"the format {name} has several files for each record", hint="add --out-dir DIR")
    return entry
