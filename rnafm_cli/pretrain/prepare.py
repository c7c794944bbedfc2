"""From FASTA files to a prepared corpus: clean, remove identical sequences, write shards, choose hold-outs.

The rules of cleaning are the paper's (Chen et al. 2022, section 2.1): T becomes U, the 16 IUPAC letters are kept. One
streaming pass writes the shards; the hold-outs are chosen on the shards afterwards and stored as one column, so a
corpus is written once whatever is held out. An interrupted run goes on after the last finished shard.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from rnafm_cli import __version__
from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.streams import BlockReader, text_blocks, write_json
from rnafm_cli.pretrain.holdout import Holdout, HoldoutRules, Progress, choose_holdout
from rnafm_cli.pretrain.shards import FORMAT_VERSION, Split, load_shard, write_array, write_shard
from rnafm_cli.rna.alphabet import IUPAC_LETTERS, NUCLEOTIDE
from rnafm_cli.weights.cards import file_sha256

_LENGTH_BINS = (16, 30, 50, 100, 200, 500, 1024, 2048, 5000)
_BATCH = 1 << 14
_BATCH_BYTES = 1 << 23
_BUFFER = 1 << 20
_MEGABYTE = 1_000_000

_GAPS = b"-.~*_ \t\r\n\v\f"
_FOREIGN = NUCLEOTIDE.unk
_N = NUCLEOTIDE.tokens.index("N")
_TABLE = bytearray([_FOREIGN]) * 256
for _letter in IUPAC_LETTERS:
    _TABLE[ord(_letter)] = _TABLE[ord(_letter.lower())] = NUCLEOTIDE.tokens.index(_letter)
_TABLE[ord("T")] = _TABLE[ord("t")] = NUCLEOTIDE.tokens.index("U")


@dataclass(frozen=True, kw_only=True)
class CleaningRules:
    """Which records stay out of a corpus."""

    min_length: int = 16
    max_unknown_share: float = 0.2
    """Largest share of N."""


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Everything that decides what a prepared corpus holds."""

    cleaning: CleaningRules = field(default_factory=CleaningRules)
    holdout: HoldoutRules = field(default_factory=HoldoutRules)
    shard_tokens: int = 64_000_000
    type_key: str = "type"
    group_key: str = "family"
    clusters: Path | None = None


