"""Sketches: what they count, how their axes are fitted, and the loss that makes mean representations hold them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rnafm_cli.encoder.config import ENCODER_PRESETS
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.vectors import kmer_frequencies
from rnafm_cli.pretrain.model import (
    FEATURES,
    Sketch,
    TrueBatch,
    WindowPlaces,
    fit_sketch,
    sketch_features,
    sketch_loss,
)
from rnafm_cli.rna.alphabet import NUCLEOTIDE

RNAS = ["GGGAAACUUCGGUUUCCC", "A" * 30 + "C" * 170, "GCGGAUUUAGCUCAGUUGGGAGAGC", "ACGUN" * 12]
END = slice(0, 24 * 16), slice(24 * 16, 2 * 24 * 16)
WORDS = slice(2 * 24 * 16, 2 * 24 * 16 + 4**5)
LENGTH = slice(FEATURES - 32, FEATURES)


def packed(sequences: list[str], rows: list[list[int]]) -> TrueBatch:
    """Sequences in rows of 250 tokens, pads at their ends."""
    tokens_BT = torch.full((len(rows), 250), NUCLEOTIDE.pad)
    segments_BT = torch.full((len(rows), 250), -1)
    for row, members in enumerate(rows):
        column = 0
        for number, member in enumerate(members):
            window = torch.from_numpy(NUCLEOTIDE.encode(sequences[member]).astype(np.int64))
            tokens_BT[row, column : column + len(window)] = window
            segments_BT[row, column : column + len(window)] = number
            column += len(window)
    return tokens_BT, segments_BT


def features(sequences: list[str]) -> torch.Tensor:
    tokens_BT, segments_BT = packed(sequences, [[k] for k in range(len(sequences))])
    return sketch_features(tokens_BT, WindowPlaces(segments_BT, tokens_BT))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(ENCODER_PRESETS["rnafm-tiny"])


def made_up(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACGU"), size=rng.integers(20, 60))) for _ in range(count)]


def batches(seed: int = 0) -> Iterator[TrueBatch]:
    for number in range(100):
        yield packed(made_up(20, seed + number), [list(range(k, k + 4)) for k in range(0, 20, 4)])


def test_windows_are_found_in_packed_rows_and_alone() -> None:
    tokens_BT, segments_BT = packed(RNAS, [[0, 2], [1], [3]])
    places = WindowPlaces(segments_BT, tokens_BT)
    assert places.lengths_W.tolist() == [len(RNAS[k]) for k in (0, 2, 1, 3)]
    x_BTD = torch.randn(*tokens_BT.shape, 5, generator=torch.Generator().manual_seed(1))
    means_WD = places.means(x_BTD)
    assert torch.allclose(means_WD[1], x_BTD[0, 21:46].mean(dim=0), atol=1e-6)
    assert torch.allclose(means_WD[2], x_BTD[1, 1:201].mean(dim=0), atol=1e-6)
    shown = places.gather(tokens_BT.flatten(), 99)
    assert shown[1, :25].tolist() == NUCLEOTIDE.encode(RNAS[2])[1:-1].tolist() and set(shown[1, 25:].tolist()) == {99}
    one = torch.from_numpy(NUCLEOTIDE.encode(RNAS[0]).astype(np.int64))[None]
    assert WindowPlaces(None, one).lengths_W.tolist() == [18]


def test_where_a_window_stands_does_not_matter() -> None:
    tokens_BT, segments_BT = packed(RNAS, [[0, 2], [3, 0, 2], [1]])
    found = sketch_features(tokens_BT, WindowPlaces(segments_BT, tokens_BT))
    assert found.shape == (6, FEATURES)
    assert torch.allclose(found, features([RNAS[k] for k in (0, 2, 3, 0, 2, 1)]), atol=1e-6)


def test_words_are_roots_of_5_mer_shares_and_others_do_not_count() -> None:
    shares = np.sqrt(kmer_frequencies([*RNAS, "NNACGUANN"], 5))
    found = features([*RNAS, "NNACGUANN"])[:, WORDS].numpy()
    # Every 5-mer of ACGUNACGUN... holds an N.
    assert not found[3].any() and not shares[3].any()
    assert np.allclose(found, shares / np.maximum(np.linalg.norm(shares, axis=1, keepdims=True), 1e-12), atol=1e-6)


def test_ends_are_seen_sharply_near_and_blurred_far_away() -> None:
    base = "".join(np.random.default_rng(3).choice(list("ACGU"), size=240))
    near, far = (base[:k] + ("G" if base[k] != "G" else "C") + base[k + 1 :] for k in (1, 100))
    five, three = END
    whole, changed_near, changed_far = features([base, near, far])
    moved = [float(1 - F.cosine_similarity(whole[five], other[five], dim=0)) for other in (changed_near, changed_far)]
    assert moved[0] > 3 * moved[1] > 0
    assert torch.allclose(whole[three], changed_near[three], atol=1e-6), "more than 204 nucleotides from the 3' end"
    palindrome = features(["AACAA", "CAAAA", "AAAAC"])
    assert torch.allclose(palindrome[0, five], features(["AACAA"[::-1]])[0, five])
    assert not torch.allclose(palindrome[1, five], palindrome[2, five])


def test_length_is_smooth() -> None:
    found = features(["A" * 40, "A" * 42, "A" * 200])[:, LENGTH]
    near, far = F.cosine_similarity(found[0], found[1], dim=0), F.cosine_similarity(found[0], found[2], dim=0)
    assert near > 0.9 and far < 0.01


def test_the_loss_is_nothing_where_means_are_codes(encoder: Encoder) -> None:
    sketch = fit_sketch(encoder, batches(), windows=200, bf16=False)
    tokens_BT, segments_BT = packed(RNAS, [[0, 2], [1], [3]])
    codes_WD = sketch(tokens_BT, WindowPlaces(segments_BT, tokens_BT))
    assert torch.allclose(codes_WD.norm(dim=1), torch.ones(4), atol=1e-5)
    x_BTD = torch.full((3, 250, codes_WD.shape[1]), 1e3)
    for window, (row, start) in enumerate([(0, 0), (0, 20), (1, 0), (2, 0)]):
        x_BTD[row, start + 1 : start + 1 + len(RNAS[(0, 2, 1, 3)[window]])] = 7 * codes_WD[window]
    # Specials and pads, 1000 everywhere, do not count.
    assert float(sketch_loss(x_BTD, tokens_BT, segments_BT, sketch)) == pytest.approx(0, abs=1e-5)
    assert float(sketch_loss(-x_BTD, tokens_BT, segments_BT, sketch)) == pytest.approx(2, abs=1e-5)


def test_axes_have_the_root_of_the_variance_and_turn_towards_the_encoder(encoder: Encoder) -> None:
    sketch = fit_sketch(encoder, batches(), windows=400, bf16=False)
    shown = [(tokens, WindowPlaces(segments, tokens)) for tokens, segments in list(batches())[:20]]
    features_WF = torch.cat([sketch_features(*batch) for batch in shown])
    assert torch.allclose(sketch.mean_F, features_WF.mean(dim=0), atol=1e-6)
    codes_WD = (features_WF - sketch.mean_F) @ sketch.axes_FD
    roots = torch.linalg.svdvals(features_WF - sketch.mean_F)[: codes_WD.shape[1]] / len(features_WF) ** 0.5
    spread = torch.linalg.svdvals(codes_WD) / len(features_WF) ** 0.5
    assert torch.allclose(spread, roots.sqrt(), rtol=1e-3), "standard deviation ** 0.5, variance ** 0.25"
    with torch.no_grad():
        means_WD = torch.cat(
            [
                places.means(encoder(tokens, segments_BT=segments).hidden[encoder.config.layers])
                for (tokens, places), (_, segments) in zip(shown, batches(), strict=False)
            ]
        )
    found_WD = F.normalize(means_WD - means_WD.mean(dim=0), dim=1)
    codes_WD = F.normalize(codes_WD, dim=1)
    near = float((codes_WD * found_WD).sum(dim=1).mean())
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        turn_DD, _ = torch.linalg.qr(torch.randn(codes_WD.shape[1], codes_WD.shape[1], generator=generator))
        assert float((codes_WD @ turn_DD * found_WD).sum(dim=1).mean()) < near - 0.05


def test_a_corpus_with_fewer_windows_than_axes_is_enough(encoder: Encoder) -> None:
    sketch = fit_sketch(encoder, batches(), windows=2, bf16=False)
    assert bool(sketch.axes_FD.isfinite().all()) and isinstance(sketch, Sketch)
