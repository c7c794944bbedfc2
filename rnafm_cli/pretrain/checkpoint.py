"""Checkpoints of a run: whole or not there, the newest few kept, and from which one a run goes on.

A checkpoint is one file, ``step-00001000.pt``, that any number of processes can go on from. It has a checksum of each
of its parts; one that does not match them is torn, and the one before it is used.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.optim import Optimizer

from rnafm_cli.errors import ConfigError, InputError, RnafmError, WeightsError
from rnafm_cli.io.streams import atomic_path
from rnafm_cli.pretrain.config import TERMS, PretrainConfig
from rnafm_cli.pretrain.processes import Processes
from rnafm_cli.pretrain.shards import Corpus
from rnafm_cli.training.optimizers import keeping_settings
from rnafm_cli.training.trainer import Report
from rnafm_cli.weights.foreign import check_checkpoint

_NAMES = "step-????????.pt"


@dataclass
class RunState:
    """Where a run stands; everything random follows from the seed and these numbers."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    """Micro-batches of the epoch that are done."""
    tokens: int = 0
    """Real tokens seen, specials included."""
    seconds: float = 0.0
    """Time spent training."""
    bad_steps: int = 0


def save_checkpoint(
    folder: Path,
    state: RunState,
    extra: dict[str, Any],
    model: nn.Module,
    optimizer: Optimizer,
    processes: Processes,
    *,
    keep: int,
) -> None:
    """Write the checkpoint of ``state.step`` and keep the newest few; collective over all processes.

    Raises:
        RnafmError: when the disk is full or not writable; earlier checkpoints stay.
    """
    # With FSDP2 each process has a part of every tensor: the first one gets them whole.
    elsewhere = processes.world > 1 or processes.device.type != "cpu"
    whole = StateDictOptions(full_state_dict=True, cpu_offload=elsewhere)
    weights, moments = get_state_dict(model, optimizer, options=whole)
    content = {"state": asdict(state), "extra": extra, "model": weights, "optimizer": moments}
    processes.agree(lambda: _write(folder / f"step-{state.step:08d}.pt", content, keep))


def _write(path: Path, content: dict[str, Any], keep: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as written:
            torch.save(content, written)
    except (OSError, RuntimeError, RnafmError) as failure:
        # PyTorch's writer does not tell why it could not write.
        told = "the disk is full or the file too large" if isinstance(failure, RuntimeError) else str(failure)
        raise RnafmError(
            f"{path}: the checkpoint cannot be written ({told})",
            hint="make room and run the same command again; it goes on from the checkpoint before",
        ) from failure
    for old in sorted(path.parent.glob(_NAMES))[: -max(1, keep)]:
        old.unlink(missing_ok=True)


def newest_checkpoint(folder: Path, report: Report = lambda line: None) -> Path | None:
    """The newest whole checkpoint; torn ones are reported and passed over."""
    for path in sorted(folder.glob(_NAMES), reverse=True):
        fault = fault_of(path)
        if fault is None:
            return path
        report(f"{path}: torn checkpoint ({fault}), using the one before")
    return None


def fault_of(path: Path) -> str | None:
    """What is wrong with a checkpoint, None if it is whole."""
    try:
        check_checkpoint(path)
    except WeightsError as error:
        return error.message.removeprefix(f"{path}: ")
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The parts of a checkpoint: ``state``, ``extra``, ``model`` and ``optimizer``; tensors are read when used.

    Raises:
        InputError: when the file is no checkpoint of a run.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return {part: content[part] for part in ("state", "extra", "model", "optimizer")}
    except Exception as failure:
        raise InputError(f"{path}: not a checkpoint of a run", hint="name a step-....pt of a run") from failure


def restore(path: Path, model: nn.Module, optimizer: Optimizer) -> tuple[RunState, dict[str, Any]]:
    """Load a checkpoint into model and optimiser, whatever number of processes wrote it.

    The optimiser keeps its settings, rate, decay and so on; what it takes over are its moments.

    Returns:
        The run's state and what was saved beside it.
    """
    content = read_checkpoint(path)
    # What a run no longer asks for, a sketch or a head of targets, stays behind.
    names = model.state_dict().keys()
    groups = content["optimizer"]["param_groups"]
    moments: dict[str, Any] = {
        "state": {name: moment for name, moment in content["optimizer"]["state"].items() if name in names},
        "param_groups": [group | {"params": [name for name in group["params"] if name in names]} for group in groups],
    }
    with keeping_settings(optimizer):
        set_state_dict(
            model,
            optimizer,
            model_state_dict={name: value for name, value in content["model"].items() if name in names},
            optim_state_dict=moments,
            options=StateDictOptions(full_state_dict=True),
        )
    return RunState(**content["state"]), content["extra"]


def resume_path(resume: str, folder: Path, report: Report) -> Path | None:
    """The checkpoint that ``--resume`` means, None for a fresh start.

    Args:
        resume: ``auto`` (the newest whole one, if any), ``never`` (there must be none), or the path of a checkpoint,
            which a folder without any starts from; it then goes on from what it has saved since.

    Raises:
        ConfigError: when the named checkpoint is damaged, or the folder has some that do not come from it.
    """
    newest = newest_checkpoint(folder, report)
    if resume == "auto" or newest is None and resume == "never":
        return newest
    start = Path(resume).resolve()
    if newest is None:
        if fault := fault_of(start):
            raise ConfigError(f"--resume {resume}: {fault}", hint="name a step-....pt of a run, or use --resume auto")
        return Path(resume)
    if resume != "never" and str(start) in (str(newest.resolve()), read_checkpoint(newest)["extra"]["started_from"]):
        return newest
    raise ConfigError(
        f"--resume {resume}: {newest} is there already",
        hint="choose another folder for a new run, or --resume auto to go on",
    )


def check_same_run(start: Path, config: PretrainConfig, corpus: Corpus, report: Report) -> None:
    """Refuse a checkpoint of another corpus or model; tell which other keys have changed."""
    extra = read_checkpoint(start)["extra"]
    elsewhere = "start a new run in another folder"
    if extra["fingerprint"] != corpus.fingerprint:
        raise ConfigError(
            f"{start}: was trained on another corpus than {corpus.folder}",
            hint=f"point data.corpus to the corpus of this run, or {elsewhere}",
        )
    # A preset may have another shape in another version of the program.
    if extra["shape"] != asdict(config.model.encoder()):
        raise ConfigError(f"{start}: the encoder has another shape", hint=elsewhere)
    before, now = _by_name(extra["config"]), _by_name(config.to_dict())
    for name in ("sketch.weight", *(f"targets.{term}" for term in TERMS)):
        if now[name] and not before.get(name):
            raise ConfigError(
                f"{start}: was trained without {name}, which cannot begin in the middle",
                hint=f"{elsewhere}, with model.init for the weights",
            )
    if changed := [name for name, value in now.items() if before.get(name) != value]:
        report(f"changed since the checkpoint: {', '.join(changed)}")


def _by_name(config: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{section}.{key}": value for section, values in config.items() for key, value in values.items()}
