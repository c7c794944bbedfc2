"""``rnafm fold --convert``: known structures in, the same structures in another format, or drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rnafm_cli.cli import console
from rnafm_cli.cli.fold_options import FormatChoice, PlotStyleChoice
from rnafm_cli.cli.fold_output import gallery, structure_output
from rnafm_cli.cli.intake import Intake
from rnafm_cli.errors import InputError

if TYPE_CHECKING:
    from rnafm_cli.rna.records import StructureRecord

__all__ = ["convert_structures"]


def convert_structures(
    inputs: list[Path] | None,
    output: Path,
    out_dir: Path | None,
    output_format: FormatChoice,
    plot: Path | None,
    plot_style: PlotStyleChoice,
    intake: Intake,
    *,
    renamed: bool,
    force: bool,
) -> None:
    """Write structures as ``fold`` writes its own; pairs stay as they are, canonical or not."""
    from rnafm_cli.io.names import rename_duplicates
    from rnafm_cli.rna.pseudoknots import BRACKET_LAYERS, layers
    from rnafm_cli.rna.records import SequenceRecord

    pictures, crowded = gallery(plot, plot_style), 0
    with ExitStack() as stack:
        structures = structure_output(stack, output, out_dir, output_format, scored=False, force=force)
        known = _known(inputs, intake)
        for record in rename_duplicates(known) if renamed else known:
            try:
                structures.claim(
                    SequenceRecord(record.id, record.sequence, record.description, record.source, record.line)
                )
                structures.add(record)
            except InputError as error:
                intake.reject(error)
                continue
            if pictures is not None:
                pictures.add(record.id, record.sequence, record.pairs)
            crowded += len(layers(record.pairs)) > BRACKET_LAYERS
    if crowded:
        console.warn(f"{crowded} structures need more than {BRACKET_LAYERS} kinds of brackets")
    intake.finish()


def _known(inputs: list[Path] | None, intake: Intake) -> Iterator[StructureRecord]:
    from rnafm_cli.io.structures import read_structures

    for path in inputs or [Path("-")]:
        yield from read_structures(path, reject=intake.skip if intake.skips else None)
