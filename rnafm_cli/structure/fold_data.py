"""Known secondary structures for training and development, assembled so that neither leaks into the other."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from rnafm_cli.errors import InputError, Reject, UsageError, raise_rejected
from rnafm_cli.io.structures import read_structures
from rnafm_cli.rna.kmers import close_to_any, greedy_clusters, linked_groups
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.batches import sampling_weights
from rnafm_cli.training.labelled_rows import drawn_groups
from rnafm_cli.training.recipes import FoldRecipe
from rnafm_cli.training.trainer import rows_sha256

_FAMILY_LIST = "dev_newfam.txt"


def load_structures(
    paths: Iterable[Path], *, max_length: int | None = None, reject: Reject | None = None
) -> list[StructureRecord]:
    """All records of the files (any structure format), those longer than ``max_length`` left out.

    Args:
        reject: called with the error of a record that cannot be used; when it returns, the record is left out.

    Raises:
        InputError: also for a complex of several strands, from which nobody learns to fold one.
    """
    records: list[StructureRecord] = []
    for record in itertools.chain.from_iterable(read_structures(path, reject=reject) for path in paths):
        if record.breaks:
            hint = "leave complexes out: one RNA folds alone"
            (reject or raise_rejected)(InputError(f"{record.where}: has several strands (&)", hint=hint))
        elif max_length is None or len(record.sequence) <= max_length:
            records.append(record)
    return records


def shipped_dev_families() -> frozenset[str]:
    """The committed list of held-out Rfam families of the project's own development set."""
    text = resources.files("rnafm_cli.structure").joinpath(_FAMILY_LIST).read_text(encoding="utf-8")
    return frozenset(line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("#"))


def without_families(records: Iterable[StructureRecord], families: Collection[str]) -> list[StructureRecord]:
    """The records of other families."""
    return [record for record in records if record.family not in families]


def without_close(records: Sequence[StructureRecord], held_out: Sequence[StructureRecord]) -> list[StructureRecord]:
    """The records whose 8-mers are not close to a held-out record's, and whose sequence is none of theirs."""
    if not records or not held_out:
        return list(records)
    close = close_to_any([record.sequence for record in records], [record.sequence for record in held_out])
    return list(itertools.compress(records, ~close))


def family_groups(records: Sequence[StructureRecord]) -> np.ndarray:
    """(n,) group numbers for sampling: the Rfam family where there is one, else a cluster of close sequences."""
    labels = [record.family if record.family.startswith("RF0") else "" for record in records]
    loose = [k for k, label in enumerate(labels) if not label]
    for k, cluster in zip(loose, greedy_clusters([records[k].sequence for k in loose]), strict=True):
        labels[k] = f"cluster {cluster}"
    return np.unique(np.asarray(labels), return_inverse=True)[1]


def cluster_dev_split(
    records: Sequence[StructureRecord], *, share: float, seed: int
) -> tuple[list[StructureRecord], list[StructureRecord]]:
    """Split records into training and development parts; close sequences stay together.

    Returns:
        (training, development); the second holds about ``share`` of the records, and not more.

    Raises:
        InputError: when all records hang together, or there is one.
    """
    labels = [str(k) for k in range(len(records))]
    groups = linked_groups([record.sequence for record in records], labels)
    group_of = np.asarray([groups[label] for label in labels])
    is_dev = drawn_groups(group_of, share=share, seed=seed)
    if not is_dev.any():
        raise InputError(
            f"no part of the {len(records)} records can be held out: the smallest group of alike ones is larger than "
            f"{max(1, round(share * len(records)))}",
            hint="give a development set with --dev",
        )
    if is_dev.all():
        raise InputError("one record cannot be trained on and measured with", hint="give a development set with --dev")
    train, dev = (list(itertools.compress(records, chosen)) for chosen in (~is_dev, is_dev))
    return train, dev


@dataclass(frozen=True, kw_only=True)
class FoldFiles:
    """Where the records come from.

    Args:
        train: files filtered against every development set.
        partners: files that are the published training partners of ``dev``: filtered against held-out families only.
        dev: development files; a share of the training clusters if there are none.
        families: file whose held-out families make up the development set ``newfam``.
        seeds: Stockholm file of alignments that say what is known of families.
    """

    train: tuple[Path, ...]
    partners: tuple[Path, ...] = ()
    dev: tuple[Path, ...] = ()
    families: Path | None = None
    seeds: Path | None = None


@dataclass
class FoldData:
    """Records to train on with the probability of drawing each, and the development sets by name."""

    train: list[StructureRecord]
    weights: np.ndarray
    dev: dict[str, list[StructureRecord]]
    counts: dict[str, int]
    """How many records were read and dropped, by reason."""

    def sha256(self) -> str:
        """SHA-256 (hex) of the training records, by which a stopped run knows them."""
        pairs = [record.pairs for record in self.train]
        counts = np.asarray([len(part) for part in pairs], dtype=np.int64)
        return rows_sha256((record.sequence for record in self.train), counts, np.concatenate(pairs))

    @property
    def lengths(self) -> np.ndarray:
        """(n,) length of each training record."""
        return np.asarray([len(record.sequence) for record in self.train])


def new_families(path: Path, reject: Reject | None = None) -> list[StructureRecord]:
    """The records of a file that belong to the project's held-out families."""
    families = shipped_dev_families()
    return [record for record in load_structures([path], reject=reject) if record.family in families]


def assemble(
    files: FoldFiles,
    recipe: FoldRecipe,
    *,
    report: Callable[[str], None] = lambda line: None,
    reject: Reject | None = None,
) -> FoldData:
    """Read all files and take out of training what is close to a development record.

    Args:
        reject: called with the error of a record that cannot be used, see :func:`load_structures`.

    Raises:
        UsageError: for two development sets of one name.
        InputError: when nothing is left to train on.
    """
    limit = recipe.data.max_length
    names = [_name(path) for path in files.dev] + ["newfam"] * bool(files.families)
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UsageError(
            f"two development sets are called '{min(repeated)}'",
            hint="a file's name up to its first dot is its set's name; 'newfam' is that of --families",
        )
    dev = {_name(path): load_structures([path], reject=reject) for path in files.dev}
    held = new_families(files.families, reject) if files.families else []
    counts: Counter[str] = Counter()
    train: list[StructureRecord] = []
    for part, against in ((files.partners, held), (files.train, [*held, *(r for rows in dev.values() for r in rows)])):
        records = load_structures(part, max_length=limit, reject=reject)
        counts["read"] += len(records)
        if recipe.data.hold_families:
            others = without_families(records, shipped_dev_families())
            counts["held-out family"] += len(records) - len(others)
            records = others
        far = without_close(records, against)
        counts["close to a development record"] += len(records) - len(far)
        train += far
    unique = _unique(train)
    counts["repeated"] = len(train) - len(unique)
    train = unique
    if not train:
        raise InputError("no record is left to train on", hint=f"longest allowed are {limit} nt (data.max_length)")
    if not dev:
        train, own = cluster_dev_split(train, share=recipe.data.dev_share, seed=recipe.data.seed)
        dev = {"dev": own}
    if held:
        dev["newfam"] = held
    counts["train"] = len(train)
    report("training records: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    weights = sampling_weights(np.asarray([len(one) for one in train]), family_groups(train), recipe.sampling)
    return FoldData(train, weights, dev, dict(counts))


def _unique(records: Sequence[StructureRecord]) -> list[StructureRecord]:
    # The first file that holds a sequence decides its structure.
    return list({record.sequence: record for record in reversed(records)}.values())[::-1]


def _name(path: Path) -> str:
    return path.name.split(".")[0]
