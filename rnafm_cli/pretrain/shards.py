"""Token shards of a prepared corpus: how they are written, verified and read back.

A corpus folder holds, for each shard ``shard_00000``: ``.tokens.bin`` (uint8 token indices without specials, all
sequences one after another), ``.offsets.npy`` (int64, n + 1), ``.types.npy`` (uint16) and ``.groups.npy`` (int32, -1
for none), ``.ids.txt`` (one a line); and once ``splits.npy`` (uint8 per sequence of all shards) and ``manifest.json``.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from rnafm_cli.errors import InputError
from rnafm_cli.io.streams import atomic_path
from rnafm_cli.weights.cards import file_sha256

FORMAT_VERSION = 1
_COLUMNS = ("offsets", "types", "groups")


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
    folder: Path, number: int, sequences: list[bytes], ids: list[bytes], columns: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Write sequences (token bytes) as one shard, each of its files whole or not at all.

    Args:
        columns: (n,) values of each sequence by name: ``types`` and ``groups``, and others, of which the corpus does
            not depend.

    Returns:
        The shard's entry for the manifest.

    Raises:
        RnafmError: when the disk is full.
    """
    stem = f"shard_{number:05d}"
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    hashes = {f"{stem}.tokens.bin": _write(folder / f"{stem}.tokens.bin", b"".join(sequences))}
    for name, values in {"offsets": offsets, **columns}.items():
        sha256 = write_array(folder / f"{stem}.{name}.npy", values)
        if name in _COLUMNS:
            hashes[f"{stem}.{name}.npy"] = sha256
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


@dataclass(frozen=True)
class Shard:
    """One shard, memory-mapped."""

    stem: str
    tokens: np.ndarray
    offsets: np.ndarray
    types: np.ndarray
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.types)

    def __getitem__(self, index: int) -> np.ndarray:
        """(L,) uint8 tokens of one sequence, without specials."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]


class Corpus:
    """A prepared corpus: sequences numbered through all shards, with lengths, types, groups and splits.

    Args:
        folder: what ``rnafm pretrain prepare`` wrote.
        verify: compare the sha256 of every file with the manifest.

    Raises:
        InputError: when the folder is no finished corpus or a file was changed after it was prepared.
    """

    def __init__(self, folder: Path, *, verify: bool = True) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        if verify:
            verify_corpus(self.folder)
        self.shards = [load_shard(self.folder, entry["stem"]) for entry in self.manifest["shards"]]
        self._starts = np.cumsum([0] + [len(shard) for shard in self.shards])
        self.lengths = np.concatenate([np.diff(shard.offsets) for shard in self.shards])
        self.types = np.concatenate([shard.types for shard in self.shards])
        self.groups = np.concatenate([shard.groups for shard in self.shards])
        self.splits: np.ndarray = np.load(self.folder / "splits.npy")
        self.type_names: list[str] = self.manifest["type_names"]
        self.group_names: list[str] = self.manifest["group_names"]

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def fingerprint(self) -> str:
        """Hash of all file hashes: two corpora with equal fingerprints hold the same data and splits."""
        return str(self.manifest["fingerprint"])

    def members(self, split: Split) -> np.ndarray:
        """Ascending numbers of the sequences in one split."""
        return np.flatnonzero(self.splits == split)

    def tokens(self, index: int) -> np.ndarray:
        """(L,) uint8 tokens of sequence ``index``, without specials."""
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.shards[shard][index - int(self._starts[shard])]

    def ids(self) -> Iterator[str]:
        """The ids of all sequences in order."""
        for shard in self.shards:
            with open(self.folder / f"{shard.stem}.ids.txt", encoding="utf-8", errors="replace") as handle:
                yield from (line.rstrip("\n") for line in handle)


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


def load_shard(folder: Path, stem: str) -> Shard:
    """Map one shard into memory."""
    columns = {name: np.load(folder / f"{stem}.{name}.npy") for name in _COLUMNS}
    path = folder / f"{stem}.tokens.bin"
    tokens = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.zeros(0, dtype=np.uint8)
    return Shard(stem, tokens, **columns)


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
    if manifest.get("format") != "rnafm-corpus" or manifest.get("version") != FORMAT_VERSION:
        raise InputError(f"{path}: not a corpus of format version {FORMAT_VERSION}", hint="prepare the corpus again")
    return dict(manifest)
