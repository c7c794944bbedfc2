"""Sampling, masking and batching: what an epoch shows depends on seed, epoch and sample alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnafm_cli.pretrain import sampling
from rnafm_cli.pretrain.batches import build_batch, plan_batches
from rnafm_cli.pretrain.config import BatchSection
from rnafm_cli.pretrain.holdout import HoldoutRules
from rnafm_cli.pretrain.prepare import prepare_corpus
from rnafm_cli.pretrain.sampling import TypeSampler, corrupt
from rnafm_cli.pretrain.shards import Corpus
from rnafm_cli.rna.alphabet import NUCLEOTIDE

WINDOW = 62


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("sampling")
    rng = np.random.default_rng(2)
    lines = []
    for kind, count, length in (("rRNA", 60, 400), ("tRNA", 80, 75), ("miRNA", 80, 22)):
        for k in range(count):
            letters = "".join("ACGU"[c] for c in rng.integers(0, 4, size=length + k % 5))
            lines.append(f">{kind}{k} type={kind}\n{letters}")
    (folder / "x.fa").write_text("\n".join(lines))
    prepare_corpus([folder / "x.fa"], folder / "c", HoldoutRules(sequences=0, groups=0))
    return Corpus(folder / "c")


def sampler(corpus: Corpus, exponent: float = 0.5, seed: int = 3) -> TypeSampler:
    return TypeSampler(corpus, exponent, window=WINDOW, seed=seed)


def section(layout: str, tokens: int) -> BatchSection:
    return BatchSection(layout=layout, tokens=tokens)  # type: ignore[arg-type]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_types_are_drawn_in_proportion_to_their_size_to_the_power(corpus: Corpus, exponent: float) -> None:
    draw = sampler(corpus, exponent)
    sizes = np.bincount(corpus.types, corpus.lengths.astype(float))
    wanted = sizes**exponent / (sizes**exponent).sum()
    plan = draw.epoch(0)
    seen = np.bincount(corpus.types[plan.sequences], plan.lengths.astype(float))
    assert seen / seen.sum() == pytest.approx(wanted, abs=0.01)
    assert [draw.shares()[k] for k in range(3)] == pytest.approx(wanted, abs=0.01)
    assert plan.lengths.sum() == pytest.approx(corpus.lengths.sum(), rel=0.03)


def test_repeats_are_bounded(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_MOST_REPEATS", 2)
    plan = sampler(corpus, exponent=0.0).epoch(0)
    times = np.bincount(plan.sequences, minlength=len(corpus))
    windows = -(-corpus.lengths // WINDOW)
    assert (times <= 2 * windows).all()


def test_within_a_type_every_window_comes_before_any_comes_again(corpus: Corpus) -> None:
    draw = sampler(corpus, exponent=1.0)
    windows = -(-corpus.lengths // WINDOW)
    seen = np.zeros(len(corpus))
    for epoch in range(3):
        seen += np.bincount(draw.epoch(epoch).sequences, minlength=len(corpus))
    per_window = seen / windows
    for kind in range(3):
        own = per_window[corpus.types == kind]
        assert own.max() - own.min() <= 1


def test_epochs_differ_and_are_reproducible(corpus: Corpus) -> None:
    first, again, other = sampler(corpus).epoch(1), sampler(corpus).epoch(1), sampler(corpus).epoch(2)
    assert (first.sequences == again.sequences).all() and (first.keys == again.keys).all()
    assert not np.array_equal(first.sequences, other.sequences)
    assert len(np.unique(first.keys)) == len(first) and not set(first.keys) & set(other.keys)
    ends = first.starts + first.lengths
    assert (first.starts >= 0).all() and (ends <= corpus.lengths[first.sequences]).all()


def test_crops_reach_both_ends(corpus: Corpus) -> None:
    starts, room = [], []
    for epoch in range(4):
        plan = sampler(corpus, exponent=1.0).epoch(epoch)
        long = corpus.lengths[plan.sequences] > WINDOW
        starts.append(plan.starts[long])
        room.append(corpus.lengths[plan.sequences][long] - WINDOW)
    fraction = np.concatenate(starts) / np.concatenate(room)
    assert fraction.min() < 0.05 and fraction.max() > 0.95 and abs(fraction.mean() - 0.5) < 0.05


@given(st.text(alphabet="ACGURYN", min_size=1, max_size=80), st.integers(0, 2**64 - 1))
def test_corruption_touches_only_the_chosen_letters(sequence: str, key: int) -> None:
    tokens = NUCLEOTIDE.encode(sequence)
    shown, chosen = corrupt(tokens, np.uint64(key))
    changed = np.flatnonzero(shown != tokens)
    assert set(changed) <= set(chosen)
    assert 0 not in chosen and len(tokens) - 1 not in chosen
    allowed = {NUCLEOTIDE.mask, *(NUCLEOTIDE.tokens.index(base) for base in "ACGU")}
    assert set(shown[changed].tolist()) <= allowed
    again, same = corrupt(tokens, np.uint64(key))
    assert (again == shown).all() and (same == chosen).all()


def test_shares_of_the_corruption_are_the_papers() -> None:
    rng = np.random.default_rng(0)
    tokens = (rng.integers(0, 4, size=400_000) + 4).astype(np.uint8)
    shown, chosen = corrupt(tokens, np.uint64(7))
    assert len(chosen) / len(tokens) == pytest.approx(0.15, abs=0.003)
    masked = (shown[chosen] == NUCLEOTIDE.mask).mean()
    kept = (shown[chosen] == tokens[chosen]).mean()
    assert masked == pytest.approx(0.8, abs=0.006)
    # A random base is the true one a quarter of the time.
    assert kept == pytest.approx(0.1 + 0.1 / 4, abs=0.005)
    swapped = shown[chosen][(shown[chosen] != NUCLEOTIDE.mask) & (shown[chosen] != tokens[chosen])]
    assert np.bincount(swapped)[4:] / len(swapped) == pytest.approx([0.25] * 4, abs=0.02)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["pack", "bucket"]), st.integers(0, 5), st.sampled_from([128, 256, 1024]))
def test_batches_hold_every_window_once_within_the_budget(corpus: Corpus, layout: str, epoch: int, budget: int) -> None:
    plan = sampler(corpus).epoch(epoch)
    batches = plan_batches(plan.lengths, section(layout, budget), 64, seed=3, epoch=epoch)
    samples = np.concatenate([row for batch in batches for row in batch])
    assert sorted(samples) == list(range(len(plan)))
    real = padded = 0
    for rows in batches:
        batch = build_batch(corpus, plan, rows, section(layout, budget), 64)
        assert batch.tokens_BT.size <= max(budget, 64)
        real += batch.real_tokens
        padded += batch.tokens_BT.size
    assert real / padded > 0.85


@pytest.mark.parametrize("layout", ["pack", "bucket"])
def test_a_batch_is_laid_out_as_it_says(corpus: Corpus, layout: str) -> None:
    plan = sampler(corpus).epoch(0)
    batches = plan_batches(plan.lengths, section(layout, 256), 64, seed=3)
    for rows in batches[:20]:
        batch = build_batch(corpus, plan, rows, section(layout, 256), 64)
        width = batch.tokens_BT.shape[1]
        if layout == "pack":
            assert batch.tokens_BT.shape == (4, 64)
        segments = batch.segments_BT if batch.segments_BT is not None else np.zeros_like(batch.tokens_BT)
        assert ((segments < 0) == (batch.tokens_BT == NUCLEOTIDE.pad)).all()
        truth = batch.tokens_BT.copy()
        truth.ravel()[batch.chosen_N] = batch.truth_N
        for row, samples in enumerate(rows):
            for number, sample in enumerate(samples):
                columns = np.flatnonzero(segments[row] == number)
                start, length = int(plan.starts[sample]), int(plan.lengths[sample])
                window = corpus.tokens(int(plan.sequences[sample]))[start : start + length]
                assert (truth[row, columns] == [NUCLEOTIDE.cls, *window, NUCLEOTIDE.eos]).all()
        assert width <= 64


def test_masks_do_not_depend_on_the_batch(corpus: Corpus) -> None:
    plan = sampler(corpus).epoch(0)

    def shown(layout: str, budget: int) -> dict[int, bytes]:
        found = {}
        for rows in plan_batches(plan.lengths, section(layout, budget), 64, seed=3):
            batch = build_batch(corpus, plan, rows, section(layout, budget), 64)
            for row, samples in enumerate(rows):
                column = 0
                for sample in samples:
                    length = int(plan.lengths[sample]) + 2
                    found[int(sample)] = batch.tokens_BT[row, column : column + length].tobytes()
                    column += length
        return found

    assert shown("pack", 256) == shown("bucket", 512)
