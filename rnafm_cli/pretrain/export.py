"""From a run's checkpoint to a model file that every command takes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.pretrain.checkpoint import fault_of, newest_checkpoint, read_checkpoint
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import save_model_file

_PLACES = {("data", "corpus"), ("model", "init"), ("targets", "alignments")}


def export_run(run: Path, output: Path, *, dtype: str = "float16") -> Card:
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
    checkpoint = run if run.is_file() else newest_checkpoint(run / "checkpoints")
    if checkpoint is None:
        raise InputError(f"{run}: no complete checkpoint", hint="name the folder given to 'rnafm pretrain run -o'")
    if run.is_file() and (fault := fault_of(run)):
        raise InputError(f"{run}: torn checkpoint ({fault})", hint="export the run's folder to use the one before")
    content = read_checkpoint(checkpoint)
    state, extra = content["state"], content["extra"]
    config, folder = extra["config"], checkpoint.parent.parent
    card = Card(
        name=output.stem,
        kind="encoder",
        config=extra["shape"],
        dtype=dtype,
        source={
            "corpus_fingerprint": extra["fingerprint"],
            "step": state["step"],
            "steps": config["optim"]["steps"],
            "tokens": state["tokens"],
            "hours": round(state["seconds"] / 3600, 3),
        },
        # The card travels: it names no folder of this machine.
        recipe={
            section: {key: Path(value).name if (section, key) in _PLACES else value for key, value in values.items()}
            for section, values in config.items()
        },
        seed=config["run"]["seed"],
        metrics=_validation(folder / "validation.csv", state["step"]) | _facts(folder / "run.json"),
    )
    encoder = {key: value for key, value in content["model"].items() if key.startswith("encoder.")}
    return save_model_file(output, {key.removeprefix("encoder."): value for key, value in encoder.items()}, card)


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
