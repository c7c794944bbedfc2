"""Records of a pre-training corpus: streamed from FASTA, cleaned, and turned into token bytes.

The rules are the paper's (Chen et al. 2022, section 2.1): T becomes U, the 16 IUPAC letters are kept.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from rnafm_cli.errors import InputError
from rnafm_cli.io.blocks import BlockReader, text_blocks
from rnafm_cli.rna.alphabet import IUPAC_LETTERS, NUCLEOTIDE

__all__ = ["CleaningRules", "RawRecord", "attributes", "clean", "read_corpus"]

_GAPS = b"-.~*_ \t\r\n\v\f"
_FOREIGN = NUCLEOTIDE.unk
_BUFFER = 1 << 20
_N = NUCLEOTIDE.tokens.index("N")


def _translation() -> bytes:
    table = bytearray([_FOREIGN]) * 256
    for letter in IUPAC_LETTERS:
        for case in (letter, letter.lower()):
            table[ord(case)] = NUCLEOTIDE.tokens.index(letter)
    for thymine in "Tt":
        table[ord(thymine)] = NUCLEOTIDE.tokens.index("U")
    return bytes(table)


_TABLE = _translation()


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A header without ``>`` and the sequence lines as they stand in the file."""

    header: bytes
    sequence: bytes


@dataclass(frozen=True, kw_only=True)
class CleaningRules:
    """Which records stay out of a corpus."""

    min_length: int = 16
    max_unknown_share: float = 0.2
    """Largest share of N."""


def read_corpus(paths: list[Path]) -> Iterator[RawRecord]:
    """Stream the records of FASTA files, compressed or not.

    Raises:
        InputError: when a file cannot be opened or decompressed, or does not start with ``>``.
    """
    for path in paths:
        try:
            raw = cast(BinaryIO, open(path, "rb"))
        except OSError as failure:
            raise InputError(f"{path}: cannot be read ({failure.strerror or failure})") from failure
        with raw, io.BufferedReader(BlockReader(text_blocks(raw, str(path))), _BUFFER) as handle:
            yield from _records(path, handle)


def clean(sequence: bytes, rules: CleaningRules) -> bytes | str:
    """Token bytes of a sequence without specials, or the reason to drop the record.

    Gaps are removed, T becomes U, case does not matter.
    """
    tokens = sequence.translate(_TABLE, _GAPS)
    if len(tokens) < rules.min_length:
        return "too short"
    if _FOREIGN in tokens:
        return "foreign letters"
    if tokens.count(_N) > rules.max_unknown_share * len(tokens):
        return "mostly N"
    return tokens


def attributes(header: bytes, keys: tuple[str, ...]) -> tuple[str, ...]:
    """The values of ``key=value`` words in a header, empty where a key is missing."""
    values = dict.fromkeys(keys, "")
    for word in header.decode("utf-8", "replace").split()[1:]:
        key, equals, value = word.partition("=")
        if equals and key in values:
            values[key] = value
    return tuple(values[key] for key in keys)


def _records(path: Path, handle: Iterable[bytes]) -> Iterator[RawRecord]:
    header: bytes | None = None
    lines: list[bytes] = []
    for line in handle:
        if line.startswith(b">"):
            if header is not None:
                yield RawRecord(header, b"".join(lines))
            header, lines = line[1:].strip(), []
        elif header is not None:
            lines.append(line)
        elif line.strip():
            raise InputError(f"{path}: not a FASTA file, the first line does not start with '>'")
    if header is not None:
        yield RawRecord(header, b"".join(lines))
