"""Folds of chains keep what is alike together, and the committed file obeys that."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from support.made_chains import made_chains

from rnafm_cli.errors import InputError
from rnafm_cli.rna.chains import Chain
from rnafm_cli.structure.baselines import DistanceTable, spread_probabilities
from rnafm_cli.structure.chain_folds import FOLDS, draw_folds, folds_of, linked_chains, shipped_families, shipped_folds


def test_like_chains_are_linked() -> None:
    chains = made_chains(6)
    first, second, third = chains[:3]
    twin = Chain("twin", first.sequence, contact_LL=first.contacts())
    near = Chain("near", first.sequence[:-4] + "GGCC", contact_LL=first.contacts())
    named = Chain("named", "A" * 30, contact_LL=np.zeros((30, 30), dtype=np.int8), similar=(second.id,))
    groups = linked_chains([*chains, twin, near, named], {third.id: "tRNA", chains[3].id: "tRNA"})
    assert groups[0] == groups[6] == groups[7]
    assert groups[1] == groups[8]
    assert groups[2] == groups[3]
    assert len({groups[0], groups[1], groups[2], groups[4]}) == 4


def test_folds_are_about_equal_and_keep_groups() -> None:
    chains = made_chains(40, contacts_only=10)
    families = {chains[k].id: "one" for k in range(6)}
    folds, groups = draw_folds(chains, families, seed=1)
    assert len(set(folds[:6])) == len(set(groups[:6])) == 1
    assert set(folds) == set(range(FOLDS))
    measured = Counter(fold for fold, chain in zip(folds, chains, strict=True) if chain.distance_LL is not None)
    assert max(measured.values()) - min(measured.values()) <= 2
    assert (draw_folds(chains, families, seed=1)[0] == folds).all()


def test_too_few_unlike_chains() -> None:
    with pytest.raises(InputError, match="too few for 5 folds"):
        draw_folds(made_chains(3), {})


def test_the_committed_folds() -> None:
    rows = shipped_folds()
    assert len(rows) == 359
    assert rows["distances"].sum() == 148
    assert (rows.groupby("group")["fold"].nunique() == 1).all()
    families = shipped_families()
    for family in set(families.values()):
        assert rows.loc[[name for name, own in families.items() if own == family], "group"].nunique() == 1
    assert rows[rows["distances"]]["fold"].value_counts().min() >= 27


def test_known_chains_get_their_committed_folds() -> None:
    known = shipped_folds()[:8]
    chains = [
        Chain(name, "A" * length, contact_LL=np.zeros((length, length), dtype=np.int8))
        for name, length in known["length"].items()
    ]
    folds, groups = folds_of(chains)
    assert folds.tolist() == known["fold"].tolist()
    assert groups.tolist() == known["group"].tolist()


def test_pairs_around_a_probable_pair_are_likely_contacts() -> None:
    p_LL = np.zeros((8, 8), dtype=np.float32)
    p_LL[1, 6] = p_LL[6, 1] = 0.9
    spread_LL = spread_probabilities(p_LL, share=0.5)
    assert spread_LL[1, 6] == pytest.approx(0.9)
    assert spread_LL[2, 6] == spread_LL[0, 5] == pytest.approx(0.45)
    assert spread_LL[3, 6] == 0


def test_the_table_of_distances_reads_separation_and_pairs_nearby() -> None:
    chains = made_chains(12)
    stems = []
    for chain in chains:
        partner = len(chain) - 3
        p_LL = np.zeros((len(chain), len(chain)), dtype=np.float32)
        for i in range(partner // 2 - 2):
            p_LL[i, partner - i] = p_LL[partner - i, i] = 0.95
        stems.append(p_LL)
    table = DistanceTable(zip(chains, stems, strict=True))
    found_LL = table.predict(stems[0])
    assert np.array_equal(found_LL, found_LL.T)
    partner = len(chains[0]) - 3
    assert found_LL[0, partner] < 9
    assert found_LL[0, 1] < found_LL[0, 5]
    unpaired_LL = table.predict(np.zeros_like(stems[0]))
    assert unpaired_LL[0, partner] > found_LL[0, partner]
    assert (DistanceTable([]).predict(stems[0])[np.triu_indices(len(chains[0]), k=1)] == 20).all()
