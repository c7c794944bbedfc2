"""Where and how the networks run: device, threads and precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rnafm_cli.errors import DeviceError

__all__ = ["Runtime"]


@dataclass(frozen=True)
class Runtime:
    """A device and a floating-point type, checked to be there."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def create(cls, device: str = "auto", precision: str = "fp32", threads: int | None = None) -> Runtime:
        """Check a device name (auto, cpu, cuda, mps) and a precision (fp32, bf16); set CPU threads.

        Raises:
            DeviceError: when the device is not there.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if device == "auto":
            device = next(name for name in ("cuda", "mps", "cpu") if available[name])
        if not available.get(device, False):
            have = ", ".join(name for name, there in available.items() if there)
            raise DeviceError(f"device '{device}' is not available here", hint=f"use --device auto or one of: {have}")
        return cls(torch.device(device), {"fp32": torch.float32, "bf16": torch.bfloat16}[precision])

    @property
    def helpers(self) -> int:
        """Processes that may work beside this one: half as many as it has CPU threads."""
        return torch.get_num_threads() // 2
