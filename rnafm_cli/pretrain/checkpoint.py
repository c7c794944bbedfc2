"""Checkpoints of a run: complete or not there, the newest few kept, and from which one a run goes on.

A checkpoint is a folder ``step-00001000`` of ``torch.distributed.checkpoint`` files with a ``complete.json`` that
lists the hash of each; it is written under another name, and renamed when everything is on disk. One that does not
match its list is torn, and the one before it is used.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.optim import Optimizer

from rnafm_cli.errors import ConfigError, InputError, RnafmError
from rnafm_cli.io.streams import write_json
from rnafm_cli.pretrain.config import PretrainConfig
from rnafm_cli.pretrain.shards import Corpus
from rnafm_cli.pretrain.targets import TERMS
from rnafm_cli.training.optimizers import keeping_settings
from rnafm_cli.weights.files import file_sha256

__all__ = ["CheckpointFolder", "RunState", "check_same_run", "load_weights", "read_marker", "restore", "resume_path"]


_MARKER = "complete.json"


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


class CheckpointFolder:
    """The ``checkpoints`` folder of a run."""

    def __init__(self, folder: Path, *, keep: int = 3) -> None:
        self.folder = folder
        self._keep = max(1, keep)

    def save(self, model: nn.Module, optimizer: Optimizer, state: RunState, extra: dict[str, Any]) -> Path:
        """Write the checkpoint of ``state.step``; collective over all processes.

        Raises:
            RnafmError: when the disk is full or not writable; earlier checkpoints stay.
        """
        final = self.folder / f"step-{state.step:08d}"
        scratch = self.folder / f"{final.name}.tmp"
        first = _rank() == 0
        failure = _agree(_attempt(lambda: _fresh_folder(scratch)) if first else None)
        failure = failure or _agree(_attempt(lambda: _write_tensors(scratch, model, optimizer)))
        failure = failure or _agree(_attempt(lambda: _seal(scratch, final, vars(state), extra)) if first else None)
        if failure is not None:
            if first:
                shutil.rmtree(scratch, ignore_errors=True)
            raise RnafmError(
                f"{final}: the checkpoint cannot be written ({failure})",
                hint="make room and run the same command again; it goes on from the checkpoint before",
            )
        if first:
            self._purge()
        return final

    def newest(self, report: Callable[[str], None] | None = None) -> Path | None:
        """The newest complete checkpoint; torn ones are reported and passed over."""
        for path in sorted(self.folder.glob("step-????????"), reverse=True):
            fault = self.fault(path)
            if fault is None:
                return path
            if report:
                report(f"{path}: torn checkpoint ({fault}), using the one before")
        return None

    def fault(self, path: Path) -> str | None:
        """What is wrong with a checkpoint, None if it is complete."""
        try:
            marker = json.loads((path / _MARKER).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return f"no readable {_MARKER}"
        for name, sha256 in marker["files"].items():
            if not (path / name).exists():
                return f"{name} is missing"
            if file_sha256(path / name) != sha256:
                return f"{name} is damaged"
        return None

    def set_aside(self, *, after: Path) -> list[Path]:
        """Rename the checkpoints that are newer than one of this folder: none of them is its successor."""
        newer = [path for path in sorted(self.folder.glob("step-????????")) if path.name > after.name]
        return [path.rename(_free_name(path)) for path in newer]

    def _purge(self) -> None:
        complete = sorted(self.folder.glob("step-????????"))
        for path in complete[: -self._keep]:
            shutil.rmtree(path, ignore_errors=True)


def restore(path: Path, model: nn.Module, optimizer: Optimizer) -> tuple[RunState, dict[str, Any]]:
    """Load a complete checkpoint into model and optimiser, whatever number of processes wrote it.

    The optimiser keeps its settings, rate, decay and so on; what it takes over are its moments.

    Returns:
        The run's state and what was saved beside it.
    """
    marker = read_marker(path)
    weights, moments = get_state_dict(model, optimizer, options=StateDictOptions(flatten_optimizer_state_dict=True))
    tensors: dict[str, Any] = {"model": weights, "optimizer": moments}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(tensors, checkpoint_id=str(path), no_dist=not dist.is_initialized())
    with keeping_settings(optimizer):
        set_state_dict(
            model,
            optimizer,
            model_state_dict=tensors["model"],
            optim_state_dict=tensors["optimizer"],
            options=StateDictOptions(flatten_optimizer_state_dict=True),
        )
    return RunState(**marker["state"]), marker["extra"]


def load_weights(path: Path, model: nn.Module) -> None:
    """Load the weights alone of a complete checkpoint, in one process."""
    tensors = {"model": model.state_dict()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(tensors, checkpoint_id=str(path), no_dist=True)
    model.load_state_dict(tensors["model"])


def read_marker(path: Path) -> dict[str, Any]:
    """The ``complete.json`` of a checkpoint."""
    try:
        return dict(json.loads((path / _MARKER).read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError) as failure:
        raise InputError(f"{path}: not a complete checkpoint", hint="name a step-... folder of a run") from failure


def _write_tensors(scratch: Path, model: nn.Module, optimizer: Optimizer) -> None:
    weights, moments = get_state_dict(model, optimizer, options=StateDictOptions(flatten_optimizer_state_dict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(
            {"model": weights, "optimizer": moments}, checkpoint_id=str(scratch), no_dist=not dist.is_initialized()
        )


def _seal(scratch: Path, final: Path, state: dict[str, Any], extra: dict[str, Any]) -> None:
    files = {path.name: file_sha256(path) for path in sorted(scratch.iterdir())}
    for name in files:
        _sync(scratch / name)
    write_json(scratch / _MARKER, {"state": state, "extra": extra, "files": files})
    if final.exists():
        shutil.rmtree(final)
    os.replace(scratch, final)
    _sync(final.parent)


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.before{number or ''}") for number in itertools.count())
    return next(name for name in names if not name.exists())


def _fresh_folder(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)


def _attempt(action: Callable[[], None]) -> str | None:
    """Why an action could not write, None if it could."""
    try:
        action()
    except (Exception, CheckpointException) as failure:
        # The latter is no Exception but a BaseException.
        reasons = [_system_reason(cause) for cause in _causes(failure)]
        if not any(reasons):
            raise
        return next(reason for reason in reasons if reason)
    return None


def _system_reason(failure: BaseException) -> str | None:
    if isinstance(failure, OSError):
        return failure.strerror or str(failure)
    # The tensor writer reports a failed write as a RuntimeError of its stream.
    if isinstance(failure, RuntimeError) and "PytorchStreamWriter" in str(failure):
        return "the disk is full or the file too large"
    return None


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """A failure, what caused it, and what the ranks of a collective save reported inside it."""
    waiting: list[BaseException] = [failure]
    seen: set[int] = set()
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [link for link in (cause.__cause__, cause.__context__) if link is not None]
        of_ranks = getattr(cause, "failures", {})
        waiting += [pair[0] for pair in of_ranks.values()] if isinstance(of_ranks, dict) else []


def _agree(failure: str | None) -> str | None:
    """The first failure of any process, known to all; also makes them wait for each other."""
    if not dist.is_initialized():
        return failure
    failures: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(failures, failure)
    return next((text for text in failures if text), None)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


Report = Callable[[str], None]


def resume_path(resume: str, checkpoints: CheckpointFolder, report: Report) -> Path | None:
    """The checkpoint that ``--resume`` means, None for a fresh start.

    Args:
        resume: ``auto`` (the newest complete one, if any), ``never`` (there must be none), or a checkpoint's path: the
            run starts from it once and then goes on from what it has saved since. Newer checkpoints in the same folder
            that do not come from it are set aside.

    Raises:
        ConfigError: when the named checkpoint is damaged, or lies elsewhere while the folder has some of its own; when
            ``never`` meets a folder that has some.
    """
    if resume not in ("auto", "never"):
        return _named(Path(resume), checkpoints, report)
    newest = checkpoints.newest(report)
    if newest and resume == "never":
        raise ConfigError(
            f"--resume never: {checkpoints.folder} already holds {newest.name}",
            hint="choose another folder for a new run, or --resume auto to go on",
        )
    return newest


def _named(start: Path, checkpoints: CheckpointFolder, report: Report) -> Path:
    newest = checkpoints.newest(report)
    if newest is not None and read_marker(newest)["extra"].get("started_from") == str(start.resolve()):
        return newest
    fault = checkpoints.fault(start)
    if fault:
        raise ConfigError(f"--resume {start}: {fault}", hint="name a step-... folder, or use --resume auto")
    if newest is not None and start.resolve().parent != checkpoints.folder.resolve():
        raise ConfigError(
            f"--resume {start}: {checkpoints.folder} already holds {newest.name} of another run",
            hint="choose another folder for what starts from there, or --resume auto to go on",
        )
    for path in checkpoints.set_aside(after=start):
        report(f"set aside as {path.name}: the run goes on from {start.name}")
    return start


def check_same_run(start: Path, config: PretrainConfig, corpus: Corpus, report: Report) -> None:
    """Refuse a checkpoint of another corpus or model; tell which other keys have changed."""
    extra = read_marker(start)["extra"]
    if extra["fingerprint"] != corpus.fingerprint:
        raise ConfigError(
            f"{start}: was trained on another corpus than {corpus.folder}",
            hint="point data.corpus to the corpus of this run, or start a new run in another folder",
        )
    before, now = extra["config"], config.to_dict()
    if before.keys() != now.keys():
        raise ConfigError(
            f"{start}: was saved by another version of rnafm",
            hint="finish the run with that version, or start a new one in another folder",
        )
    # A preset may have another shape in another version of the program.
    if extra["shape"] != asdict(config.model.encoder()):
        raise ConfigError(f"{start}: the encoder has another shape", hint="start a new run in another folder")
    if config.sketch.weight and not before["sketch"]["weight"]:
        raise ConfigError(
            f"{start}: was trained without sketches, which are fitted before the first step",
            hint="start a new run in another folder, with model.init for the weights",
        )
    told = [term for term in TERMS if getattr(config.targets, term) and not before["targets"][term]]
    if told:
        raise ConfigError(
            f"{start}: was trained without targets.{told[0]}",
            hint="start a new run in another folder, with model.init for the weights",
        )
    changed = [
        f"{section}.{key}"
        for section, values in now.items()
        for key, value in values.items()
        if before[section].get(key) != value
    ]
    if changed:
        report(f"changed since the checkpoint: {', '.join(changed)}")
