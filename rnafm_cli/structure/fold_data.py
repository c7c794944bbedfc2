"""Known secondary structures for training and development, assembled so that neither leaks into the other."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from rnafm_cli.errors import InputError, Reject, UsageError, raise_rejected
from rnafm_cli.io.structures import read_structures
from rnafm_cli.rna.kmers import close_to_any, greedy_clusters, linked_groups
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.batches import sampling_weights
from rnafm_cli.training.labelled_rows import drawn_groups, set_name
from rnafm_cli.training.recipes import FoldRecipe
from rnafm_cli.training.trainer import rows_sha256


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
    text = resources.files("rnafm_cli.structure").joinpath("dev_newfam.txt").read_text(encoding="utf-8")
    return frozenset(line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("#"))


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
    """Training and development records, of the latter ``share`` of all at most; close sequences stay together.

    Raises:
        InputError: when all records hang together, or there is one.
    """
    labels = [str(k) for k in range(len(records))]
    groups = linked_groups([record.sequence for record in records], labels)
    is_dev = drawn_groups(np.asarray([groups[label] for label in labels]), share=share, seed=seed)
    if is_dev.all() or not is_dev.any():
        problem = "one record cannot be trained on and measured with"
        if len(records) > 1:
            most = max(1, round(share * len(records)))
            problem = (
                f"no part of the {len(records)} records can be held out: all groups of alike ones have over {most}"
            )
        raise InputError(problem, hint="give a development set with --dev")
    train, dev = (list(itertools.compress(records, chosen)) for chosen in (~is_dev, is_dev))
    return train, dev


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
    recipe: FoldRecipe,
    *,
    train: Sequence[Path],
    partners: Sequence[Path] = (),
    dev: Sequence[Path] = (),
    families: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
    reject: Reject | None = None,
) -> FoldData:
    """Read all files and take out of training what is close to a development record.

    Args:
        train: files filtered against every development set.
        partners: files that are the published training partners of ``dev``: filtered against held-out families only.
        dev: development files; a share of the training clusters if there are none.
        families: file whose held-out families make up the development set ``newfam``.
        reject: called with the error of a record that cannot be used, see :func:`load_structures`.

    Raises:
        UsageError: for two development sets of one name.
        InputError: when nothing is left to train on.
    """
    limit = recipe.data.max_length
    names = [set_name(path) for path in dev] + ["newfam"] * bool(families)
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UsageError(
            f"two development sets are called '{min(repeated)}'",
            hint="a file's name up to its first dot is its set's name; 'newfam' is that of --families",
        )
    sets = {set_name(path): load_structures([path], reject=reject) for path in dev}
    held = new_families(families, reject) if families else []
    held_out = shipped_dev_families() if recipe.data.hold_families else ()
    counts: Counter[str] = Counter()
    kept: list[StructureRecord] = []
    for part, against in ((partners, held), (train, [*held, *itertools.chain.from_iterable(sets.values())])):
        records = load_structures(part, max_length=limit, reject=reject)
        others = [record for record in records if record.family not in held_out]
        far = without_close(others, against)
        counts["read"] += len(records)
        if recipe.data.hold_families:
            counts["held-out family"] += len(records) - len(others)
        counts["close to a development record"] += len(others) - len(far)
        kept += far
    # The first file that holds a sequence decides its structure.
    unique = list({record.sequence: record for record in reversed(kept)}.values())[::-1]
    counts["repeated"] = len(kept) - len(unique)
    if not unique:
        raise InputError("no record is left to train on", hint=f"longest allowed are {limit} nt (data.max_length)")
    if not dev:
        unique, sets["dev"] = cluster_dev_split(unique, share=recipe.data.dev_share, seed=recipe.data.seed)
    if held:
        sets["newfam"] = held
    counts["train"] = len(unique)
    report("training records: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    weights = sampling_weights(np.asarray([len(one) for one in unique]), family_groups(unique), recipe.sampling)
    return FoldData(unique, weights, sets, dict(counts))
