"""This process among those of a run: one alone, or one of many under torchrun or SLURM."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from rnafm_cli.errors import DeviceError, RnafmError
from rnafm_cli.pretrain.config import PretrainRun
from rnafm_cli.pretrain.model import MaskedTokenModel

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """Rank, number of processes and device; collective calls that do nothing when alone."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def single(cls, run: PretrainRun) -> Processes:
        """A run of one process."""
        return cls(0, 1, _device(run, 0))

    @classmethod
    @contextmanager
    def joined(cls, run: PretrainRun) -> Iterator[Processes]:
        """Of the run that the environment describes, torchrun's RANK or SLURM's task numbers, for a ``with`` block."""
        if "RANK" not in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
            os.environ |= _from_slurm()
        elif "RANK" not in os.environ:
            yield cls.single(run)
            return
        rank, world, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        device = _device(run, local)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # Without a limit of its own, a group that fails to connect after a restart would wait for half an hour.
        patience = timedelta(minutes=run.timeout_minutes)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)
        try:
            yield cls(rank, world, device)
            # None tears down connections that others still use.
            dist.barrier()
        finally:
            dist.destroy_process_group()

    def distribute(self, model: MaskedTokenModel, *, fsdp: bool) -> nn.Module:
        """Move a model to the device and make its gradients common to all processes."""
        model.to(self.device)
        if not dist.is_initialized():
            return model
        if fsdp:
            for layer in model.encoder.layers:
                fully_shard(layer)
            fully_shard(model)
            return model
        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)

    def gradient_sync(self, model: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Exchange gradients only in the last micro-batch of a step."""
        if isinstance(model, FSDPModule):
            model.set_requires_gradient_sync(last)
        return model.no_sync() if isinstance(model, DistributedDataParallel) and not last else nullcontext()

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes."""
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        if dist.is_initialized():
            dist.all_reduce(sums)
        return [float(value) for value in sums]

    def any(self, value: bool) -> bool:
        """Whether ``value`` holds on any process."""
        return self.total([float(value)])[0] > 0 if self.world > 1 else value

    def agree(self, decide: Callable[[], T]) -> T:
        """What the first process decides, on all of them.

        Raises:
            RnafmError: what the first process raised, on all of them.
        """
        if not dist.is_initialized():
            return decide()
        box: list[Any] = [None]
        if self.rank == 0:
            try:
                box[0] = decide()
            except RnafmError as failure:
                box[0] = failure
        dist.broadcast_object_list(box, src=0)
        if isinstance(box[0], RnafmError):
            raise box[0]
        return cast(T, box[0])

    def peak_memory_mb(self) -> float:
        """Peak memory of the device (GPU) or of this process (CPU)."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _device(run: PretrainRun, local: int) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if run.device == "cuda" and not has_gpu:
        raise DeviceError("run.device is cuda, but PyTorch sees no GPU", hint="use run.device=cpu or auto")
    return torch.device("cuda", local) if has_gpu and run.device != "cpu" else torch.device("cpu")


def _from_slurm() -> dict[str, str]:
    """torchrun's variables for a task that srun has started."""
    nodes = os.environ.get("SLURM_STEP_NODELIST", "localhost")
    if "[" in nodes or "," in nodes:
        listed = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
        nodes = listed.stdout.split()[0]
    job = int(os.environ.get("SLURM_JOB_ID", "0"))
    return {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": os.environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": os.environ.get("SLURM_LOCALID", "0"),
        "MASTER_ADDR": os.environ.get("MASTER_ADDR", nodes),
        # Two jobs may share a node.
        "MASTER_PORT": os.environ.get("MASTER_PORT", str(20000 + job % 10000)),
    }