class CorpusReader:
    """The records of FASTA files, compressed or not: headers without ``>``, and sequence lines as they stand there.

    Raises:
        InputError: when a file cannot be opened or decompressed, or does not start with ``>``.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._before = 0
        self._raw: BinaryIO | None = None

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        for path in self._paths:
            with _opened(path) as raw, _lines(raw, path) as lines:
                self._raw = raw
                yield from _records(path, lines)
                self._before, self._raw = self._before + raw.tell(), None

    @property
    def position(self) -> int:
        """Bytes of the files that have been read."""
        return self._before + (self._raw.tell() if self._raw else 0)


def _opened(path: Path) -> BinaryIO:
    try:
        return cast(BinaryIO, open(path, "rb"))
    except OSError as failure:
        raise InputError(f"{path}: cannot be read ({failure.strerror or failure})") from failure


def _lines(raw: BinaryIO, path: Path) -> io.BufferedReader:
    return io.BufferedReader(BlockReader(text_blocks(raw, str(path))), _BUFFER)


def _records(path: Path, handle: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    header: bytes | None = None
    lines: list[bytes] = []
    for line in handle:
        if line.startswith(b">"):
            if header is not None:
                yield header, b"".join(lines)
            header, lines = line[1:].strip(), []
        elif header is not None:
            lines.append(line)
        elif line.strip():
            raise InputError(f"{path}: not a FASTA file, the first line does not start with '>'")
    if header is not None:
        yield header, b"".join(lines)


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


class ClusterTable:
    """Looks up the cluster of a sequence id; 16 bytes a member, so 27 million take 0.4 GB.

    Args:
        path: TSV with representative (or cluster name) and member in the first two columns, compressed or not.

    Raises:
        InputError: on a line without two columns.
    """

    def __init__(self, path: Path) -> None:
        members, owners = [_hashes([])], [_hashes([])]
        read = 0
        with _opened(path) as raw, _lines(raw, path) as handle:
            while lines := list(islice(handle, 1 << 16)):
                columns = [line.split(None, 2)[:2] for line in lines]
                if short := next((k for k, found in enumerate(columns, start=1) if len(found) < 2), None):
                    raise InputError(
                        f"{path}:{read + short}: a cluster line needs two columns, representative and member",
                        hint="write it with 'mmseqs createtsv' or convert the .clstr file",
                    )
                owners.append(_hashes([owner for owner, _ in columns]))
                members.append(_hashes([member for _, member in columns]))
                read += len(lines)
        keys = np.concatenate(members)
        order = np.argsort(keys, kind="stable")
        self._keys, self._clusters = keys[order], np.concatenate(owners)[order]

    def lookup(self, ids: list[bytes]) -> tuple[np.ndarray, int]:
        """(n,) uint64 cluster of each id, and how many ids the file lacks: each of them is a cluster of its own."""
        hashes = _hashes(ids)
        if not len(self._keys):
            return hashes, len(ids)
        place = np.minimum(np.searchsorted(self._keys, hashes), len(self._keys) - 1)
        is_known = self._keys[place] == hashes
        return np.where(is_known, self._clusters[place], hashes), int((~is_known).sum())


def _hashes(texts: list[bytes]) -> np.ndarray:
    """(n,) uint64 hash of each text."""
    joined = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
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


@dataclass
class _State:
    """What is finished; written after every shard."""

    request: dict[str, Any]
    records_read: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    shards: list[dict[str, Any]] = field(default_factory=list)
    type_names: list[str] = field(default_factory=list)
    group_names: list[str] = field(default_factory=list)


def prepare_corpus(
    sources: list[Path],
    folder: Path,
    options: PrepareOptions,
    *,
    force: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Write a prepared corpus and return its manifest.

    Args:
        sources: FASTA files, read in this order; of identical sequences the first is kept.
        folder: where to write; an interrupted preparation there with the same request goes on.
        force: begin again even if the folder holds another corpus.
        progress: called with what is counted, how much of it is done, and of how much.

    Raises:
        InputError: when a source is unreadable or no sequence is left.
        UsageError: when the folder holds another corpus.
    """
    request = _request(sources, options)
    folder.mkdir(parents=True, exist_ok=True)
    state = _previous(folder, request, force)
    if state is None:
        return dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
    table = ClusterTable(options.clusters) if options.clusters else None
    _write_shards(sources, folder, options, state, table, progress)
    if not state.shards:
        raise InputError(f"{sources[0]}: no usable sequence in the corpus", hint="see the counts of dropped records")
    stems = [entry["stem"] for entry in state.shards]
    clusters = np.concatenate([np.load(folder / f"{stem}.clusters.npy") for stem in stems]) if table else None
    holdout = choose_holdout(folder, stems, options.holdout, clusters, progress)
    if not (holdout.splits == Split.TRAIN).any():
        raise InputError(
            f"{sources[0]}: nothing is left to train on, all {len(holdout.splits):,} sequences are held out or near",
            hint="again with --force and --holdout 0 --holdout-groups 0, which hold nothing out, or --keep-near",
        )
    splits_sha256 = write_array(folder / "splits.npy", holdout.splits)
    manifest = _manifest(folder, state, holdout, splits_sha256)
    write_json(folder / "manifest.json", manifest)
    for pattern in ("shard_*.digests.npy", "shard_*.clusters.npy", "progress.json"):
        _remove(folder, pattern)
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


def _previous(folder: Path, request: dict[str, Any], force: bool) -> _State | None:
    """The state to go on from (empty for a new corpus); None when the same corpus is finished."""
    finished, unfinished = folder / "manifest.json", folder / "progress.json"
    # What a process left that was killed while it wrote.
    for pattern in ("shard_*.tmp", "splits.npy.*.tmp", "manifest.json.*.tmp", "progress.json.*.tmp"):
        _remove(folder, pattern)
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
            return _State(**{**state, "counts": Counter(state["counts"])})
    for pattern in ("shard_*", finished.name, unfinished.name, "splits.npy"):
        _remove(folder, pattern)
    return _State(request)


