"""The networks behind rbp and mrl: what they may and may not depend on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from rnafm_cli.errors import WeightsError
from rnafm_cli.function.heads import built_head
from rnafm_cli.function.networks import (
    CLIP,
    BindingConfig,
    BindingHead,
    HeadInputs,
    MrlConfig,
    MrlHead,
    Reduction,
    aligned_letters,
    aligned_rows,
)
from rnafm_cli.function.rbp import matching, protein_of
from rnafm_cli.weights.cards import Card

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


def test_absent_inputs_are_the_same_as_none() -> None:
    head = binding(embedding=16)
    letters = aligned_letters(SEQUENCES, 101, "middle")
    rows = torch.randn(3, 101, 4)
    off = torch.zeros(3, dtype=torch.bool)
    alone = head(HeadInputs(letters))
    assert alone.shape == (3, 3)
    assert torch.allclose(head(HeadInputs(letters, rows, off, torch.full((3, 101), torch.nan))), alone, atol=1e-6)
    assert not torch.allclose(head(HeadInputs(letters, rows)), alone)
    assert not torch.allclose(head(HeadInputs(letters, unpaired_BL=torch.rand(3, 101))), alone)


def test_what_lies_outside_a_short_sequence_does_not_matter() -> None:
    head = binding(embedding=16)
    letters = aligned_letters(SEQUENCES, 101, "middle")
    rows = torch.randn(3, 101, 4)
    other = torch.where((letters > 0)[..., None], rows, 7.0)
    assert torch.allclose(head(HeadInputs(letters, rows)), head(HeadInputs(letters, other)), atol=1e-5)
    assert torch.isfinite(head(HeadInputs(torch.zeros(1, 101, dtype=torch.long)))).all()


def test_a_batch_is_its_rows() -> None:
    head = binding()
    letters = aligned_letters(SEQUENCES, 101, "middle")
    whole = head(HeadInputs(letters))
    assert torch.allclose(torch.cat([head(HeadInputs(row[None])) for row in letters]), whole, atol=1e-5)


def test_loads_do_not_depend_on_padding() -> None:
    head = loads(embedding=16)
    sequences = ["ACGUAUGCCAUUGCAGGCUUAACGGCAUG", "GGAUCCAUGGGACAACGGUUAACGGCA"]
    values = [np.random.default_rng(k).normal(size=(len(s), 4)) for k, s in enumerate(sequences)]

    def run(width: int) -> torch.Tensor:
        rows = aligned_rows(values, width, "end", channels=4)
        mean_MBA, log_variance_MBA = head(HeadInputs(aligned_letters(sequences, width, "end"), rows))
        assert mean_MBA.shape == log_variance_MBA.shape == (2, 2, 2)
        return torch.stack([mean_MBA, log_variance_MBA])

    assert torch.allclose(run(29), run(100), atol=1e-4)
    assert torch.allclose(run(29), run(44), atol=1e-4)


def test_frames_are_counted_from_the_start_codon() -> None:
    head = loads()
    one, two = "C" * 20 + "AUG" + "C" * 12, "C" * 20 + "AUG" + "C" * 13
    mean_MBA, _ = head(HeadInputs(aligned_letters([one, two], 36, "end")))
    assert not torch.allclose(mean_MBA[:, 0], mean_MBA[:, 1])


def test_letters_can_be_hidden() -> None:
    head = loads(embedding=16, letters=False)
    rows = torch.randn(2, 30, 4)
    first, second = (aligned_letters([letter * 30] * 2, 30, "end") for letter in "AG")
    assert torch.equal(head(HeadInputs(first, rows))[0], head(HeadInputs(second, rows))[0])
    with pytest.raises(ValueError, match="needs embeddings"):
        head(HeadInputs(first))


def test_a_head_of_a_kind_that_is_gone_is_refused() -> None:
    head = loads()
    card = Card(name="old", kind="mrl", config=dataclasses.asdict(head.config) | {"architecture": "cnn"})
    with pytest.raises(WeightsError, match="'old' is of the architecture 'cnn'"):
        built_head(MrlHead, head.state_dict(), card)


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
