"""Training and development sets of a fold head, assembled so that neither leaks into the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnafm_cli.data.pair_batches import Draw, sampling_weights
from rnafm_cli.data.structure_sets import (
    cluster_dev_split,
    family_groups,
    load_structures,
    shipped_dev_families,
    without_close,
    without_families,
)
from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.training.fold_config import FoldConfig
from rnafm_cli.training.head_state import rows_sha256

__all__ = ["FoldData", "FoldFiles", "assemble", "new_families"]


@dataclass(frozen=True, kw_only=True)
class FoldFiles:
    """Where the records come from.

    Args:
        train: files filtered against every development set.
        partners: files that are the published training partners of ``dev``: filtered against held-out families only.
        dev: development files; a share of the training clusters if there are none.
        families: file whose held-out families make up the development set ``newfam``.
    """

    train: tuple[Path, ...]
    partners: tuple[Path, ...] = ()
    dev: tuple[Path, ...] = ()
    families: Path | None = None


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


def new_families(path: Path) -> list[StructureRecord]:
    """The records of a file that belong to the project's held-out families."""
    families = shipped_dev_families()
    return [record for record in load_structures([path]) if record.family in families]


def assemble(files: FoldFiles, config: FoldConfig, *, report: Callable[[str], None] = lambda line: None) -> FoldData:
    """Read all files and take out of training what is close to a development record.

    Raises:
        UsageError: for two development sets of one name.
        InputError: when nothing is left to train on.
    """
    limit = config.data.max_length
    names = [_name(path) for path in files.dev] + ["newfam"] * bool(files.families)
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UsageError(
            f"two development sets are called '{min(repeated)}'",
            hint="a file's name up to its first dot is its set's name; 'newfam' is that of --families",
        )
    dev = {_name(path): load_structures([path]) for path in files.dev}
    held = new_families(files.families) if files.families else []
    counts: dict[str, int] = {}
    train: list[StructureRecord] = []
    for part, against in ((files.partners, held), (files.train, [*held, *(r for rows in dev.values() for r in rows)])):
        records = load_structures(part, max_length=limit)
        counts["read"] = counts.get("read", 0) + len(records)
        if config.data.hold_families:
            kept = without_families(records, shipped_dev_families())
            counts["held-out family"] = counts.get("held-out family", 0) + len(records) - len(kept)
            records = kept
        kept = without_close(records, against)
        counts["close to a development record"] = (
            counts.get("close to a development record", 0) + len(records) - len(kept)
        )
        train += kept
    unique = _unique(train)
    counts["repeated"] = len(train) - len(unique)
    train = unique
    if not dev:
        train, own = cluster_dev_split(train, share=config.data.dev_share, seed=config.data.seed)
        dev = {"dev": own}
    if held:
        dev["newfam"] = held
    if not train:
        raise InputError("no record is left to train on", hint=f"longest allowed are {limit} nt (data.max_length)")
    counts["train"] = len(train)
    report("training records: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    weights = sampling_weights(
        np.asarray([len(record.sequence) for record in train]), family_groups(train), draw_rules(config)
    )
    return FoldData(train, weights, dev, counts)


def draw_rules(config: FoldConfig) -> Draw:
    """The sampling section as rules of the batch maker."""
    section = config.sampling
    return Draw(
        pair_budget=section.pair_budget,
        most=section.most,
        group_power=section.group_power,
        length_power=section.length_power,
        length_knee=section.length_knee,
        round_size=section.round_size,
    )


def _unique(records: Sequence[StructureRecord]) -> list[StructureRecord]:
    # The first file that holds a sequence decides its structure.
    return list({record.sequence: record for record in reversed(records)}.values())[::-1]


def _name(path: Path) -> str:
    return path.name.split(".")[0]
