"""This process among those of a run: one alone, or one of many under torchrun or SLURM."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from rnafm_cli.errors import DeviceError
from rnafm_cli.training.config import RunSection

__all__ = ["Processes"]


@dataclass(frozen=True)
class Processes:
    """Rank, number of processes and device; collective calls that do nothing when alone."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def single(cls, run: RunSection) -> Processes:
        """A run of one process."""
        return cls(0, 1, _device(run, 0))

    @classmethod
    def joined(cls, run: RunSection) -> Processes:
        """Join the run that the environment describes (RANK, WORLD_SIZE, LOCAL_RANK, or SLURM's names)."""
        world = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)
        if world == 1 and "RANK" not in os.environ:
            return cls.single(run)
        rank = int(os.environ.get("RANK") or os.environ["SLURM_PROCID"])
        local = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(local)}
        device = _device(run, local)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(rank, world, device)

    def leave(self) -> None:
        """Leave the run."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def distribute(self, model: nn.Module, *, fsdp: bool) -> nn.Module:
        """Move a model to the device and make its gradients common to all processes."""
        model.to(self.device)
        if not dist.is_initialized():
            return model
        if fsdp:
            from torch.distributed.fsdp import fully_shard

            for layer in model.encoder.layers:  # type: ignore[union-attr]
                fully_shard(layer)  # type: ignore[arg-type]
            fully_shard(model)
            return model
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)

    @contextmanager
    def gradient_sync(self, model: nn.Module, *, last: bool) -> Iterator[None]:
        """Exchange gradients only in the last micro-batch of a step."""
        if hasattr(model, "no_sync") and not last:
            with model.no_sync():
                yield
        else:
            if hasattr(model, "set_requires_gradient_sync"):
                model.set_requires_gradient_sync(last)
            yield

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes."""
        if not dist.is_initialized():
            return [float(value) for value in values]
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return [float(value) for value in sums]

    def any(self, value: bool) -> bool:
        """Whether ``value`` holds on any process."""
        return self.total([float(value)])[0] > 0 if self.world > 1 else value

    def barrier(self) -> None:
        """Wait for all processes."""
        if dist.is_initialized():
            dist.barrier()

    def peak_memory_mb(self) -> float:
        """Peak memory of the device (GPU) or of this process (CPU), in MB."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _device(run: RunSection, local: int) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if run.device == "cuda" and not has_gpu:
        raise DeviceError("run.device is cuda, but PyTorch sees no GPU", hint="use run.device=cpu or auto")
    return torch.device("cuda", local) if has_gpu and run.device != "cpu" else torch.device("cpu")
