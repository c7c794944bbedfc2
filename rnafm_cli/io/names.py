"""Names made from record ids: HDF5 keys and file names, checked to stay distinct."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TypeVar

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.rna.records import SequenceRecord, StructureRecord

Record = SequenceRecord | StructureRecord
_Record = TypeVar("_Record", SequenceRecord, StructureRecord)
_UNSAFE = re.compile(r"""[\\/?%*:|"<>\s\x00-\x1f]""")
PACKED = frozenset({".gz", ".bz2", ".xz", ".zst"})
"""Suffixes of packed files."""
_LONGEST = 200
"""Bytes of a file name without its suffix; common file systems take 255 in all."""


HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
_TELLING = frozenset(
    ".npy .npz .csv .tsv .json .jsonl .h5 .hdf5 .hdf .pt .pth .pkl .parquet .safetensors .xlsx .html "
    ".svg .png .pdf .jpg .jpeg .gif .tif .tiff .bmp .webp .eps .ps "
    ".fa .fasta .fastq .dbn .db .ct .bpseq .st .sto .stk .cif .ent .gff .gff3 .bed .rr .cst".split()
)
"""Suffixes by which programs and people tell what a file holds."""


def refuse_suffix(path: str | Path, fitting: Collection[str], written: str, hint: str) -> None:
    """Refuse an output whose name promises what is not ``written``; names that promise nothing are free.

    Raises:
        UsageError: for a telling suffix that is none of the ``fitting`` ones; the hint says what to do.
    """
    name = PurePath(str(path).lower())
    suffix = PurePath(name.stem).suffix if name.suffix in PACKED else name.suffix
    if suffix in _TELLING and suffix not in fitting:
        raise UsageError(f"{path}: {written} would be written, which is not what {suffix} stands for", hint=hint)


def source_stem(source: str | Path) -> str:
    """What a file is called without its folder, the suffix of a packer, and that of its format."""
    path = PurePath(source)
    return PurePath(path.stem).stem if path.suffix in PACKED else path.stem


def hdf5_key(identifier: str) -> str:
    """The data set name of a record: its id with ``/``, which would make groups, as ``_``."""
    key = identifier.replace("/", "_")
    return "_" * len(key) if key in (".", "..") else key


def npy_stem(identifier: str) -> str:
    """Upstream's file name of a record: the id with spaces (and here ``/``) as ``_``."""
    return _fit(identifier.replace(" ", "_").replace("/", "_"))


def file_stem(identifier: str) -> str:
    """A file name for a record, by ViennaRNA's rule: characters that shells and systems mind become ``_``."""
    return _fit(_UNSAFE.sub("_", identifier))


def _fit(name: str) -> str:
    """Keep a name from being hidden or longer than a file system takes."""
    name = "_" + name[1:] if name.startswith(".") else name
    if len(name.encode()) <= _LONGEST:
        return name or "_"
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return name.encode()[: _LONGEST - 13].decode(errors="ignore") + "_" + digest


class DistinctNames:
    """Gives each record a name, and refuses to give the same one twice."""

    def __init__(self, make: Callable[[str], str], *, kind: str) -> None:
        self._make = make
        self._kind = kind
        self._owners: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._owners

    def claim(self, record: Record) -> str:
        """The name of a record, no longer free afterwards.

        Raises:
            InputError: when an earlier record has that name; both ids are told.
        """
        name = self.name(record)
        if (owner := self._owners.get(name)) is not None:
            problem = f"its {self._kind} '{name}' is also that of the record '{owner}'"
            raise InputError(
                f"{record.where}: {'the id appears twice' if owner == record.id else problem}",
                hint="give every record its own id, or use --rename-duplicates",
            )
        self._owners[name] = record.id
        return name

    def name(self, record: Record) -> str:
        """The name of a record, whether free or not."""
        return self._make(record.id)


def rename_duplicates(records: Iterable[_Record]) -> Iterator[_Record]:
    """The same records, an id followed by ``_2``, ``_3`` and so on where an earlier one would have the same file name.

    Some file systems take names that differ only in case for the same.
    """
    counts: dict[str, int] = {}
    for record in records:
        name, number = record.id, counts.get(file_stem(record.id).casefold(), 0)
        while file_stem(name).casefold() in counts:
            number = max(number + 1, 2)
            name = f"{record.id}_{number}"
        counts[file_stem(record.id).casefold()] = max(number, 1)
        counts.setdefault(file_stem(name).casefold(), 1)
        yield record if name == record.id else replace(record, id=name)
