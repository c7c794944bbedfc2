"""Where a run goes on: which checkpoint, and whether it belongs to this run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rnafm_cli.data.shards import Corpus
from rnafm_cli.errors import ConfigError
from rnafm_cli.training.checkpoint import CheckpointFolder, read_marker
from rnafm_cli.training.config import PretrainConfig

__all__ = ["check_same_run", "resume_path"]

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
    # A preset may have another shape in another version of the program.
    if extra["shape"] != asdict(config.model.encoder()):
        raise ConfigError(f"{start}: the encoder has another shape", hint="start a new run in another folder")
    if config.sketch.weight and not before.get("sketch", {}).get("weight"):
        raise ConfigError(
            f"{start}: was trained without sketches, which are fitted before the first step",
            hint="start a new run in another folder, with model.init for the weights",
        )
    changed = [
        f"{section}.{key}"
        for section, values in now.items()
        for key, value in values.items()
        if before.get(section, {}).get(key) != value
    ]
    if changed:
        report(f"changed since the checkpoint: {', '.join(changed)}")
