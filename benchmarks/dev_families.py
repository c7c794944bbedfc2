"""Draw the families of dev_newfam: ``dev_families.py rfam142_seed_train.tsv.gz rfam142_families.tsv.gz``.

Prints their accessions, as ``rnafm_cli/structure/dev_newfam.txt`` lists them.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnafm_cli.rna.kmers import linked_groups
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.fold_data import load_structures

_NAMED_BY_TYPE = re.compile(r"SRP|RNase_?P|tmRNA|^tRNA|Intron_gpI$|[ _]rRNA")


@dataclass(frozen=True)
class FamilyTable:
    """Rfam families: accession -> (name, type), and which have a published consensus structure."""

    names: dict[str, tuple[str, str]]
    published: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> FamilyTable:
        """Read the columns ``family id type structure_source`` of a gzipped table."""
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t"))
        names = {row["family"]: (row["id"], row["type"]) for row in rows}
        sources = {row["family"]: row["structure_source"] for row in rows}
        return cls(names, frozenset(f for f, source in sources.items() if not source.startswith("Predicted")))

    def is_named_by_type(self, family: str) -> bool:
        """Whether general sets label such RNAs by type (tRNA, rRNA, SRP, RNase P, tmRNA, group I), not by accession."""
        name, kind = self.names.get(family, ("", ""))
        return bool(_NAMED_BY_TYPE.search(name)) or "rRNA;" in kind or "tRNA;" in kind


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path, help="Structures with their families.")
    parser.add_argument("families", type=Path, help="Table with the columns family, id, type, structure_source.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(*draw_dev_families(load_structures([options.records]), FamilyTable.read(options.families), seed=options.seed))


if __name__ == "__main__":
    main()
