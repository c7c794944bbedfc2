"""Where and how the networks run: device, threads and precision.

PyTorch computes bfloat16 on every CPU, but on one without such instructions a matrix product takes fifty times as long
as in float32.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass

import torch

from rnafm_cli.encoder.workers import threads_for
from rnafm_cli.errors import DeviceError, RnafmWarning, UsageError

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


_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Runtime:
    """A device and a floating-point type, checked to be there."""

    device: torch.device
    dtype: torch.dtype
    workers: int = 1
    """Processes that share out the batches of a run on the CPU."""

    @classmethod
    def create(cls, device: str = "auto", precision: str = "fp32", threads: int | None = None) -> Runtime:
        """Check a device name (auto, cpu, cuda, mps) and a precision (fp32, bf16); set CPU threads.

        On a processor that only emulates bfloat16, far slower than float32, bf16 becomes fp32 with a
        :class:`RnafmWarning`.

        Raises:
            DeviceError: when the device is not there.
            UsageError: for another precision.
        """
        if precision not in _DTYPES:
            raise UsageError(f"there is no precision '{precision}'", hint=f"known are {', '.join(_DTYPES)}")
        threads = threads_for(threads)
        torch.set_num_threads(threads)
        available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if device == "auto":
            device = next(name for name in ("cuda", "mps", "cpu") if available[name])
        if not available.get(device, False):
            have = ", ".join(name for name, there in available.items() if there)
            raise DeviceError(f"device '{device}' is not available here", hint=f"use --device auto or one of: {have}")
        if precision == "bf16" and not has_fast_bf16(device):
            warnings.warn(SLOW_BF16, RnafmWarning, stacklevel=3)
            precision = "fp32"
        return cls(torch.device(device), _DTYPES[precision], threads if device == "cpu" else 1)

    @property
    def precision(self) -> str:
        """The precision in use, fp32 or bf16."""
        return next(name for name, dtype in _DTYPES.items() if dtype == self.dtype)
