"""Records of a pre-training corpus: streamed from FASTA, cleaned, turned into token bytes, told apart from copies,
with their clusters.

The rules of cleaning are the paper's (Chen et al. 2022, section 2.1): T becomes U, the 16 IUPAC letters are kept.
"""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from rnafm_cli.errors import InputError
from rnafm_cli.io.streams import BlockReader, text_blocks
from rnafm_cli.rna.alphabet import IUPAC_LETTERS, NUCLEOTIDE

__all__ = [
    "CleaningRules",
    "ClusterTable",
    "DigestSet",
    "RawRecord",
    "attributes",
    "clean",
    "name_hashes",
    "read_corpus",
]


class ClusterTable:
    """Looks up the cluster of a sequence id; 16 bytes a member, so 27 million take 0.4 GB.

    Args:
        path: TSV with representative (or cluster name) and member in the first two columns, plain or gzip.

    Raises:
        InputError: on a line without two columns.
    """

    def __init__(self, path: Path) -> None:
        members: list[np.ndarray] = []
        clusters: list[np.ndarray] = []
        names: list[bytes] = []
        owners: list[bytes] = []
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as handle:
            for number, line in enumerate(handle, start=1):
                columns = line.split()
                if len(columns) < 2:
                    raise InputError(
                        f"{path}:{number}: a cluster line needs two columns, representative and member",
                        hint="write it with 'mmseqs createtsv' or convert the .clstr file",
                    )
                owners.append(columns[0])
                names.append(columns[1])
                if len(names) == 1 << 16:
                    members.append(name_hashes(names))
                    clusters.append(name_hashes(owners))
                    names, owners = [], []
        members.append(name_hashes(names))
        clusters.append(name_hashes(owners))
        keys = np.concatenate(members)
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._clusters = np.concatenate(clusters)[order]
        self.missing = 0

    def lookup(self, ids: list[bytes]) -> np.ndarray:
        """(n,) uint64 cluster of each id; an id that the file lacks is a cluster of its own and counted."""
        hashes = name_hashes(ids)
        if not len(self._keys):
            self.missing += len(ids)
            return hashes
        place = np.minimum(np.searchsorted(self._keys, hashes), len(self._keys) - 1)
        known = self._keys[place] == hashes
        self.missing += int((~known).sum())
        return np.where(known, self._clusters[place], hashes)


def name_hashes(names: list[bytes]) -> np.ndarray:
    """(n,) uint64 hash of each name."""
    joined = b"".join(hashlib.blake2b(name, digest_size=8).digest() for name in names)
    return np.frombuffer(joined, dtype=np.uint64)


class DigestSet:
    """64-bit digests in sorted runs, each at least twice as long as the next; 8 bytes a digest.

    Among 27 million different sequences two share a digest with a probability of 2 in 100,000.
    """

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, digests: np.ndarray) -> np.ndarray:
        """Add a batch (n,) uint64; (n,) True at the first occurrence of a digest that the set did not hold."""
        own, firsts = np.unique(digests, return_index=True)
        for run in self._runs:
            place = np.minimum(np.searchsorted(run, own), len(run) - 1)
            new = run[place] != own
            own, firsts = own[new], firsts[new]
        is_new = np.zeros(len(digests), dtype=bool)
        is_new[firsts] = True
        if len(own):
            self._runs.append(own)
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            last = self._runs.pop()
            # A stable sort merges runs that are sorted already.
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")
        return is_new


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
