"""Where ``rnafm fold`` writes: structures, pair probabilities, pictures."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rnafm_cli.cli.fold_options import FormatChoice, PlotStyleChoice
from rnafm_cli.errors import UsageError

if TYPE_CHECKING:
    from rnafm_cli.io.pair_probabilities import PairProbabilityWriter
    from rnafm_cli.io.structure_output import StructureOutput
    from rnafm_cli.tasks.model import Model
    from rnafm_cli.viz.gallery import Gallery

__all__ = ["gallery", "probability_output", "structure_output"]


def structure_output(
    stack: ExitStack, output: Path, out_dir: Path | None, output_format: FormatChoice, *, scored: bool, force: bool
) -> StructureOutput:
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.io.structure_output import FolderOutput, StreamOutput, check_format

    check_format(output_format.value, scored=scored, folder=out_dir is not None)
    if out_dir is not None:
        return FolderOutput(out_dir, output_format.value, scored=scored, force=force)
    return StreamOutput(stack.enter_context(open_output(output)), output_format.value, scored=scored)


def probability_output(
    stack: ExitStack, path: Path | None, loaded: Model, *, prior: bool, half: bool, force: bool
) -> PairProbabilityWriter | None:
    if path is None:
        if half:
            raise UsageError("--half is about --probs", hint="add --probs FILE.h5")
        return None
    from rnafm_cli.io.pair_probabilities import PairProbabilityWriter

    provenance: dict[str, str | bool] = {
        "model": loaded.name,
        "weights_sha256": loaded.component("fold")[1].weights_sha256,
        "encoder_sha256": loaded.encoder_card.weights_sha256,
        "prior": prior,
        "command": " ".join(["rnafm", *sys.argv[1:]]),
    }
    return stack.enter_context(PairProbabilityWriter(path, provenance=provenance, half=half, force=force))


def gallery(target: Path | None, style: PlotStyleChoice) -> Gallery | None:
    if target is None:
        return None
    from rnafm_cli.viz.gallery import Gallery

    return Gallery(target, style=style.value)
