"""Folding as a library: order, evidence, memory and windows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnafm_cli.encoder.config import ENCODER_PRESETS
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.resnet import PairResNet, PairResNetConfig
from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.errors import InputError
from rnafm_cli.rna.decode import Constraints, DecodeOptions
from rnafm_cli.rna.pairs import are_canonical
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.structure.fold import Fold, FoldPredictor, GuidedPredictor, ResNetPredictor, one_partner
from rnafm_cli.structure.pair import PairConfig, PairHead
from rnafm_cli.structure.predict import (
    DECODING_BYTES,
    NARROWEST_WINDOW,
    PROCESS_BYTES,
    Query,
    plan_pairs,
    predict,
    stitch,
)

RUNTIME = Runtime.create("cpu")
KNOT = SequenceRecord("knot", "GCGCGAGGCCACGCGCAAGGCCAAAA")


def records(lengths: list[int], seed: int = 0) -> list[SequenceRecord]:
    letters = np.random.default_rng(seed)
    return [SequenceRecord(f"r{k}", "".join(letters.choice(list("ACGU"), n))) for k, n in enumerate(lengths)]


@pytest.fixture(scope="module")
def tiny() -> Encoder:
    torch.manual_seed(0)
    return Encoder(ENCODER_PRESETS["rnafm-tiny"]).eval()


def guided(
    encoder: Encoder, *, prior: bool, trained: bool = False, max_bytes: int = 10**12, **more: Any
) -> GuidedPredictor:
    torch.manual_seed(1)
    config = PairConfig(
        embedding=encoder.config.width, width=8, channels=8, dilations=(1, 2), heads=2, fine=4, axial_every=2
    )
    head = PairHead(config).eval()
    if trained:
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    parameters = head.config.parameters if prior else None
    return GuidedPredictor(head, RUNTIME, encoder=encoder, parameters=parameters, max_bytes=max_bytes, **more)


def folds(rnas: Iterable[SequenceRecord], predictor: FoldPredictor, **more: Any) -> list[Fold]:
    return list(predict(rnas, predictor, **more))


def test_order_and_batches_change_nothing(tiny: Encoder) -> None:
    rnas = records([30, 7, 90, 1, 30, 61])
    together = folds(rnas, guided(tiny, prior=False, trained=True))
    assert [one.record for one in together] == rnas
    for one in together:
        (alone,) = folds([one.record], guided(tiny, prior=False, trained=True, batch_tokens=10))
        np.testing.assert_allclose(one.probs_LL, alone.probs_LL, atol=1e-5)
        assert 0.0 <= one.expected_accuracy <= 1.0
        assert one.pair_confidence is None or 0.0 < one.pair_confidence <= 1.0
        assert are_canonical(one.pairs, one.record.sequence).all()


@pytest.mark.parametrize("prior", [False, True])
def test_forced_pairs_and_forced_gaps_are_kept(tiny: Encoder, prior: bool) -> None:
    if prior:
        pytest.importorskip("RNA")
    constraint = "xx((..[[[[..)).....]]]]..."[:18] + "]]]]...."
    predictor = guided(tiny, prior=prior)
    (found,) = folds([KNOT], predictor, query_of=lambda record: Query(record, Constraints(constraint)))
    pairs = set(map(tuple, found.pairs.tolist()))
    assert {(2, 13), (3, 12), (6, 21), (7, 20), (8, 19), (9, 18)} <= pairs
    assert not {0, 1} & set(found.pairs.ravel().tolist())


def test_the_official_head_takes_constraints_and_no_reactivities(tiny: Encoder) -> None:
    torch.manual_seed(0)
    head = PairResNet(PairResNetConfig(width=tiny.config.width, reduced=8, channels=8, blocks=2)).eval()
    options = DecodeOptions(decoder="upstream")
    predictor = ResNetPredictor(head, RUNTIME, encoder=tiny, options=options, threshold=0.34)
    assert predictor.options.floor == 0.34
    known = Constraints("(........................)")
    (found,) = folds([KNOT], predictor, query_of=lambda r: Query(r, known))
    assert [0, 25] in found.pairs.tolist()


def test_reactive_bases_open(tiny: Encoder) -> None:
    pytest.importorskip("RNA")
    hairpin = SequenceRecord("hp", "GGGGCCAAAAGGCCCCAAAAGGGGAAAACCCC")
    reactivities = np.full(len(hairpin), np.nan)
    reactivities[:6] = 3.0
    free, probed = (
        folds([hairpin], guided(tiny, prior=True), query_of=lambda r, known=known: Query(r, reactivities=known))[
            0
        ].probs_LL
        for known in (None, reactivities)
    )
    assert probed[:6].sum() < free[:6].sum() - 1


def test_the_prior_sees_what_a_nested_ensemble_can_hold() -> None:
    assert Constraints("((((.[[[.)))).]]]").nested("GGGGACCCACCCCAGGG") == "((((.xxx.)))).xxx"
    assert Constraints("(....)|<x").nested("AGGGGAGGG") == "x....x|<x"


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (Constraints("((.))"), "record 'knot': the constraint covers 5"),
        (Constraints("()" + "." * 24), "knot"),
        (Constraints("()" + "." * 24, "x.con:1"), "x.con:1: constraint of record 'knot'"),
    ],
)
def test_impossible_constraints_are_refused_by_record(tiny: Encoder, constraint: Constraints, message: str) -> None:
    seen: list[str] = []
    rnas = [KNOT, SequenceRecord("next", "GGGGAAAACCCC")]
    found = folds(
        rnas,
        guided(tiny, prior=False),
        query_of=lambda record: Query(record, constraint if record is KNOT else None),
        reject=lambda error: seen.append(error.message),
    )
    assert [one.record.id for one in found] == ["next"]
    assert message in seen[0]


def test_too_long_for_the_memory_is_refused_before_work(tiny: Encoder) -> None:
    long = SequenceRecord("huge", "A" * 100_000)
    with pytest.raises(InputError, match="'huge': folding 100000 nt takes about .* GB and the limit is 4.0 GB"):
        folds([long], guided(tiny, prior=True, max_bytes=4 * 10**9))


def test_windows_give_nearly_what_the_whole_map_gives(tiny: Encoder) -> None:
    pytest.importorskip("RNA")
    (rna,) = records([700], seed=3)
    told: list[str] = []
    small = guided(tiny, prior=True, max_bytes=750_000_000)
    assert small.plan(Query(rna)).window == NARROWEST_WINDOW
    (whole,) = folds([rna], guided(tiny, prior=True), tell=told.append)
    assert told == []
    (pieced,) = folds([rna], small, tell=told.append)
    assert "windows of 512 nt" in told[0]
    np.testing.assert_allclose(pieced.probs_LL, pieced.probs_LL.T, atol=1e-6)
    assert pieced.probs_LL.sum(axis=1).max() <= 1 + 1e-4
    np.testing.assert_allclose(pieced.probs_LL, whole.probs_LL, atol=0.05)


@given(length=st.integers(20, 300), window=st.integers(8, 120), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_stitching_true_blocks_gives_the_whole(length: int, window: int, seed: int) -> None:
    window = min(window // 2 * 2, length)
    half = np.random.default_rng(seed).random((length, length), dtype=np.float32) / (2 * length)
    true_LL = half + half.T
    stitched = stitch(length, window, lambda part: {"p": true_LL[part, part]}, {"p": true_LL.copy()})["p"]
    np.testing.assert_allclose(stitched, true_LL, atol=1e-6)
    near = stitch(length, window, lambda part: {"p": true_LL[part, part]}, {"p": np.zeros_like(true_LL)})["p"]
    i, j = np.indices((length, length))
    close = np.abs(i - j) < window // 2
    np.testing.assert_allclose(near[close], true_LL[close], atol=1e-6)
    assert near.max() <= true_LL.max() + 1e-6


def test_rows_that_overflow_are_scaled() -> None:
    far = np.zeros((40, 40), dtype=np.float32)
    far[0, 39] = far[39, 0] = 0.8

    def block(part: slice) -> dict[str, np.ndarray]:
        p = np.zeros((20, 20), dtype=np.float32)
        p[0, 10] = p[10, 0] = 0.8
        return {"p": p}

    found = one_partner(stitch(40, 20, block, {"p": far})["p"])
    np.testing.assert_array_equal(found, found.T)
    assert found.sum(axis=1).max() <= 1 + 1e-6


@given(length=st.integers(1, 50_000), limit=st.integers(10**8, 10**11))
def test_plans_say_the_truth_about_the_limit(length: int, limit: int) -> None:
    plan = plan_pairs(length, limit, cell_bytes=450, prior_cell_bytes=8, windows=True)
    assert plan.bytes <= plan.whole
    assert (plan.window is None) == (plan.whole <= limit or length <= NARROWEST_WINDOW)
    if plan.bytes > limit and plan.window is not None:
        assert plan.window == NARROWEST_WINDOW or PROCESS_BYTES + (DECODING_BYTES + 8) * length**2 > limit
