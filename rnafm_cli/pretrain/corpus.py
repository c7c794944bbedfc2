"""Records of a pre-training corpus: streamed from FASTA, cleaned, turned into token bytes, told apart from copies,
with their clusters.

Identical sequences are found by 128-bit digests in flat arrays: a Python set of them takes about six times the
memory; 27 million sequences fit in 1.1 GB here.

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


_MAX_LOAD = 0.7


class DigestSet:
    """Open addressing with linear probing, vectorised over batches of digests.

    Args:
        expected: number of digests to make room for at once (the table grows when more come).
    """

    def __init__(self, expected: int = 1 << 14) -> None:
        capacity = 1 << 10
        while capacity * _MAX_LOAD < expected:
            capacity *= 2
        self._slots = np.zeros((capacity, 2), dtype=np.uint64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Memory of the table."""
        return int(self._slots.nbytes)

    def add(self, digests: np.ndarray) -> np.ndarray:
        """Add a batch and tell which digests were new.

        Args:
            digests: (n, 2) uint64, the two halves of each 128-bit digest.

        Returns:
            (n,) bool, True at the first occurrence of a digest that the set did not hold.
        """
        if not len(digests):
            return np.zeros(0, dtype=bool)
        # The all-zero pair marks an empty slot.
        digests = digests.copy()
        digests[~digests.any(axis=1), 1] = 1
        while (self._count + len(digests)) > _MAX_LOAD * len(self._slots):
            self._grow()
        first = np.zeros(len(digests), dtype=bool)
        _, firsts = np.unique(digests.view([("a", "u8"), ("b", "u8")]).ravel(), return_index=True)
        first[firsts] = True
        is_new = np.zeros(len(digests), dtype=bool)
        is_new[firsts] = self._insert(digests[firsts])
        return is_new & first

    def _grow(self) -> None:
        old = self._slots
        self._slots = np.zeros((2 * len(old), 2), dtype=np.uint64)
        self._count = 0
        for start in range(0, len(old), 1 << 20):
            block = old[start : start + (1 << 20)]
            self._insert(block[block.any(axis=1)])

    def _insert(self, digests: np.ndarray) -> np.ndarray:
        """Insert digests that differ from each other; returns which were new."""
        mask = np.uint64(len(self._slots) - 1)
        position = (digests[:, 0] & mask).astype(np.int64)
        pending = np.arange(len(digests))
        is_new = np.zeros(len(digests), dtype=bool)
        while len(pending):
            slots = self._slots[position]
            same = (slots == digests[pending]).all(axis=1)
            empty = ~slots.any(axis=1)
            # Of several that want one empty slot the last write wins; the others see it taken and move on.
            self._slots[position[empty]] = digests[pending[empty]]
            placed = empty & (self._slots[position] == digests[pending]).all(axis=1)
            is_new[pending[placed]] = True
            stay = ~(same | placed)
            pending = pending[stay]
            position = (position[stay] + 1) & int(mask)
        self._count += int(is_new.sum())
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
