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
from typing import TYPE_CHECKING, Any

import numpy as np

from rnafm_cli import __version__
from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.streams import BlockReader, open_text, text_blocks, write_json
from rnafm_cli.pretrain.holdout import Holdout, HoldoutRules, choose_holdout
from rnafm_cli.pretrain.shards import FORMAT_VERSION, Sequences, Split, write_array, write_shard
from rnafm_cli.rna.alphabet import IUPAC_LETTERS, NUCLEOTIDE
from rnafm_cli.weights.cards import file_sha256

if TYPE_CHECKING:
    from rnafm_cli.training.trainer import Progress

_SHORTEST = 16
_LARGEST_N_SHARE = 0.2
_LENGTH_BINS = (16, 30, 50, 100, 200, 500, 1024, 2048, 5000)
_LOOK, _LOOK_BYTES = 1 << 14, 1 << 23
"""Records, or bytes of sequence, after which it is seen whether a shard is full."""
_LAST = 1 << 18
"""Hashes that are kept apart until they are sorted in with the others."""
_BUFFER = 1 << 20
_BLOCK_TOKENS = 1 << 24
_MEGABYTE = 1_000_000

_GAPS = b"-.~*_ \t\r\n\v\f"
_FOREIGN = NUCLEOTIDE.unk
_N = NUCLEOTIDE.tokens.index("N")
_TABLE = bytearray([_FOREIGN]) * 256
for _letter in IUPAC_LETTERS:
    _TABLE[ord(_letter)] = _TABLE[ord(_letter.lower())] = NUCLEOTIDE.tokens.index(_letter)
_TABLE[ord("T")] = _TABLE[ord("t")] = NUCLEOTIDE.tokens.index("U")


def read_records(paths: list[Path]) -> Iterator[tuple[int, bytes, bytes]]:
    """Bytes read so far, header without ``>``, and sequence lines as they stand there, of FASTA files of any packing.

    Raises:
        InputError: when a file cannot be decompressed, or does not start with ``>``.
    """
    before = 0
    for path in paths:
        with open(path, "rb") as raw, io.BufferedReader(BlockReader(text_blocks(raw, str(path))), _BUFFER) as lines:
            header: bytes | None = None
            parts: list[bytes] = []
            for line in lines:
                if line.startswith(b">"):
                    if header is not None:
                        yield before + raw.tell(), header, b"".join(parts)
                    header, parts = line[1:].strip(), []
                elif header is not None:
                    parts.append(line)
                elif line.strip():
                    raise InputError(f"{path}: not a FASTA file, the first line does not start with '>'")
            if header is not None:
                yield before + raw.tell(), header, b"".join(parts)
            before += raw.tell()


def clean(sequence: bytes) -> bytes | str:
    """Token bytes of a sequence without specials, or the reason to drop the record.

    Gaps are removed, T becomes U, case does not matter.
    """
    tokens = sequence.translate(_TABLE, _GAPS)
    if len(tokens) < _SHORTEST:
        return "too short"
    if _FOREIGN in tokens:
        return "foreign letters"
    if tokens.count(_N) > _LARGEST_N_SHARE * len(tokens):
        return "mostly N"
    return tokens


def attributes(header: bytes, keys: tuple[str, ...]) -> tuple[str, ...]:
    """The values of ``key=value`` words in a header, empty where a key is missing."""
    words = header.decode("utf-8", "replace").split()[1:]
    values = dict(word.split("=", 1) for word in words if "=" in word)
    return tuple(values.get(key, "") for key in keys)


def clusters_of(corpus: Sequences, path: Path) -> tuple[np.ndarray, int]:
    """(n,) uint64 cluster of each sequence, and how many a table lacks: each of them is a cluster of its own.

    Args:
        path: TSV with representative (or cluster name) and member in the first two columns, compressed or not. It
            takes 16 bytes of memory a member, so 27 million take 0.4 GB.

    Raises:
        InputError: on a line without two columns.
    """
    hashes = _hashes(word for pair in _pairs_of_words(path) for word in pair).reshape(-1, 2)
    owner, known = hashes[np.argsort(hashes[:, 1], kind="stable")].T
    result = np.concatenate([_hashes(corpus.ids(stem)) for stem in corpus.stems])
    place = np.searchsorted(known, result)
    there = np.flatnonzero(place < len(known))
    there = there[known[place[there]] == result[there]]
    result[there] = owner[place[there]]
    return result, len(result) - len(there)