def _remove(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink(missing_ok=True)


@dataclass
class _Draft:
    """The shard that is being filled."""

    sequences: list[bytes] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    digests: list[np.ndarray] = field(default_factory=list)
    tokens: int = 0


def _write_shards(
    sources: list[Path],
    folder: Path,
    options: PrepareOptions,
    state: _State,
    table: ClusterTable | None,
    progress: Progress,
) -> None:
    seen = DigestSet()
    for entry in state.shards:
        seen.add(np.load(folder / f"{entry['stem']}.digests.npy"))
    type_numbers = {name: k for k, name in enumerate(state.type_names)}
    group_numbers = {name: k for k, name in enumerate(state.group_names)}
    keys = (options.type_key, options.group_key)
    draft = _Draft()

    def finish() -> None:
        columns: dict[str, np.ndarray] = {
            "types": np.asarray(draft.types, dtype=np.uint16),
            "groups": np.asarray(draft.groups, dtype=np.int32),
            "digests": np.concatenate(draft.digests),
        }
        if table is not None:
            columns["clusters"], missing = table.lookup(draft.ids)
            state.counts["without cluster"] += missing
        state.shards.append(write_shard(folder, len(state.shards), draft.sequences, draft.ids, columns))
        state.type_names, state.group_names = list(type_numbers), list(group_numbers)
        write_json(folder / "progress.json", vars(state))

    def show(done: int) -> None:
        progress(f"MB, {state.records_read:,} records, {len(state.shards)} shards", done, size)

    reader = CorpusReader(sources)
    size = sum(file["bytes"] for file in state.request["files"][: len(sources)]) // _MEGABYTE
    records = islice(reader, state.records_read, None)
    while batch := _batch(records, options.shard_tokens):
        state.records_read += len(batch)
        kept: list[tuple[bytes, bytes]] = []
        for header, sequence in batch:
            tokens = clean(sequence, options.cleaning)
            if isinstance(tokens, str):
                state.counts[f"dropped: {tokens}"] += 1
                continue
            state.counts["with T"] += b"T" in sequence or b"t" in sequence
            kept.append((header, tokens))
        digests = _hashes([tokens for _, tokens in kept])
        is_new = seen.add(digests)
        state.counts["dropped: identical"] += len(kept) - int(is_new.sum())
        draft.digests.append(digests[is_new])
        for header, tokens in (kept[k] for k in np.flatnonzero(is_new)):
            kind, group = attributes(header, keys)
            draft.sequences.append(tokens)
            draft.ids.append(header.split(None, 1)[0] if header else b"")
            draft.types.append(type_numbers.setdefault(kind or "unknown", len(type_numbers)))
            draft.groups.append(group_numbers.setdefault(group, len(group_numbers)) if group else -1)
            draft.tokens += len(tokens)
        if draft.tokens >= options.shard_tokens:
            finish()
            draft = _Draft()
        show(reader.position // _MEGABYTE)
    if draft.sequences:
        finish()
    show(size)


def _batch(records: Iterator[tuple[bytes, bytes]], shard_tokens: int) -> list[tuple[bytes, bytes]]:
    """The next records, few enough that shards end near their size."""
    batch: list[tuple[bytes, bytes]] = []
    room = min(_BATCH_BYTES, shard_tokens)
    for record in islice(records, _BATCH):
        batch.append(record)
        room -= len(record[1])
        if room <= 0:
            break
    return batch


def _manifest(folder: Path, state: _State, holdout: Holdout, splits_sha256: str) -> dict[str, Any]:
    every_hash = [splits_sha256, *(sha for entry in state.shards for sha in entry["sha256"].values())]
    letters = np.zeros(len(NUCLEOTIDE), dtype=np.int64)
    lengths, types = [], []
    for entry in state.shards:
        shard = load_shard(folder, entry["stem"])
        for start in range(0, len(shard.tokens), 1 << 24):
            letters += np.bincount(shard.tokens[start : start + (1 << 24)], minlength=len(letters))
        lengths.append(np.diff(shard.offsets))
        types.append(shard.types)
    length, kind = np.concatenate(lengths), np.concatenate(types)

    def by_split(chosen: np.ndarray) -> dict[str, dict[str, int]]:
        parts = {split.name.lower(): length[chosen & (holdout.splits == split)] for split in Split}
        return {name: {"sequences": len(part), "tokens": int(part.sum())} for name, part in parts.items()}

    return {
        "format": "rnafm-corpus",
        "version": FORMAT_VERSION,
        "rnafm_version": __version__,
        "fingerprint": hashlib.sha256("".join(every_hash).encode()).hexdigest(),
        "alphabet": list(NUCLEOTIDE.tokens),
        "sequences": len(length),
        "tokens": int(length.sum()),
        "records_read": state.records_read,
        "counts": dict(state.counts),
        "splits": by_split(np.ones(len(length), dtype=bool)),
        "random_clusters": holdout.clusters,
        "held_out_groups": [state.group_names[k] for k in holdout.group_numbers],
        "types": {name: by_split(kind == k) for k, name in enumerate(state.type_names)},
        "letters": {NUCLEOTIDE.tokens[k]: int(n) for k, n in enumerate(letters) if n},
        "lengths": _histogram(length),
        "type_names": state.type_names,
        "group_names": state.group_names,
        "shards": state.shards,
        "splits_sha256": splits_sha256,
        "request": state.request,
    }


def _histogram(lengths: np.ndarray) -> dict[str, int]:
    first, last = _LENGTH_BINS[0], _LENGTH_BINS[-1]
    between = [f"{low}-{high - 1}" for low, high in zip(_LENGTH_BINS, _LENGTH_BINS[1:], strict=False)]
    counts = np.bincount(np.digitize(lengths, _LENGTH_BINS), minlength=len(_LENGTH_BINS) + 1)
    return {name: int(n) for name, n in zip([f"<{first}", *between, f">={last}"], counts, strict=True) if n}
