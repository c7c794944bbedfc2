"""Token shards of a prepared corpus: how they are written, verified and read back.

A corpus folder holds, for each shard ``shard_00000``: ``.tokens.bin`` (uint8 token indices without specials, all
sequences one after another), ``.offsets.npy`` (int64, n + 1), ``.types.npy`` (uint16) and ``.groups.npy`` (int32, -1
for none), ``.ids.txt`` (one a line); and once ``splits.npy`` (uint8 per sequence of all shards) and ``manifest.json``.
"""

from __future__ import annotations

import hashlib
import io
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rnafm_cli.errors import InputError
from rnafm_cli.io.streams import atomic_path
from rnafm_cli.weights.cards import file_sha256

FORMAT_VERSION = 1


class Split(IntEnum):
    """Part of the corpus that a sequence belongs to."""

    TRAIN = 0
    RANDOM = 1
    """Held out: whole clusters drawn at random."""
    GROUP = 2
    """Held out: whole groups (families)."""
    NEAR = 3
    """In no part: close to a held-out sequence."""


def write_shard(
    folder: Path, number: int, sequences: Sequence[bytes], ids: Sequence[bytes], types: list[int], groups: list[int]
) -> dict[str, Any]:
    """Write sequences (token bytes) as one shard, each of its files whole or not at all; its entry for the manifest.

    Raises:
        RnafmError: when the disk is full.
    """
    stem = f"shard_{number:05d}"
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    hashes = {f"{stem}.tokens.bin": _write(folder / f"{stem}.tokens.bin", b"".join(sequences))}
    columns: dict[str, np.ndarray] = {
        "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "types": np.asarray(types, dtype=np.uint16),
        "groups": np.asarray(groups, dtype=np.int32),
    }
    for name, values in columns.items():
        hashes[f"{stem}.{name}.npy"] = write_array(folder / f"{stem}.{name}.npy", values)
    _write(folder / f"{stem}.ids.txt", b"\n".join(ids) + b"\n")
    return {"stem": stem, "sequences": len(sequences), "tokens": int(lengths.sum()), "sha256": hashes}


def write_array(path: Path, values: np.ndarray) -> str:
    """Write an array as NumPy does, whole or not at all; the SHA-256 of the file."""
    # To a file itself NumPy would not tell why it cannot write.
    content = io.BytesIO()
    np.save(content, values)
    return _write(path, content.getvalue())


def _write(path: Path, content: bytes) -> str:
    with atomic_path(path) as written:
        written.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


class Sequences:
    """The sequences of some shards, numbered through and memory-mapped, with their lengths, types and groups."""

    def __init__(self, folder: Path, stems: Sequence[str]) -> None:
        self.folder, self.stems = folder, stems
        self._tokens = [np.memmap(folder / f"{stem}.tokens.bin", dtype=np.uint8, mode="r") for stem in stems]
        lengths = [np.diff(np.load(folder / f"{stem}.offsets.npy")) for stem in stems]
        self.lengths = np.concatenate(lengths)
        self.types = np.concatenate([np.load(folder / f"{stem}.types.npy") for stem in stems])
        self.groups = np.concatenate([np.load(folder / f"{stem}.groups.npy") for stem in stems])
        self._ends = np.concatenate([[0], np.cumsum(self.lengths)])
        self._firsts = np.cumsum([0, *map(len, lengths)]).tolist()

    def __len__(self) -> int:
        return len(self.lengths)

    def tokens(self, first: int, last: int | None = None) -> np.ndarray:
        """(L,) uint8 tokens of sequence ``first``, or of all up to ``last`` of the same shard, without specials."""
        shard = bisect_right(self._firsts, first) - 1
        before = self._ends[self._firsts[shard]]
        return self._tokens[shard][self._ends[first] - before : self._ends[last or first + 1] - before]

    def blocks(self, size: int) -> Iterator[tuple[int, int]]:
        """First and last (exclusive) of runs of sequences of one shard, of at most ``size`` tokens or one sequence."""
        for first, end in pairwise(self._firsts):
            while first < end:
                last = int(np.searchsorted(self._ends, self._ends[first] + size, side="right")) - 1
                last = min(max(last, first + 1), end)
                yield first, last
                first = last

    def ids(self, stem: str) -> list[bytes]:
        """The ids of one shard."""
        return (self.folder / f"{stem}.ids.txt").read_bytes().split(b"\n")[:-1]


class Corpus(Sequences):
    """A prepared corpus, as ``rnafm pretrain prepare`` writes it: sequences with their splits.

    Raises:
        InputError: when the folder is no finished corpus.
    """

    def __init__(self, folder: Path) -> None:
        self.manifest = read_manifest(folder)
        super().__init__(folder, [entry["stem"] for entry in self.manifest["shards"]])
        self.splits: np.ndarray = np.load(folder / "splits.npy")
        self.type_names: list[str] = self.manifest["type_names"]
        self.fingerprint: str = self.manifest["fingerprint"]
        """Hash of all file hashes: two corpora with equal ones hold the same data and splits."""

    def members(self, split: Split) -> np.ndarray:
        """Ascending numbers of the sequences in one split."""
        return np.flatnonzero(self.splits == split)


def verify_corpus(folder: Path) -> None:
    """Hash every file of a corpus again.

    Raises:
        InputError: when the folder is no finished corpus, or a file is missing or differs from the manifest.
    """
    manifest = read_manifest(folder)
    expected = {"splits.npy": manifest["splits_sha256"]}
    for entry in manifest["shards"]:
        expected |= entry["sha256"]
    for name, sha256 in expected.items():
        path = folder / name
        if not path.exists():
            raise InputError(f"{path}: missing", hint="prepare the corpus again")
        if file_sha256(path) != sha256:
            raise InputError(
                f"{path}: changed after the corpus was prepared (sha256 differs from manifest.json)",
                hint="prepare the corpus again, or copy the intact file back",
            )


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a corpus holds.

    Raises:
        InputError: when the folder is no finished corpus.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as failure:
        raise InputError(
            f"{folder}: no manifest.json, so not a prepared corpus",
            hint="run 'rnafm pretrain prepare FASTA... -o DIR', which also resumes an interrupted one",
        ) from failure
    except json.JSONDecodeError as failure:
        raise InputError(f"{path}: damaged: {failure}", hint="prepare the corpus again") from failure
    if (manifest.get("format"), manifest.get("version")) != ("rnafm-corpus", FORMAT_VERSION):
        raise InputError(f"{path}: not a corpus of format version {FORMAT_VERSION}", hint="prepare the corpus again")
    return dict(manifest)