def _pairs_of_words(path: Path) -> Iterator[list[bytes]]:
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            words = line.encode().split(None, 2)[:2]
            if len(words) < 2:
                raise InputError(
                    f"{path}:{number}: a cluster line needs two columns, representative and member",
                    hint="write it with 'mmseqs createtsv' or convert the .clstr file",
                )
            yield words


def _hashes(texts: Iterable[bytes]) -> np.ndarray:
    """(n,) uint64 hash of each text."""
    digests = (hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.fromiter((int.from_bytes(digest, "little") for digest in digests), dtype=np.uint64)


@dataclass
class _State:
    """What is finished; written after every shard."""

    request: dict[str, Any]
    records_read: int = 0
    counts: Counter[str] = field(default_factory=lambda: Counter({"with T": 0, "dropped: identical": 0}))
    shards: list[dict[str, Any]] = field(default_factory=list)
    type_names: list[str] = field(default_factory=list)
    group_names: list[str] = field(default_factory=list)

    @property
    def stems(self) -> list[str]:
        return [entry["stem"] for entry in self.shards]


def prepare_corpus(
    sources: list[Path],
    folder: Path,
    rules: HoldoutRules,
    *,
    clusters: Path | None = None,
    keys: tuple[str, str] = ("type", "family"),
    shard_tokens: int = 64_000_000,
    force: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Write a prepared corpus and return its manifest.

    Args:
        sources: FASTA files, read in this order; of identical sequences the first is kept.
        folder: where to write; an interrupted preparation there with the same request goes on.
        clusters: see :func:`clusters_of`.
        keys: attributes of the headers that name the type and the group of an RNA.
        force: begin again even if the folder holds another corpus.
        progress: called with what is counted, how much of it is done, and of how much.

    Raises:
        InputError: when a source is unreadable or no sequence is left.
        UsageError: when the folder holds another corpus.
    """
    request = {
        "files": [_described(path) for path in (*sources, *([clusters] if clusters else []))],
        "clusters": clusters is not None,
        "keys": list(keys),
        "shard_tokens": shard_tokens,
        "rules": {**asdict(rules), "group_size": list(rules.group_size)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    state = _previous(folder, request, force)
    if state is None:
        return dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
    _write_shards(sources, folder, state, progress)
    if not state.shards:
        raise InputError(f"{sources[0]}: no usable sequence in the corpus", hint="see the counts of dropped records")
    corpus = Sequences(folder, state.stems)
    owners = None
    if clusters is not None:
        owners, state.counts["without cluster"] = clusters_of(corpus, clusters)
    holdout = choose_holdout(corpus, rules, owners, progress)
    if not (holdout.splits == Split.TRAIN).any():
        raise InputError(
            f"{sources[0]}: nothing is left to train on, all {len(corpus):,} sequences are held out or near",
            hint="again with --force and --holdout 0 --holdout-groups 0, which hold nothing out, or --keep-near",
        )
    splits_sha256 = write_array(folder / "splits.npy", holdout.splits)
    manifest = _manifest(corpus, state, holdout, splits_sha256)
    write_json(folder / "manifest.json", manifest)
    _remove(folder, "progress.json")
    return manifest


def _described(path: Path) -> dict[str, Any]:
    try:
        return {"name": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
    except OSError as failure:
        raise InputError(f"{path}: {failure.strerror}") from failure


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


class _Seen:
    """What was seen, by hashes of 64 bits: among 27 million sequences two share one with a probability of 2 in 100,000.

    All but the last ones are a sorted array, which takes 8 bytes for each.
    """

    def __init__(self) -> None:
        self._sorted = np.empty(0, dtype=np.int64)
        self._last: set[int] = set()

    def add(self, tokens: bytes) -> bool:
        """Whether they are new."""
        number = hash(tokens)
        place = self._sorted.searchsorted(number)
        if number in self._last or (place < len(self._sorted) and self._sorted[place] == number):
            return False
        self._last.add(number)
        if len(self._last) == _LAST:
            self._sorted = np.sort(np.concatenate([self._sorted, np.fromiter(self._last, np.int64)]))
            self._last.clear()
        return True


def _write_shards(sources: list[Path], folder: Path, state: _State, progress: Progress) -> None:
    seen = _Seen()
    if state.shards:
        done = Sequences(folder, state.stems)
        for k in range(len(done)):
            seen.add(done.tokens(k).tobytes())
    type_numbers = {name: k for k, name in enumerate(state.type_names)}
    group_numbers = {name: k for k, name in enumerate(state.group_names)}
    keys, shard_tokens = tuple(state.request["keys"]), state.request["shard_tokens"]
    size = sum(file["bytes"] for file in state.request["files"][: len(sources)]) // _MEGABYTE
    draft: list[tuple[bytes, bytes, int, int]] = []
    filled = waiting = waiting_bytes = 0

    def finish() -> None:
        sequences, ids, types, groups = map(list, zip(*draft, strict=True))
        state.shards.append(write_shard(folder, len(state.shards), sequences, ids, types, groups))
        state.type_names, state.group_names = list(type_numbers), list(group_numbers)
        write_json(folder / "progress.json", vars(state))
        draft.clear()

    def show(position: int) -> None:
        progress(f"MB, {state.records_read:,} records, {len(state.shards)} shards", position, size)

    for position, header, sequence in islice(read_records(sources), state.records_read, None):
        state.records_read += 1
        tokens = clean(sequence)
        if isinstance(tokens, str):
            state.counts[f"dropped: {tokens}"] += 1
        else:
            state.counts["with T"] += b"T" in sequence or b"t" in sequence
            if not seen.add(tokens):
                state.counts["dropped: identical"] += 1
            else:
                kind, group = attributes(header, keys)
                of_type = type_numbers.setdefault(kind or "unknown", len(type_numbers))
                of_group = group_numbers.setdefault(group, len(group_numbers)) if group else -1
                draft.append((tokens, header.split(None, 1)[0] if header else b"", of_type, of_group))
                filled += len(tokens)
        waiting, waiting_bytes = waiting + 1, waiting_bytes + len(sequence)
        if waiting == _LOOK or waiting_bytes >= min(_LOOK_BYTES, shard_tokens):
            waiting = waiting_bytes = 0
            if filled >= shard_tokens:
                finish()
                filled = 0
            show(position // _MEGABYTE)
    if draft:
        finish()
    show(size)


def _manifest(corpus: Sequences, state: _State, holdout: Holdout, splits_sha256: str) -> dict[str, Any]:
    every_hash = [splits_sha256, *(sha for entry in state.shards for sha in entry["sha256"].values())]
    letters = np.zeros(len(NUCLEOTIDE), dtype=np.int64)
    for first, last in corpus.blocks(_BLOCK_TOKENS):
        letters += np.bincount(corpus.tokens(first, last), minlength=len(letters))

    def by_split(chosen: np.ndarray) -> dict[str, dict[str, int]]:
        parts = {split.name.lower(): corpus.lengths[chosen & (holdout.splits == split)] for split in Split}
        return {name: {"sequences": len(part), "tokens": int(part.sum())} for name, part in parts.items()}

    return {
        "format": "rnafm-corpus",
        "version": FORMAT_VERSION,
        "rnafm_version": __version__,
        "fingerprint": hashlib.sha256("".join(every_hash).encode()).hexdigest(),
        "alphabet": list(NUCLEOTIDE.tokens),
        "sequences": len(corpus),
        "tokens": int(corpus.lengths.sum()),
        "records_read": state.records_read,
        "counts": dict(state.counts),
        "splits": by_split(np.ones(len(corpus), dtype=bool)),
        "random_clusters": holdout.clusters,
        "held_out_groups": [state.group_names[k] for k in holdout.groups],
        "types": {name: by_split(corpus.types == k) for k, name in enumerate(state.type_names)},
        "letters": {NUCLEOTIDE.tokens[k]: int(n) for k, n in enumerate(letters) if n},
        "lengths": _histogram(corpus.lengths),
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
