"""Cross-validation folds of chains: what is alike lies in one fold.

Two chains are alike when one is listed as similar to the other, when they share more 8-mers than the project's rule of
closeness allows, or when they belong to one family. The folds of the project's own chains are a committed file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.kmers import close_pairs, kmer_matrix, linked_nodes

FOLDS = 5
Folds = tuple[NDArray[np.int64], NDArray[np.int64]]
"""(n,) fold of each chain, from 0, and (n,) number of its group of like chains."""


def linked_chains(chains: Sequence[Chain], families: Mapping[str, str]) -> NDArray[np.int64]:
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
    return linked_nodes(np.asarray(links, dtype=np.int64).reshape(-1, 2).T, len(chains))


def draw_folds(chains: Sequence[Chain], families: Mapping[str, str], *, folds: int = FOLDS, seed: int = 0) -> Folds:
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
    np.add.at(load, groups, [(chain.distance_LL is not None, 1, len(chain)) for chain in chains])
    share = load / np.maximum(load.sum(axis=0), 1)
    order = np.random.default_rng(seed).permutation(count)
    order = order[np.argsort(-share[order].sum(axis=1), kind="stable")]
    filled = np.zeros((folds, 3))
    fold_of = np.empty(count, dtype=np.int64)
    for group in order:
        # Squares: a fold that is ahead in one of the three is not made up for by the others.
        fold_of[group] = int(np.argmin((((filled + share[group]) ** 2) - filled**2).sum(axis=1)))
        filled[fold_of[group]] += share[group]
    return fold_of[groups], groups


def folds_of(
    chains: Sequence[Chain], *, folds: int = FOLDS, seed: int = 0, families: Mapping[str, str] | None = None
) -> Folds:
    """The committed folds if their file holds all chains, else folds drawn anew.

    Args:
        families: by id, as far as they are known; needed where folds are drawn.
    """
    known = shipped_folds().reindex([chain.id for chain in chains])
    if folds == FOLDS and known["length"].tolist() == [len(chain) for chain in chains]:
        return known["fold"].to_numpy(np.int64), known["group"].to_numpy(np.int64)
    return draw_folds(chains, shipped_families() | dict(families or {}), folds=folds, seed=seed)


def shipped_folds() -> pd.DataFrame:
    """The committed folds of the project's own chains, by id: ``fold group family length distances``."""
    return _table("chain_folds.tsv")


def shipped_families() -> dict[str, str]:
    """Families of the project's own chains that have relatives among them, by id."""
    return dict(_table("chain_families.tsv")["family"])


def _table(name: str) -> pd.DataFrame:
    with resources.files("rnafm_cli.structure").joinpath(name).open(encoding="utf-8") as file:
        return pd.read_csv(file, sep="\t", comment="#", index_col="id", dtype={"id": str}, keep_default_na=False)
