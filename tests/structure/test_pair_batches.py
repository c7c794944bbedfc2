"""Which RNAs are drawn, how they are padded and varied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnafm_cli.rna.pairs import are_canonical, from_dot_bracket
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.batches import collate, draw_batches, mutate, sampling_weights, target_partners
from rnafm_cli.structure.prior_cache import PriorCache
from rnafm_cli.training.recipes import FoldVariation, Sampling

HAIRPIN = StructureRecord("h", "GAGCAAAAGCUGU", from_dot_bracket("(.((....)).).").copy())


def test_families_are_tempered_and_long_rnas_rare() -> None:
    lengths = np.asarray([100] * 16 + [100] + [400])
    groups = np.asarray([0] * 16 + [1] + [2])
    weights = sampling_weights(lengths, groups, Sampling(pair_budget=1, group_power=0.5, length_power=1.0))
    assert weights.sum() == pytest.approx(1.0)
    assert weights[:16].sum() / weights[16] == pytest.approx(4.0)
    assert weights[16] / weights[17] == pytest.approx(2.0)
    alike = sampling_weights(lengths, groups, Sampling(pair_budget=1, group_power=1.0, length_power=0.0))
    assert alike == pytest.approx(np.full(18, 1 / 18))


def test_batches_keep_the_budget_and_follow_the_seed() -> None:
    lengths = np.random.default_rng(0).integers(20, 300, 500)
    draw = Sampling(pair_budget=50_000, round_size=300, most=20)
    weights = np.full(500, 1 / 500)
    batches = draw_batches(lengths, weights, draw, np.random.default_rng(1))
    again = draw_batches(lengths, weights, draw, np.random.default_rng(1))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    assert sum(map(len, batches)) == 300
    for batch in batches:
        side = lengths[batch].max() + lengths[batch].max() % 2
        assert len(batch) == 1 or (len(batch) * side**2 <= 50_000 and len(batch) <= 20)


def test_mutation_keeps_the_structure_possible() -> None:
    rng = np.random.default_rng(0)
    seen = {mutate(HAIRPIN, 1.0, rng).sequence for _ in range(50)}
    assert len(seen) > 40
    for sequence in seen:
        # Canonical pairs stay canonical, others keep their letters.
        assert (
            are_canonical(HAIRPIN.pairs, sequence).tolist() == are_canonical(HAIRPIN.pairs, HAIRPIN.sequence).tolist()
        )
        assert sequence[0] == "G" and sequence[11] == "G"
    assert mutate(HAIRPIN, 0.0, rng).sequence == HAIRPIN.sequence


def test_targets_of_impossible_pairs() -> None:
    assert target_partners(HAIRPIN).tolist() == [11, -1, 9, 8, -1, -1, -1, -1, 3, 2, -1, 0, -1]
    tight = StructureRecord("t", "GAAC", from_dot_bracket("(..)"))
    assert target_partners(tight).tolist() == [-100, -1, -1, -100]


def test_collated_batch_holds_padded_inputs_and_targets(tmp_path: Path) -> None:
    pytest.importorskip("RNA")
    longer = StructureRecord("l", "GGGGCAAAAGCCCCA", from_dot_bracket("(((((....)))))."))
    cache = PriorCache(tmp_path / "prior.h5")
    cache.add_missing([HAIRPIN.sequence, longer.sequence])
    batch = collate([HAIRPIN, longer], cache)
    assert batch.inputs.letters_BL.shape == (2, 16) and batch.inputs.lengths_B.tolist() == [13, 15]
    assert batch.inputs.prior_BLL is not None
    assert batch.inputs.prior_BLL[1, 0, 13] > 0.9 and batch.inputs.prior_BLL[0, 13:].abs().max() == 0
    assert batch.target_BL[0, :13].tolist()[:3] == [11, 16, 9]
    assert batch.target_BL[0, 13:].tolist() == [-100] * 3 and batch.target_BL[1, 14] == 16
    varied = collate(
        [HAIRPIN, longer] * 50,
        cache,
        variation=FoldVariation(
            drop_embedding=0.5, drop_sequence=0.9, drop_prior=0.5, mutate=0.5, mutate_rate=1.0, mutate_longest=100
        ),
        rng=np.random.default_rng(0),
    )
    inputs = varied.inputs
    assert inputs.has_embedding_B is not None and inputs.has_sequence_B is not None and inputs.has_prior_B is not None
    shown = np.stack([f.numpy() for f in (inputs.has_embedding_B, inputs.has_sequence_B, inputs.has_prior_B)])
    assert shown.any(axis=0).all() and 0.3 < shown[0].mean() < 0.7 and shown[1].mean() < 0.5
    assert len(set(varied.sequences)) > 20
