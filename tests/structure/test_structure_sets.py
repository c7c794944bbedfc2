"""Development families, filters and splits on made-up structures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.closeness import are_close

from rnafm_cli.errors import InputError
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.fold_data import (
    cluster_dev_split,
    family_groups,
    load_structures,
    shipped_dev_families,
    without_close,
)


def random_rna(length: int, rng: np.random.Generator) -> str:
    return "".join(rng.choice(list("ACGU"), length))


def made_up_families(count: int, rows: int) -> list[StructureRecord]:
    rng = np.random.default_rng(3)
    records = []
    for family in range(count):
        core = random_rna(50, rng)
        for row in range(rows):
            records.append(StructureRecord(f"{family}/{row}", core + random_rna(20, rng), family=f"RF{family:05d}"))
    return records


def test_nothing_close_to_a_development_record_stays() -> None:
    records = made_up_families(10, 4)
    held = [record for record in records if record.family in ("RF00002", "RF00007")]
    kept = without_close(records, held)
    assert {record.family for record in kept} == {r.family for r in records} - {"RF00002", "RF00007"}
    assert not any(are_close(a.sequence, b.sequence) for a in kept for b in held)
    assert without_close(records, []) == records


def test_dev_split_keeps_clusters_whole_and_is_deterministic() -> None:
    records = made_up_families(20, 5)
    train, dev = cluster_dev_split(records, share=0.2, seed=0)
    assert len(dev) == 20 and len(train) + len(dev) == 100
    assert not {record.family for record in train} & {record.family for record in dev}
    again = cluster_dev_split(records, share=0.2, seed=0)
    assert [record.id for record in again[1]] == [record.id for record in dev]


def test_groups_are_families_or_clusters() -> None:
    records = made_up_families(3, 3)
    loose = [StructureRecord(r.id, r.sequence, family="CRW") for r in made_up_families(5, 2)[6:]]
    groups = family_groups([*records, *loose])
    assert groups[0] == groups[1] == groups[2] != groups[3]
    assert groups[9] == groups[10] != groups[11]


def test_committed_family_list_is_whole() -> None:
    families = shipped_dev_families()
    assert len(families) >= 150
    assert all(family.startswith("RF0") and len(family) == 7 for family in families)
    assert not families & {"RF00001", "RF00005", "RF00010", "RF00023", "RF00028", "RF00177"}


def test_reading_structures(tmp_path: Path) -> None:
    path = tmp_path / "set.tsv"
    path.write_text(
        "name\tfamily\tsequence\tpairs\na\tRF00001\tGGGAAACCC\t(((...)))\nb\t-\tACGUACGUACGU\t............\n"
    )
    assert [record.id for record in load_structures([path], max_length=10)] == ["a"]
    assert len(load_structures([path])) == 2


def test_a_group_larger_than_what_is_held_out_stays_in_training() -> None:
    rng = np.random.default_rng(0)
    base = random_rna(90, rng)
    alike = [StructureRecord(f"a{k}", base[:k] + "A" + base[k + 1 :]) for k in range(60)]
    others = [StructureRecord(f"o{k}", random_rna(90, rng)) for k in range(20)]
    for seed in range(6):
        train, dev = cluster_dev_split([*alike, *others], share=0.1, seed=seed)
        assert len(dev) == 8 and len(train) == 72 and all(record.id.startswith("o") for record in dev)
    with pytest.raises(InputError, match="give a development set|larger than 6"):
        cluster_dev_split(alike, share=0.1, seed=0)
    with pytest.raises(InputError, match="one record cannot be trained on"):
        cluster_dev_split(alike[:1], share=0.1, seed=0)
