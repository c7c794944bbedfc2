"""The networks behind rbp and mrl: what they may and may not depend on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from rnafm_cli.function.heads import CLIP, BindingConfig, BindingHead, MrlConfig, MrlHead, Reduction
from rnafm_cli.function.rbp import matching, protein_of

SEQUENCES = ["ACGUNACGUUGCA" * 7, "GGAUCC" * 5, "A"]


def binding(**changes: object) -> BindingHead:
    torch.manual_seed(0)
    config = BindingConfig(proteins=("A_X_1", "B_X_2", "C_Y_3"), channels=8, reduced=4, structure=True)
    return BindingHead(dataclasses.replace(config, **changes)).eval()


def loads(**changes: object) -> MrlHead:
    torch.manual_seed(0)
    config = MrlConfig(
        assays=("a", "b"), means=(5.0, 6.0), deviations=(1.0, 2.0), channels=8, reduced=4, members=2
    )  # fmt: skip
    return MrlHead(dataclasses.replace(config, **changes)).eval()


def reduced(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(len(sequence), 4)).astype(np.float32) for sequence in SEQUENCES]


def test_absent_inputs_are_the_same_as_none() -> None:
    head = binding(embedding=16)
    alone = head(head.inputs(SEQUENCES))
    assert alone.shape == (3, 3)
    unknown = [np.full(len(sequence), np.nan) for sequence in SEQUENCES]
    assert torch.allclose(head(head.inputs(SEQUENCES, [None] * 3, unknown)), alone, atol=1e-6)
    assert not torch.allclose(head(head.inputs(SEQUENCES, reduced())), alone)
    known = [np.full(len(sequence), 0.9) for sequence in SEQUENCES]
    assert not torch.allclose(head(head.inputs(SEQUENCES, None, known)), alone)


def test_a_row_holds_its_sequence_and_nothing_beside_it() -> None:
    head = binding(embedding=16)
    x_BKL = head.inputs(SEQUENCES, reduced(), [np.ones(len(sequence)) for sequence in SEQUENCES])
    assert x_BKL.shape == (3, 12, 101)
    for x_KL, sequence in zip(x_BKL, SEQUENCES, strict=True):
        inside = torch.zeros(101, dtype=torch.bool)
        start = (101 - len(sequence)) // 2
        inside[start : start + len(sequence)] = True
        assert not x_KL[:, ~inside].any() and (x_KL[[4, 9, 11]][:, inside] == 1).all()
    letters = x_BKL[0, :4, 5 : 5 + len(SEQUENCES[0])]
    assert letters[:, 4].sum() == 0 and letters.argmax(dim=0)[:4].tolist() == [0, 1, 2, 3]
    assert torch.isfinite(head(torch.zeros(1, 12, 101))).all()


def test_a_batch_is_its_rows() -> None:
    head = binding()
    whole = head(head.inputs(SEQUENCES))
    assert torch.allclose(torch.cat([head(head.inputs([sequence])) for sequence in SEQUENCES]), whole, atol=1e-5)


def test_loads_do_not_depend_on_padding() -> None:
    head = loads(embedding=16)
    sequences = ["ACGUAUGCCAUUGCAGGCUUAACGGCAUG", "GGAUCCAUGGGACAACGGUUAACGGCA", "A" * 100, "C" * 44]
    values = [np.random.default_rng(k).normal(size=(len(s), 4)) for k, s in enumerate(sequences)]

    def run(count: int) -> torch.Tensor:
        mean_MBA, log_variance_MBA = head(head.inputs(sequences[:count], values[:count]))
        assert mean_MBA.shape == log_variance_MBA.shape == (2, count, 2)
        return torch.stack([mean_MBA, log_variance_MBA])[:, :, :2]

    assert torch.allclose(run(2), run(3), atol=1e-4)
    assert torch.allclose(run(2), run(4), atol=1e-4)


def test_frames_are_counted_from_the_start_codon() -> None:
    head = loads()
    mean_MBA, _ = head(head.inputs(["C" * 20 + "AUG" + "C" * 12, "C" * 20 + "AUG" + "C" * 13]))
    assert not torch.allclose(mean_MBA[:, 0], mean_MBA[:, 1])


def test_letters_can_be_hidden() -> None:
    head = loads(embedding=16, letters=False)
    rows = [np.ones((30, 4))] * 2
    first, second = (head(head.inputs([letter * 30] * 2, rows))[0] for letter in "AG")
    assert torch.equal(first, second)


def test_reduction_finds_what_letters_do_not_say() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, size=4000)
    hidden = rng.normal(size=4000)
    rows = np.zeros((4000, 6), dtype=np.float32)
    rows[:, 0] = 10.0 * codes
    rows[:, 1] = 2.0 * hidden + 3.0
    rows[:, 2:] = 0.01 * rng.normal(size=(4000, 4))
    reduction = Reduction(6, 2)
    reduction.fit(rows, codes)
    reduced = reduction(torch.from_numpy(rows)).detach().numpy()
    assert abs(np.corrcoef(reduced[:, 0], hidden)[0, 1]) > 0.99
    assert np.abs(reduced).max() <= CLIP and reduced[:, 0].std() == pytest.approx(1.0, abs=0.05)
    again = Reduction(6, 2)
    again.fit(rows, codes)
    assert torch.equal(again.weight, reduction.weight)
    narrow = Reduction(2, 4)
    narrow.fit(rows[:, :2], codes)
    assert torch.isfinite(narrow(torch.from_numpy(rows[:, :2]))).all()


def test_names_stand_for_outputs() -> None:
    names = ("RBP31_TIA1_Hela_ICLIP", "PrismNet_TIA1_Hela", "mine")
    assert protein_of(names[0]) == "TIA1" and protein_of("mine") == "mine"
    assert matching(names, "tia1") == list(names[:2])
    assert matching(names, "PrismNet_TIA1_Hela") == [names[1]]
    assert matching(names, "MINE") == ["mine"] and matching(names, "TIAL1") == []
