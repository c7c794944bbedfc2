"""bfloat16 arithmetic where the processor has instructions for it, float32 elsewhere.

PyTorch computes bfloat16 on every CPU, but on one without such instructions a matrix product takes fifty times as long
as in float32.
"""

from __future__ import annotations

import functools

import torch

__all__ = ["SLOW_BF16", "has_fast_bf16", "mixed_precision"]

SLOW_BF16 = "this processor has no bfloat16 instructions: computing in float32"


@functools.cache
def has_fast_bf16(device_type: str) -> bool:
    """Whether bfloat16 is worth choosing on a kind of device: not on a CPU that emulates it."""
    if device_type != "cpu":
        return True
    return any(there is True and "bf16" in name for name, there in torch.cpu.get_capabilities().items())


def mixed_precision(device_type: str, *, bf16: bool) -> torch.autocast:
    """Autocast to bfloat16 if it is asked for and fast; else a context that changes nothing."""
    return torch.autocast(device_type, dtype=torch.bfloat16, enabled=bf16 and has_fast_bf16(device_type))
