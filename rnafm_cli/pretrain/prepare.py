"""From FASTA files to a prepared corpus: clean, remove identical sequences, write shards, choose hold-outs.

One streaming pass writes the shards; the hold-outs are chosen on the shards afterwards and stored as one column, so a
corpus is written once whatever is held out. An interrupted run goes on after the last finished shard.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rnafm_cli import __version__
from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.streams import write_json
from rnafm_cli.pretrain.corpus import (
    CleaningRules,
    ClusterTable,
    DigestSet,
    RawRecord,
    attributes,
    clean,
    name_hashes,
    read_corpus,
)
from rnafm_cli.pretrain.holdout import Holdout, HoldoutRules, choose_holdout
from rnafm_cli.pretrain.shards import FORMAT_VERSION, ShardWriter, Split, load_shard
from rnafm_cli.rna.alphabet import NUCLEOTIDE
from rnafm_cli.weights.files import file_sha256

__all__ = ["LENGTH_BINS", "PrepareOptions", "prepare_corpus"]


LENGTH_BINS = (16, 30, 50, 100, 200, 500, 1024, 2048, 5000)
_BATCH = 1 << 14
_BATCH_BYTES = 1 << 23

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Everything that decides what a prepared corpus holds."""

    cleaning: CleaningRules = field(default_factory=CleaningRules)
    holdout: HoldoutRules = field(default_factory=HoldoutRules)
    shard_tokens: int = 64_000_000
    type_key: str = "type"
    group_key: str = "family"
    clusters: Path | None = None


@dataclass
class _Progress:
    """What is finished; written after every shard."""

    request: dict[str, Any]
    records_read: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    shards: list[dict[str, Any]] = field(default_factory=list)
    type_names: list[str] = field(default_factory=list)
    group_names: list[str] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        write_json(folder / "progress.json", {**vars(self), "counts": dict(self.counts)})


def prepare_corpus(
    sources: list[Path], folder: Path, options: PrepareOptions, *, force: bool = False, report: Report | None = None
) -> dict[str, Any]:
    """Write a prepared corpus and return its manifest.

    Args:
        sources: FASTA files, read in this order; of identical sequences the first is kept.
        folder: where to write; an interrupted preparation there with the same request goes on.
        force: begin again even if the folder holds another corpus.
        report: called with lines for people.

    Raises:
        InputError: when a source is unreadable or no sequence is left.
        UsageError: when the folder holds another corpus.
    """
    tell = report or (lambda line: None)
    request = _request(sources, options)
    folder.mkdir(parents=True, exist_ok=True)
    progress = _previous(folder, request, force)
    if progress is None:
        return dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
    table = ClusterTable(options.clusters) if options.clusters else None
    _write_shards(sources, folder, options, progress, table, tell)
    if not progress.shards:
        raise InputError(f"{sources[0]}: no usable sequence in the corpus", hint="see the counts of dropped records")
    stems = [entry["stem"] for entry in progress.shards]
    clusters = np.concatenate([np.load(folder / f"{stem}.clusters.npy") for stem in stems]) if table else None
    holdout = choose_holdout(folder, stems, options.holdout, clusters, tell)
    if not (holdout.splits == Split.TRAIN).any():
        raise InputError(
            f"{sources[0]}: nothing is left to train on, all {len(holdout.splits):,} sequences are held out or near",
            hint="again with --force and --holdout 0 --holdout-groups 0, which hold nothing out, or --keep-near",
        )
    np.save(folder / "splits.npy", holdout.splits)
    manifest = _manifest(folder, progress, holdout)
    write_json(folder / "manifest.json", manifest)
    for stem in stems:
        (folder / f"{stem}.digests.npy").unlink(missing_ok=True)
        (folder / f"{stem}.clusters.npy").unlink(missing_ok=True)
    (folder / "progress.json").unlink(missing_ok=True)
    return manifest


def _request(sources: list[Path], options: PrepareOptions) -> dict[str, Any]:
    files = []
    for path in [*sources, *([options.clusters] if options.clusters else [])]:
        try:
            files.append({"name": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)})
        except OSError as failure:
            raise InputError(f"{path}: {failure.strerror}") from failure
    values = json.loads(json.dumps(asdict(options), default=str))
    values["clusters"] = options.clusters.name if options.clusters else None
    return {"files": files, "options": values}


def _previous(folder: Path, request: dict[str, Any], force: bool) -> _Progress | None:
    """Progress to go on from (empty for a new corpus); None when the same corpus is finished."""
    finished, unfinished = folder / "manifest.json", folder / "progress.json"
    if not force:
        for path in (finished, unfinished):
            if not path.exists():
                continue
            state = json.loads(path.read_text(encoding="utf-8"))
            if state["request"] != request:
                raise UsageError(
                    f"{path}: the folder holds a corpus prepared from other files or with other options",
                    hint="choose another folder, or --force to replace it",
                )
            if path == finished:
                return None
            return _Progress(**{**state, "counts": Counter(state["counts"])})
    for path in folder.glob("shard_*"):
        path.unlink()
    for path in (finished, unfinished, folder / "splits.npy"):
        path.unlink(missing_ok=True)
    return _Progress(request)


