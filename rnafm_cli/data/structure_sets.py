"""Known secondary structures for training and development, and the rules that keep the two apart."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from rnafm_cli.data.group_split import drawn_groups
from rnafm_cli.errors import InputError
from rnafm_cli.io.structures import read_structures
from rnafm_cli.rna.kmers import close_to_any, greedy_clusters, linked_groups
from rnafm_cli.rna.records import StructureRecord

__all__ = [
    "FamilyTable",
    "cluster_dev_split",
    "draw_dev_families",
    "family_groups",
    "load_structures",
    "shipped_dev_families",
    "without_close",
    "without_families",
]

_FAMILY_LIST = "dev_newfam.txt"
_NAMED_BY_TYPE = re.compile(r"SRP|RNase_?P|tmRNA|^tRNA|Intron_gpI$|[ _]rRNA")


@dataclass(frozen=True)
class FamilyTable:
    """Rfam families: accession -> (name, type), and which have a published consensus structure."""

    names: dict[str, tuple[str, str]]
    published: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> FamilyTable:
        """Read the columns ``family id type structure_source`` of a gzipped table."""
        try:
            with gzip.open(path, "rt", encoding="utf-8") as handle:
                rows = list(csv.DictReader(handle, delimiter="\t"))
            names = {row["family"]: (row["id"], row["type"]) for row in rows}
            sources = {row["family"]: row["structure_source"] for row in rows}
        except (OSError, KeyError) as error:
            raise InputError(f"{path}: cannot be read as a table of families ({error})") from error
        return cls(names, frozenset(f for f, source in sources.items() if not source.startswith("Predicted")))

    def is_named_by_type(self, family: str) -> bool:
        """Whether general sets label such RNAs by type (tRNA, rRNA, SRP, RNase P, tmRNA, group I), not by accession."""
        name, kind = self.names.get(family, ("", ""))
        return bool(_NAMED_BY_TYPE.search(name)) or "rRNA;" in kind or "tRNA;" in kind


def load_structures(paths: Iterable[Path], *, max_length: int | None = None) -> list[StructureRecord]:
    """All records of the files (any structure format), those longer than ``max_length`` left out."""
    return [
        record
        for path in paths
        for record in read_structures(path)
        if max_length is None or len(record.sequence) <= max_length
    ]


def draw_dev_families(
    records: Sequence[StructureRecord],
    table: FamilyTable,
    *,
    seed: int = 0,
    families: int = 150,
    rows: int = 1000,
    largest_group: int = 400,
) -> list[str]:
    """Families to hold out whole, so that what is learned can be measured on families never seen.

    Families fall into groups that share 8-mers. Groups are drawn at random, those with a published structure
    first, until both counts are reached. Not drawn: groups with a family that other sets name by type, and those
    with more than ``largest_group`` rows (one of them would be most of the set).

    Returns:
        accessions, ascending.
    """
    labels = [record.family for record in records]
    groups = linked_groups([record.sequence for record in records], labels)
    sizes = {label: 0 for label in groups}
    for label in labels:
        sizes[label] += 1
    members: dict[int, list[str]] = {}
    for label, group in groups.items():
        members.setdefault(group, []).append(label)
    eligible = [
        sorted(group)
        for group in members.values()
        if sum(sizes[f] for f in group) <= largest_group and not any(table.is_named_by_type(f) for f in group)
    ]
    eligible.sort()
    order = np.random.default_rng(seed).permutation(len(eligible))
    queue = sorted(order, key=lambda k: not any(f in table.published for f in eligible[k]))
    drawn: list[str] = []
    for k in queue:
        if len(drawn) >= families and sum(sizes[f] for f in drawn) >= rows:
            break
        drawn += eligible[k]
    return sorted(drawn)


def shipped_dev_families() -> frozenset[str]:
    """The committed list of held-out Rfam families of the project's own development set."""
    text = resources.files("rnafm_cli.data").joinpath(_FAMILY_LIST).read_text(encoding="utf-8")
    return frozenset(line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("#"))


def without_families(records: Iterable[StructureRecord], families: Collection[str]) -> list[StructureRecord]:
    """The records of other families."""
    return [record for record in records if record.family not in families]


def without_close(records: Sequence[StructureRecord], held_out: Sequence[StructureRecord]) -> list[StructureRecord]:
    """The records whose 8-mers are not close to a held-out record's, and whose sequence is none of theirs."""
    if not records or not held_out:
        return list(records)
    close = close_to_any([record.sequence for record in records], [record.sequence for record in held_out])
    return [record for record, is_close in zip(records, close, strict=True) if not is_close]


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
        InputError: when all records hang together.
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
    return (
        [record for record, dev in zip(records, is_dev, strict=True) if not dev],
        [record for record, dev in zip(records, is_dev, strict=True) if dev],
    )
