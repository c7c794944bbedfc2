"""bfloat16 is chosen only where the processor computes it fast."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from rnafm_cli.encoder.runtime import has_fast_bf16, mixed_precision


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    has_fast_bf16.cache_clear()
    yield
    has_fast_bf16.cache_clear()


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False, "architecture": "x86_64"}, False),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({}, False),
    ],
)
def test_a_cpu_computes_in_bfloat16_only_with_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_fast_bf16("cpu") == fast
    left, right = torch.ones(2, 2), torch.ones(2, 2)
    with mixed_precision("cpu", bf16=True):
        assert (left @ right).dtype == (torch.bfloat16 if fast else torch.float32)
    with mixed_precision("cpu", bf16=False):
        assert (left @ right).dtype == torch.float32


def test_gpus_are_taken_to_be_fast() -> None:
    assert has_fast_bf16("cuda")
