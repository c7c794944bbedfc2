"""The pair head: padding, input subsets, and what an untrained head says."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.structure.pair import Guide, PairConfig, PairHead, coarsen, head_probabilities, pair_inputs, refine

PLAIN = PairConfig(
    embedding=12, width=8, channels=8, dilations=(1, 2, 4, 1), heads=2, fine=4, axial_every=2, dropout=0.0
)
TINY = dataclasses.replace(PLAIN, mixer_width=16, mixer_layers=2)


def random_rna(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGU"), length))


def random_prior(length: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    p_LL = np.zeros((length, length), dtype=np.float32)
    for _ in range(3 * length):
        i, j = sorted(rng.integers(0, length, 2))
        share = rng.random() * 0.9 * (1 - max(p_LL[i].sum(), p_LL[j].sum()))
        if j - i >= 4 and share > 1e-3:
            p_LL[i, j] = p_LL[j, i] = share
    return p_LL


def trained(config: PairConfig = TINY, seed: int = 0) -> PairHead:
    """A head whose last layers are not zero."""
    torch.manual_seed(seed)
    head = PairHead(config)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return head.eval()


def test_untrained_head_is_the_prior() -> None:
    torch.manual_seed(0)
    head = PairHead(TINY).eval()
    sequences = [random_rna(n, n) for n in (31, 44)]
    priors = [random_prior(n, n) for n in (31, 44)]
    found = head_probabilities(
        head, [Guide(s, torch.randn(len(s), 12), prior) for s, prior in zip(sequences, priors, strict=True)]
    )
    for p_LL, prior in zip(found, priors, strict=True):
        assert np.abs(p_LL - prior).max() < 44 * 1e-4
        assert np.array_equal(p_LL, p_LL.T)


def test_results_do_not_depend_on_padding_or_company() -> None:
    head = trained()
    lengths = (9, 16, 23, 40)
    sequences = [random_rna(n, n) for n in lengths]
    embeddings = [torch.randn(n, 12, generator=torch.Generator().manual_seed(n)) for n in lengths]
    priors = [random_prior(n, n) for n in lengths]
    guides = [Guide(*given) for given in zip(sequences, embeddings, priors, strict=True)]
    together = head_probabilities(head, guides)
    for k, p_LL in enumerate(together):
        alone = head_probabilities(head, [guides[k]])[0]
        assert p_LL.shape == (lengths[k], lengths[k]) and p_LL.dtype == np.float32
        assert np.abs(alone - p_LL).max() < 1e-5
        assert alone.sum(axis=1).max() <= 2


@pytest.mark.parametrize("shown", list(itertools.product([False, True], repeat=3)))
def test_any_subset_of_inputs_works(shown: tuple[bool, bool, bool]) -> None:
    has_embedding, has_sequence, has_prior = shown
    head = trained()
    guide = Guide(
        random_rna(30, 1), torch.randn(30, 12) if has_embedding else None, random_prior(30, 1) if has_prior else None
    )
    inputs = ("embedding", "sequence", "prior") if has_sequence else ("embedding", "prior")
    p_LL = head_probabilities(head, [guide], inputs=inputs)[0]
    assert np.isfinite(p_LL).all() and p_LL.min() >= 0 and p_LL.max() <= 1
    assert p_LL[np.abs(np.subtract.outer(np.arange(30), np.arange(30))) < 4].max() == 0


def test_a_withheld_input_changes_nothing_whatever_it_holds() -> None:
    head = trained()
    told = pair_inputs([Guide(random_rna(20, 1), torch.randn(20, 12), random_prior(20, 1))])
    off = torch.tensor([False])
    with torch.inference_mode():
        withheld = head(dataclasses.replace(told, has_embedding_B=off, has_prior_B=off)).probabilities()
        absent = head(pair_inputs([Guide(random_rna(20, 1))])).probabilities()
        shown = head(told).probabilities()
    assert torch.allclose(withheld, absent, atol=1e-6)
    assert not torch.allclose(withheld, shown, atol=1e-3)


def test_every_input_reaches_the_result() -> None:
    head = trained()
    sequence, embedding, prior = random_rna(24, 1), torch.randn(24, 12), random_prior(24, 1)
    base = head_probabilities(head, [Guide(sequence, embedding, prior)])[0]
    for guide in (
        Guide(random_rna(24, 2), embedding, prior),
        Guide(sequence, embedding + 1.5 * torch.randn(24, 12), prior),
        Guide(sequence, embedding, random_prior(24, 2)),
    ):
        assert np.abs(head_probabilities(head, [guide])[0] - base).max() > 1e-3


def test_bf16_stays_near_float32() -> None:
    head = trained()
    guides = [Guide(random_rna(40, 1), torch.randn(40, 12), random_prior(40, 1))]
    exact = head_probabilities(head, guides)[0]
    precision = mixed_precision("cpu", bf16=True)
    assert np.abs(head_probabilities(head, guides, precision=precision)[0] - exact).max() < 0.1


def test_an_untrained_mixer_changes_nothing() -> None:
    with_mixer, without = PairHead(TINY).eval(), PairHead(PLAIN).eval()
    shared = trained(PLAIN).state_dict()
    with_mixer.load_state_dict(with_mixer.state_dict() | shared)
    without.load_state_dict(shared)
    guides = [Guide(random_rna(18, 1), torch.randn(18, 12, generator=torch.Generator().manual_seed(1)))]
    a, b = (head_probabilities(head, guides) for head in (with_mixer, without))
    np.testing.assert_array_equal(a[0], b[0])
    with torch.no_grad():
        with_mixer.mixer.leave.weight.normal_()
    assert np.abs(head_probabilities(with_mixer, guides)[0] - b[0]).max() > 1e-3


def test_coarse_and_fine_are_inverse() -> None:
    fine = torch.randn(2, 6, 6, 5)
    assert torch.equal(refine(coarsen(fine)), fine)
    assert torch.equal(coarsen(fine)[1, 2, 0], torch.cat([fine[1, 4, 0], fine[1, 4, 1], fine[1, 5, 0], fine[1, 5, 1]]))


def test_config_survives_a_card() -> None:
    import dataclasses
    import json

    values = json.loads(json.dumps(dataclasses.asdict(TINY)))
    assert PairConfig.from_dict({**values, "encoder": {}}) == TINY
