"""A head that begins from another one says what that one said."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from rnafm_cli.errors import WeightsError
from rnafm_cli.function.heads import BindingConfig, BindingHead, MrlConfig, MrlHead, begin_from

RBP = BindingConfig(proteins=("A", "B"), channels=8, structure=True)
MRL = MrlConfig(assays=("x", "y"), means=(0.0, 0.0), deviations=(1.0, 1.0), channels=8, members=2)


def binding(seed: int, **changes: object) -> BindingHead:
    torch.manual_seed(seed)
    head = BindingHead(dataclasses.replace(RBP, **changes)).eval()  # type: ignore[arg-type]
    for value in head.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return head


def loads(seed: int, **changes: object) -> MrlHead:
    torch.manual_seed(seed)
    return MrlHead(dataclasses.replace(MRL, **changes)).eval()  # type: ignore[arg-type]


RNG = np.random.default_rng(0)
WINDOWS = ["".join(RNG.choice(list("ACGU"), 101)) for _ in range(3)]
REDUCED = list(RNG.normal(size=(3, 101, 4)).astype(np.float32))
UNPAIRED = list(RNG.random((3, 101)))


def said(head: BindingHead, reduced: list[np.ndarray] | None = REDUCED) -> torch.Tensor:
    return head(head.inputs(WINDOWS, reduced, UNPAIRED))


def test_channels_and_outputs_that_the_other_lacks_change_nothing() -> None:
    start = binding(0)
    head = binding(1, proteins=("B", "new", "A"), embedding=16, reduced=4)
    before = said(head)
    line = begin_from(head, start, same_embeddings=False)
    assert line == "starting from another head: letters, structure; 2 outputs, 1 fresh"
    found, expected = said(head), said(start)
    assert torch.allclose(found[:, [2, 0]], expected, atol=1e-5)
    assert not torch.allclose(found[:, [2, 0]], before[:, [2, 0]], atol=0.1)


def test_embedding_channels_are_taken_only_if_they_mean_the_same() -> None:
    start = binding(0, embedding=16, reduced=4)
    same, other = binding(1, embedding=16, reduced=4), binding(1, embedding=16, reduced=4)
    assert "embedding" in begin_from(same, start, same_embeddings=True)
    assert "embedding" not in begin_from(other, start, same_embeddings=False)
    assert torch.allclose(said(same), said(start), atol=1e-5)
    assert not torch.allclose(said(other), said(start), atol=1e-3)
    assert torch.allclose(said(other), said(other, None), atol=1e-5)


def test_ribosome_load_starts_from_letters() -> None:
    start = loads(0)
    head = loads(1, assays=("y", "z"), embedding=16, reduced=4)
    begin_from(head, start, same_embeddings=False)
    (found, spread), (expected, its) = head(head.inputs(WINDOWS, REDUCED)), start(start.inputs(WINDOWS))
    assert torch.allclose(found[..., 0], expected[..., 1], atol=1e-5)
    assert torch.allclose(spread[..., 0], its[..., 1], atol=1e-5)


def test_another_size_is_refused() -> None:
    with pytest.raises(WeightsError, match="another size: first.weight is"):
        begin_from(binding(0, channels=16), binding(0), same_embeddings=False)
    with pytest.raises(WeightsError, match="another shape: it lacks blocks.2"):
        begin_from(binding(0, dilations=(1, 2, 4)), binding(0), same_embeddings=False)
    with pytest.raises(WeightsError, match="another shape: it also has blocks.2"):
        begin_from(binding(0), binding(0, dilations=(1, 2, 4)), same_embeddings=False)
