"""From a run's checkpoint to a model file that every command takes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from rnafm_cli.errors import ConfigError, InputError, UsageError
from rnafm_cli.pretrain.checkpoint import CheckpointFolder, fault_of, read_checkpoint
from rnafm_cli.pretrain.config import PretrainConfig
from rnafm_cli.training.recipes import recipe_from_dict
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import save_model_file

_PLACES = {("data", "corpus"), ("model", "init"), ("targets", "alignments")}


def export_run(run: Path, output: Path, *, name: str | None = None, dtype: str = "float16", notes: str = "") -> Card:
    """Write the encoder of a run's newest complete checkpoint as a model file.

    Args:
        run: folder of a run, or one of its ``step-....pt`` checkpoints.
        output: ``NAME.safetensors``; the card goes beside it.
        dtype: type in which tensors are stored.

    Raises:
        InputError: when the run has no complete checkpoint.
        UsageError: when the output has another suffix.
    """
    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: a model file is called NAME.safetensors")
    checkpoint = _checkpoint_of(run)
    content = read_checkpoint(checkpoint)
    state, extra = content["state"], content["extra"]
    try:
        config = recipe_from_dict(PretrainConfig, extra["config"], where=str(checkpoint))
    except ConfigError as failure:
        raise InputError(f"{checkpoint}: written by another version of rnafm: {failure}") from failure
    folder = checkpoint.parent.parent
    card = Card(
        name=name or output.stem,
        kind="encoder",
        config=extra["shape"],
        dtype=dtype,
        source={
            "corpus_fingerprint": extra["fingerprint"],
            "step": state["step"],
            "steps": config.optim.steps,
            "tokens": state["tokens"],
            "hours": round(state["seconds"] / 3600, 3),
        },
        recipe=_portable(config.to_dict()),
        seed=config.run.seed,
        metrics=_validation(folder / "validation.csv", state["step"]) | _facts(folder / "run.json"),
        notes=notes,
    )
    encoder = {key: value for key, value in content["model"].items() if key.startswith("encoder.")}
    return save_model_file(output, {key.removeprefix("encoder."): value for key, value in encoder.items()}, card)


def _portable(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe without the places of this machine's corpus, start and alignments."""
    return {
        section: {key: Path(value).name if (section, key) in _PLACES else value for key, value in values.items()}
        for section, values in recipe.items()
    }


def _checkpoint_of(run: Path) -> Path:
    if run.is_file():
        if fault := fault_of(run):
            raise InputError(f"{run}: torn checkpoint ({fault})", hint="export the run's folder to use the one before")
        return run
    newest = CheckpointFolder(run / "checkpoints").newest()
    if newest is None:
        raise InputError(f"{run}: no complete checkpoint", hint="name the folder given to 'rnafm pretrain run -o'")
    return newest


def _validation(path: Path, step: int) -> dict[str, Any]:
    """Last loss and accuracy on each held-out part up to a step."""
    found: dict[str, Any] = {}
    if path.exists():
        with open(path, newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                if int(row["step"]) <= step:
                    found[f"heldout_{row['part']}_loss"] = float(row["loss"])
                    found[f"heldout_{row['part']}_accuracy"] = float(row["accuracy"])
    return found


def _facts(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    facts = json.loads(path.read_text(encoding="utf-8"))
    return {key: facts[key] for key in ("parameters", "rnafm", "torch", "git") if key in facts}
