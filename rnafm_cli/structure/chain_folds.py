"""Cross-validation folds of chains: what is alike lies in one fold.

Two chains are alike when one is listed as similar to the other, when they share more 8-mers than the project's rule of
closeness allows, or when they belong to one family. The folds of the project's own chains are a committed file.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from rnafm_cli.errors import InputError
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.kmers import close_pairs, kmer_matrix

FOLDS = 5
_FOLD_FILE, _FAMILY_FILE = "chain_folds.tsv", "chain_families.tsv"


@dataclass(frozen=True, slots=True)
class FoldRow:
    """Where a chain lies: its fold (from 0), the number of its group of like chains, and why; a row of the table."""

    id: str
    fold: int
    group: int
    family: str
    length: int
    distances: bool


def linked_chains(chains: Sequence[Chain], families: Mapping[str, str]) -> np.ndarray:
    """(n,) group number of each chain; chains that are alike, also through others, have the same.

    Args:
        families: family by id; chains without one are linked by closeness and similarity only.
    """
    number = {chain.id: k for k, chain in enumerate(chains)}
    links = [(k, number[other]) for k, chain in enumerate(chains) for other in chain.similar if other in number]
    matrix = kmer_matrix([chain.sequence for chain in chains])
    for rows, columns in close_pairs(matrix, matrix):
        links += zip(rows.tolist(), columns.tolist(), strict=True)
    first: dict[str, int] = {}
    for k, chain in enumerate(chains):
        # Sequences too short for 8-mers may still be repeated.
        for label in (families.get(chain.id), f"={chain.sequence}"):
            if label:
                links.append((first.setdefault(label, k), k))
    ends = np.asarray(links, dtype=np.int64).reshape(-1, 2)
    shape = (len(chains), len(chains))
    graph = sparse.csr_matrix((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=shape)
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def draw_folds(
    chains: Sequence[Chain], families: Mapping[str, str], *, folds: int = FOLDS, seed: int = 0
) -> list[FoldRow]:
    """Distribute groups of like chains so that folds are about equal.

    Groups go, largest first and equal ones in random order, to the fold that lacks most: chains with distances, chains,
    and residues.

    Raises:
        InputError: when there are fewer groups than folds.
    """
    groups = linked_chains(chains, families)
    count = int(groups.max(initial=-1)) + 1
    if count < folds:
        raise InputError(
            f"{len(chains)} chains are {count} groups of unlike RNAs, too few for {folds} folds",
            hint="give more chains, or ask for fewer folds",
        )
    load = np.zeros((count, 3))
    for chain, group in zip(chains, groups, strict=True):
        load[group] += (chain.distance_LL is not None, 1, len(chain))
    share = load / np.maximum(load.sum(axis=0), 1)
    order = np.random.default_rng(seed).permutation(count)
    order = order[np.argsort(-share[order].sum(axis=1), kind="stable")]
    filled = np.zeros((folds, 3))
    fold_of = np.empty(count, dtype=np.int64)
    for group in order:
        # Squares: a fold that is ahead in one of the three is not made up for by the others.
        fold_of[group] = int(np.argmin((((filled + share[group]) ** 2) - filled**2).sum(axis=1)))
        filled[fold_of[group]] += share[group]
    rows = []
    for chain, group in zip(chains, groups.tolist(), strict=True):
        family, measured = families.get(chain.id, ""), chain.distance_LL is not None
        rows.append(FoldRow(chain.id, int(fold_of[group]), group, family, len(chain), measured))
    return rows


def folds_of(
    chains: Sequence[Chain], *, folds: int = FOLDS, seed: int = 0, families: Mapping[str, str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Fold and group of each chain, both (n,): the committed ones if the file holds all chains, else drawn anew.

    Args:
        families: by id, as far as they are known; needed where folds are drawn.
    """
    known = shipped_folds()
    if folds == FOLDS and all(c.id in known and known[c.id].length == len(c) for c in chains):
        rows = [known[chain.id] for chain in chains]
    else:
        rows = draw_folds(chains, shipped_families() | dict(families or {}), folds=folds, seed=seed)
    return np.asarray([row.fold for row in rows]), np.asarray([row.group for row in rows])


def shipped_folds() -> dict[str, FoldRow]:
    """The committed folds of the project's own chains, by id."""
    found = {}
    for row in _table(_FOLD_FILE):
        fold, group, length = (int(row[name]) for name in ("fold", "group", "length"))
        found[row["id"]] = FoldRow(row["id"], fold, group, row["family"], length, row["distances"] == "true")
    return found


def shipped_families() -> dict[str, str]:
    """Families of the project's own chains that have relatives among them, by id."""
    return {row["id"]: row["family"] for row in _table(_FAMILY_FILE)}


def _table(name: str) -> list[dict[str, str]]:
    text = resources.files("rnafm_cli.structure").joinpath(name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines, delimiter="\t"))
