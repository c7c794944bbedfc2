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
        resume: ``auto`` (the newest complete one, if any), ``never`` (there must be none), or a checkpoint's path.

    Raises:
        ConfigError: when the named checkpoint is damaged, or ``never`` meets a folder that has some.
    """
    if resume not in ("auto", "never"):
        fault = checkpoints.fault(Path(resume))
        if fault:
            raise ConfigError(f"--resume {resume}: {fault}", hint="name a step-... folder, or use --resume auto")
        return Path(resume)
    newest = checkpoints.newest(report)
    if newest and resume == "never":
        raise ConfigError(
            f"--resume never: {checkpoints.folder} already holds {newest.name}",
            hint="choose another folder for a new run, or --resume auto to go on",
        )
    return newest


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
    changed = [
        f"{section}.{key}"
        for section, values in now.items()
        for key, value in values.items()
        if before.get(section, {}).get(key) != value
    ]
    if changed:
        report(f"changed since the checkpoint: {', '.join(changed)}")