def _write_shards(
    sources: list[Path],
    folder: Path,
    options: PrepareOptions,
    progress: _Progress,
    clusters: ClusterTable | None,
    tell: Report,
) -> None:
    seen = DigestSet()
    for entry in progress.shards:
        seen.add(np.load(folder / f"{entry['stem']}.digests.npy"))
    if progress.records_read:
        tell(f"resuming after {progress.records_read:,} records")
    type_numbers = {name: k for k, name in enumerate(progress.type_names)}
    group_numbers = {name: k for k, name in enumerate(progress.group_names)}
    keys = (options.type_key, options.group_key)
    records = islice(read_corpus(sources), progress.records_read, None)
    before = progress.counts["without cluster"]
    writer: ShardWriter | None = None
    while batch := _batch(records, options.shard_tokens):
        progress.records_read += len(batch)
        kept: list[tuple[bytes, bytes]] = []
        for record in batch:
            tokens = clean(record.sequence, options.cleaning)
            if isinstance(tokens, str):
                progress.counts[f"dropped: {tokens}"] += 1
                continue
            progress.counts["with T"] += b"T" in record.sequence or b"t" in record.sequence
            kept.append((record.header, tokens))
        digests = name_hashes([tokens for _, tokens in kept])
        is_new = seen.add(digests)
        progress.counts["dropped: identical"] += len(kept) - int(is_new.sum())
        kept = [kept[i] for i in np.flatnonzero(is_new)]
        if kept:
            writer = writer or ShardWriter(folder, len(progress.shards))
            values = [attributes(header, keys) for header, _ in kept]
            ids = [header.split(None, 1)[0] if header else b"" for header, _ in kept]
            writer.add(
                [tokens for _, tokens in kept],
                ids,
                [type_numbers.setdefault(kind or "unknown", len(type_numbers)) for kind, _ in values],
                [group_numbers.setdefault(group, len(group_numbers)) if group else -1 for _, group in values],
                digests[is_new],
                clusters.lookup(ids) if clusters else None,
            )
        progress.counts["without cluster"] = before + (clusters.missing if clusters else 0)
        if writer and writer.tokens >= options.shard_tokens:
            _finish_shard(writer, folder, progress, list(type_numbers), list(group_numbers))
            tell(f"{progress.records_read:,} records read, {len(seen):,} kept, {len(progress.shards)} shards")
            writer = None
    if writer:
        _finish_shard(writer, folder, progress, list(type_numbers), list(group_numbers))
    tell(f"{progress.records_read:,} records read, {len(seen):,} kept")


def _batch(records: Iterator[RawRecord], shard_tokens: int) -> list[RawRecord]:
    """The next records, few enough that shards end near their size."""
    batch: list[RawRecord] = []
    room = min(_BATCH_BYTES, shard_tokens)
    for record in islice(records, _BATCH):
        batch.append(record)
        room -= len(record.sequence)
        if room <= 0:
            break
    return batch


def _finish_shard(writer: ShardWriter, folder: Path, progress: _Progress, types: list[str], groups: list[str]) -> None:
    progress.shards.append(writer.close())
    progress.type_names, progress.group_names = types, groups
    progress.save(folder)


def _manifest(folder: Path, progress: _Progress, holdout: Holdout) -> dict[str, Any]:
    splits_sha256 = file_sha256(folder / "splits.npy")
    every_hash = [splits_sha256, *(sha for entry in progress.shards for sha in entry["sha256"].values())]
    letters = np.zeros(len(NUCLEOTIDE), dtype=np.int64)
    lengths, types = [], []
    for entry in progress.shards:
        shard = load_shard(folder, entry["stem"])
        for start in range(0, len(shard.tokens), 1 << 24):
            letters += np.bincount(shard.tokens[start : start + (1 << 24)], minlength=len(letters))
        lengths.append(np.diff(shard.offsets))
        types.append(shard.types)
    length, kind = np.concatenate(lengths), np.concatenate(types)
    return {
        "format": "rnafm-corpus",
        "version": FORMAT_VERSION,
        "rnafm_version": __version__,
        "fingerprint": hashlib.sha256("".join(every_hash).encode()).hexdigest(),
        "alphabet": list(NUCLEOTIDE.tokens),
        "sequences": len(length),
        "tokens": int(length.sum()),
        "records_read": progress.records_read,
        "counts": dict(progress.counts),
        "splits": {split.name.lower(): _counts(length[holdout.splits == split]) for split in Split},
        "random_clusters": holdout.clusters,
        "held_out_groups": [progress.group_names[k] for k in holdout.group_numbers],
        "types": {
            name: {split.name.lower(): _counts(length[(kind == k) & (holdout.splits == split)]) for split in Split}
            for k, name in enumerate(progress.type_names)
        },
        "letters": {NUCLEOTIDE.tokens[k]: int(n) for k, n in enumerate(letters) if n},
        "lengths": _histogram(length),
        "type_names": progress.type_names,
        "group_names": progress.group_names,
        "shards": progress.shards,
        "splits_sha256": splits_sha256,
        "request": progress.request,
    }


def _counts(lengths: np.ndarray) -> dict[str, int]:
    return {"sequences": len(lengths), "tokens": int(lengths.sum())}


def _histogram(lengths: np.ndarray) -> dict[str, int]:
    edges = [0, *LENGTH_BINS, np.iinfo(np.int64).max]
    counts, _ = np.histogram(lengths, bins=np.asarray(edges, dtype=np.float64))
    names = [f"<{LENGTH_BINS[0]}"]
    names += [f"{low}-{high - 1}" for low, high in zip(LENGTH_BINS, LENGTH_BINS[1:], strict=False)]
    names.append(f">={LENGTH_BINS[-1]}")
    return {name: int(n) for name, n in zip(names, counts, strict=True) if n}
