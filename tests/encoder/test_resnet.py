"""The official structure head: upstream's logits, strips that change nothing, bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.official import convert
from rnafm_cli.encoder.resnet import PairResNet, PairResNetConfig

PARITY = Path(__file__).parents[1] / "data" / "parity"
SMALL = PairResNetConfig(width=12, reduced=6, channels=8, blocks=4)


@pytest.fixture(scope="module")
def published() -> tuple[Encoder, PairResNet, Any]:
    tensors, card = convert(PARITY / "rnafm_resnet_random_small.pth", name="fixture", heads=4)
    encoder = Encoder(EncoderConfig(**card.config["encoder"])).eval()
    head = PairResNet(PairResNetConfig(**card.config["head"])).eval()
    for module, prefix in ((encoder, "encoder."), (head, "head.")):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return encoder, head, np.load(PARITY / "rnafm_resnet_random_small.npz")


@pytest.fixture(scope="module")
def small() -> PairResNet:
    torch.manual_seed(5)
    head = PairResNet(SMALL).eval()
    for block in head.blocks:
        assert block.norm.running_mean is not None and block.norm.running_var is not None
        torch.nn.init.normal_(block.norm.running_mean)
        torch.nn.init.uniform_(block.norm.running_var, 0.5, 2.0)
        torch.nn.init.normal_(block.norm.weight)
        torch.nn.init.normal_(block.norm.bias)
    return head


def plain(head: PairResNet, features: torch.Tensor) -> torch.Tensor:
    """The network as its definition reads: the whole map at once, concatenation and all."""
    length = features.shape[0]
    z = head.reduce(features)
    rows, columns = z[:, None].expand(-1, length, -1), z[None].expand(length, -1, -1)
    x = head.first(torch.cat([rows, columns], dim=-1).permute(2, 0, 1)[None])
    for block in head.blocks:
        h = torch.nn.functional.conv2d(block.norm(x).relu(), block.conv1.weight, padding=1)
        x = x + torch.nn.functional.conv2d(
            h.relu(), block.conv2.weight, padding=block.dilation, dilation=block.dilation
        )
    logits = torch.nn.functional.conv2d(x, head.last.weight, head.last.bias, padding=1)[0, 0].detach()
    return logits.triu() + logits.triu(1).T


def test_head_equals_upstream(published: Any) -> None:
    _, head, fixture = published
    logits = head(torch.from_numpy(fixture["head_features"][0, 1:-1]))
    np.testing.assert_allclose(logits, fixture["head_logits"][0], atol=5e-4, rtol=0)


@pytest.mark.parametrize("record", range(6))
def test_encoder_and_head_equal_upstream_alone(published: Any, record: int) -> None:
    encoder, head, fixture = published
    expected = fixture[f"ss_logits_alone_{record}"][0]
    tokens = torch.from_numpy(fixture["tokens"][record : record + 1, : expected.shape[0] + 2]).long()
    with torch.no_grad():
        features = encoder(tokens).hidden[encoder.config.layers][0, 1:-1]
    np.testing.assert_allclose(head(features), expected, atol=5e-4, rtol=0)


def test_rows_of_a_padded_encoder_batch_give_the_same_map(published: Any) -> None:
    encoder, head, fixture = published
    with torch.no_grad():
        hidden = encoder(torch.from_numpy(fixture["tokens"]).long()).hidden[encoder.config.layers]
    for record in range(6):
        expected = fixture[f"ss_logits_alone_{record}"][0]
        np.testing.assert_allclose(head(hidden[record, 1 : expected.shape[0] + 1]), expected, atol=5e-4, rtol=0)


@pytest.mark.parametrize("length", [1, 2, 5, 17, 40, 73, 131])
@pytest.mark.parametrize("strip_rows", [1, 3, 16, 1000, None])
def test_strips_change_nothing(small: PairResNet, length: int, strip_rows: int | None) -> None:
    features = torch.randn(length, SMALL.width, generator=torch.Generator().manual_seed(length))
    logits = small(features, strip_rows=strip_rows)
    torch.testing.assert_close(logits, plain(small, features), atol=1e-4, rtol=1e-5)
    assert torch.equal(logits, logits.T)


def test_strips_of_the_deep_network_change_nothing() -> None:
    torch.manual_seed(6)
    head = PairResNet(PairResNetConfig(width=12, reduced=6, channels=8)).eval()
    features = torch.randn(260, 12)
    torch.testing.assert_close(head(features), plain(head, features), atol=1e-4, rtol=1e-5)


def test_the_released_network_sees_106_pixels_far() -> None:
    assert PairResNetConfig().reaches()[0] == 2 * 106


def test_nothing_beyond_the_reach_matters_and_its_end_does(small: PairResNet) -> None:
    length, reach = 80, SMALL.reaches()[0]
    x = torch.zeros(1, SMALL.channels, length, length, requires_grad=True)
    y: torch.Tensor = x
    for block in small.blocks:
        h = torch.nn.functional.conv2d(y, block.conv1.weight.abs(), padding=1)
        d = block.dilation
        y = y + torch.nn.functional.conv2d(h, block.conv2.weight.abs(), padding=d, dilation=d)
    torch.nn.functional.conv2d(y, small.last.weight.abs(), padding=1)[0, 0].triu().sum().backward()
    assert x.grad is not None
    matters = x.grad[0].sum(0) > 0
    offset = torch.arange(length) - torch.arange(length)[:, None]
    assert not matters[offset < -reach].any()
    assert matters[40 + reach // 2, 40 - reach // 2]


def test_bfloat16_stays_close(published: Any) -> None:
    _, head, fixture = published
    for record in (0, 5):
        expected = torch.from_numpy(fixture[f"ss_logits_alone_{record}"][0])
        features = torch.from_numpy(fixture["repr_12"][record, 1 : expected.shape[0] + 1])
        logits = head(features, dtype=torch.bfloat16)
        assert logits.dtype == torch.float32
        assert (logits - expected).abs().max() < 0.15 * expected.std()
        assert (logits.sigmoid() - expected.sigmoid()).abs().mean() < 0.01


def test_memory_grows_with_the_length_not_its_square() -> None:
    code = """
import resource, torch
from rnafm_cli.encoder.resnet import PairResNet, PairResNetConfig
torch.set_num_threads(1)
head = PairResNet(PairResNetConfig(width=8, reduced=8, channels=16, blocks=2)).eval()
head(torch.randn(200, 8))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert head(torch.randn(1400, 8)).shape == (1400, 1400)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    whole_map = 1400 * 1400 * 16 * 4
    assert int(result.stdout) * 1024 < whole_map / 2
