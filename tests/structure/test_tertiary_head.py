"""Contact and distance heads: padding, outputs, what an untrained head says, and the parts that can be left out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support.made_chains import made_chains
from support.tertiary_models import WIDTH, tiny_config, tiny_head, tiny_pair
from torch import Tensor

from rnafm_cli.families.alignment import Template
from rnafm_cli.families.shapes import FamilyShape, Relatives
from rnafm_cli.rna.metrics import score_distances
from rnafm_cli.structure.pair import Guide, PairHead, pair_inputs
from rnafm_cli.structure.tertiary_head import BIN_CENTRES, BIN_EDGES, TertiaryConfig, TertiaryHead, TertiaryLogits
from rnafm_cli.structure.tertiary_task import distance_bins, usual_logits

LENGTHS = (9, 14, 23, 37)


def rna(length: int) -> str:
    return "".join(np.random.default_rng(length).choice(list("ACGU"), length))


def prior(length: int) -> np.ndarray:
    half_LL = np.triu(np.random.default_rng(length).random((length, length)) ** 8, 4).astype(np.float32)
    return (half_LL + half_LL.T) / max(1.0, float((half_LL + half_LL.T).sum(axis=1).max()))


def embedding(length: int) -> Tensor:
    return torch.randn(length, WIDTH, generator=torch.Generator().manual_seed(length))


def run(head: TertiaryHead, lengths: tuple[int, ...], *, distances: bool = True) -> TertiaryLogits:
    inputs = pair_inputs([Guide(rna(n), embedding(n), prior(n)) for n in lengths])
    with torch.inference_mode():
        return head(inputs, distances=distances)


def test_results_do_not_depend_on_padding_or_company() -> None:
    head = tiny_head()
    together = run(head, LENGTHS)
    for k, length in enumerate(LENGTHS):
        alone = run(head, (length,))
        part = (k, slice(length), slice(length))
        assert torch.allclose(together.contact_BLL[part], alone.contact_BLL[0, :length, :length], atol=1e-4)
        assert together.bins_BLLK is not None and alone.bins_BLLK is not None
        assert torch.allclose(together.bins_BLLK[part], alone.bins_BLLK[0, :length, :length], atol=1e-4)


def test_maps_are_symmetric_and_within_bounds() -> None:
    logits = run(tiny_head(), LENGTHS)
    assert torch.equal(logits.contact_BLL, logits.contact_BLL.transpose(1, 2))
    mean, sd = logits.distances()
    assert mean.min() >= 0 and mean.max() <= 20
    assert sd.min() >= 0
    assert torch.allclose(mean, mean.transpose(1, 2), atol=1e-4)


def test_contacts_alone_are_the_same_contacts() -> None:
    head = tiny_head()
    alone = run(head, LENGTHS, distances=False)
    assert alone.bins_BLLK is None
    assert torch.allclose(alone.contact_BLL, run(head, LENGTHS).contact_BLL, atol=1e-5)


def test_an_untrained_head_knows_what_is_usual() -> None:
    torch.manual_seed(0)
    head = TertiaryHead(dataclasses.replace(tiny_config(), pair=tiny_pair(("sequence",)))).eval()
    usual = usual_logits(made_chains(6))
    head.set_usual(usual)
    with torch.no_grad():
        head.direct.weight.zero_()
        logits = head(pair_inputs([Guide(rna(30))]))
    probability = logits.contacts()[0]
    assert probability[0, 1] > 0.9
    assert probability[0, 1] == pytest.approx(float(usual[1, 0].sigmoid()), abs=1e-4)
    mean, _ = logits.distances()
    assert mean[0, 0, 1] < mean[0, 0, 10]


def test_an_untrained_head_believes_relatives() -> None:
    torch.manual_seed(0)
    chain = made_chains(1)[0]
    size, states = len(chain), np.arange(len(chain))
    shape = FamilyShape.of([(chain, states, 9.0)])
    assert shape is not None
    empty_L = np.zeros(size, np.float32)
    template = Template(
        [], np.zeros((size, size), np.float32), empty_L, empty_L, Relatives.expected(shape, np.eye(size))
    )
    head = TertiaryHead(dataclasses.replace(tiny_config(), pair=tiny_pair(("sequence", "template")))).eval()
    head.set_usual(usual_logits(made_chains(6, seed=1)))
    with torch.no_grad():
        told, alone = (head(pair_inputs([Guide(chain.sequence, template=one)])) for one in (template, None))
    score = [score_distances(chain, logits.distances()[0][0].numpy()).values["mse"] for logits in (told, alone)]  # type: ignore[union-attr]
    assert score[0] < 0.3 * score[1]
    close = torch.from_numpy(chain.contacts() == 1)
    assert told.contacts()[0][close].mean() > alone.contacts()[0][close].mean()


def test_bins_hold_their_centres() -> None:
    assert len(BIN_CENTRES) == len(BIN_EDGES) + 1
    assert distance_bins(torch.tensor(BIN_CENTRES)).tolist() == list(range(len(BIN_CENTRES)))


def test_the_pair_head_inside_is_that_of_fold() -> None:
    head = tiny_head()
    fold = PairHead(tiny_pair())
    fold.load_state_dict(head.fold.state_dict())
    assert set(fold.state_dict()) == {name[5:] for name in head.state_dict() if name.startswith("fold.")}


def test_configurations_come_back_from_cards() -> None:
    config = tiny_config(blocks=3)
    plain = {**dataclasses.asdict(config), "unknown": 1}
    plain["pair"] = {**plain["pair"], "dilations": [1, 2]}
    assert TertiaryConfig.from_dict(plain) == config
