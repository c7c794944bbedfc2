"""Where the networks run: the precision asked for, unless the processor would only emulate it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch

from rnafm_cli.encoder.runtime import SLOW_BF16, Runtime, has_fast_bf16
from rnafm_cli.errors import DeviceError, RnafmWarning, UsageError


@pytest.fixture
def capabilities(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bool]]:
    """What the processor says that it can do; empty unless a test adds something."""
    found: dict[str, bool] = {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    has_fast_bf16.cache_clear()
    yield found
    has_fast_bf16.cache_clear()


def test_bf16_is_float32_where_the_processor_would_emulate_it(capabilities: dict[str, bool]) -> None:
    with pytest.warns(RnafmWarning, match=SLOW_BF16):
        runtime = Runtime.create("cpu", "bf16")
    assert (runtime.dtype, runtime.precision) == (torch.float32, "fp32")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_that_is_there_is_taken_silently(capabilities: dict[str, bool], precision: str) -> None:
    capabilities["avx512_bf16"] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Runtime.create("cpu", precision).precision == precision


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(UsageError, match="no precision 'fp16'; known are fp32, bf16"):
        Runtime.create("cpu", "fp16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_device_is_named() -> None:
    with pytest.raises(DeviceError, match="'cuda' is not available"):
        Runtime.create("cuda")
