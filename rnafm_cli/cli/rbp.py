"""``rnafm rbp``: sequences in, probabilities of being bound by each protein out."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import Intake
from rnafm_cli.errors import UsageError

if TYPE_CHECKING:
    from rnafm_cli.function.rbp import BindingPredictor
    from rnafm_cli.model import Model
    from rnafm_cli.structure.unpaired import StructureSource


_TABLE = "A table with a header, an object a line, or HDF5."
_STRUCTURE = (
    "How likely bases are unpaired: by ViennaRNA, this model's fold head, 'fold --probs' (.h5), or scores (icSHAPE's)."
)
FormatOption = Annotated[
    Literal["tsv", "jsonl", "h5"] | None,
    typer.Option("--format", help=_TABLE, show_default="by the suffix of -o, else tsv"),
]
Structure = Annotated[str | None, typer.Option("--structure", metavar="thermo|fold|FILE", help=_STRUCTURE)]
_PROTEIN = "A model's name (see --list), or a bare protein's for all its models; may be repeated."
_SALIENCY = "Substitute every nucleotide: saliency.tsv, and a logo for each protein called bound (or chosen)."


def rbp(
    inputs: options.Inputs = None,
    output: options.Output = Path("-"),
    output_format: FormatOption = None,
    protein: Annotated[
        list[str] | None, typer.Option("-p", "--protein", metavar="NAME", help=_PROTEIN, show_default="all")
    ] = None,
    list_proteins: Annotated[
        bool, typer.Option("--list", help="Print the proteins with their development and reported figures, and stop.")
    ] = False,
    windows: Annotated[bool, typer.Option("--windows", help="A row for each window, its place as in BED.")] = False,
    step: Annotated[
        int, typer.Option(min=1, metavar="N", help="Bases from one 101-nt window to the next, at most.")
    ] = 20,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, metavar="P", help="Bound from this probability.", show_default="each protein's own"
        ),
    ] = None,
    saliency: Annotated[Path | None, typer.Option(metavar="DIR", help=_SALIENCY)] = None,
    structure: Structure = None,
    max_memory: options.MaxMemory = None,
    letters: Annotated[
        bool, typer.Option("--letters", help="Read letters alone: no encoder, far faster, a little less accurate.")
    ] = False,
    long: options.Long = "window",
    on_error: options.OnError = "fail",
    *,
    run: options.Running,
) -> None:
    """Predict which proteins bind.

    One row per RNA and protein: the probability that the most probable 101-nt window is bound, and the call.

    Examples:

      rnafm rbp seqs.fa --protein PUM2 > pum2.tsv

      rnafm rbp utr.fa --windows | awk '$6 == "bound"'

      rnafm rbp site.fa --protein QKI --saliency why/
    """
    intake = None if list_proteins else Intake(inputs, on_error, long)

    from rnafm_cli.function.figures import saliency_gallery
    from rnafm_cli.function.rbp import REPORTED, REPORTED_BY, BindingPredictor, bind, chosen_outputs
    from rnafm_cli.io.columns import TABLES
    from rnafm_cli.io.tables import output_format as format_of
    from rnafm_cli.io.tables import table_output

    chosen_format = format_of(output, output_format)
    loaded = run.load()
    predictor = BindingPredictor(loaded, embeddings=not letters, threshold=threshold, batch_tokens=run.batch_tokens)
    chosen = chosen_outputs(predictor.proteins, protein or ())
    if intake is None:
        with table_output(output, TABLES["rbp --list"], format=chosen_format, force=True) as sink:
            for name, curve in ((predictor.proteins[k], predictor.curves[k]) for k in chosen):
                figures = predictor.card.metrics.get(name, {})
                measured = [figures.get(key) for key in ("auprc", "auroc", "calibration_error")]
                told = REPORTED.get(name, "")
                sink.write([name, *measured, curve.prevalence, curve.threshold, told, REPORTED_BY if told else ""])
        return
    source = _structure(structure, predictor, loaded, max_memory)
    columns = TABLES["rbp --windows" if windows else "rbp"]
    provenance = predictor.provenance(step=step, command=options.command_line())
    short = unclear = 0
    with ExitStack() as stack:
        draw = stack.enter_context(saliency_gallery(saliency, force=run.force)) if saliency is not None else None
        sink = stack.enter_context(
            table_output(output, columns, format=chosen_format, provenance=provenance, force=run.force)
        )
        bar = stack.enter_context(intake.progress("scoring"))
        reject = intake.reject_predicted
        records = intake.records() if source is None else source.checked(intake.records(), reject)
        explain = draw is not None
        for result in bind(
            records, predictor, step=step, structure_of=source, explain=explain, long=long, reject=reject
        ):
            for row in result.rows(chosen, windows=windows):
                sink.write([*row.values()])
            sink.flush()
            if draw is not None:
                # Pictures of all that were named, else of those called, or of the likeliest.
                calls = [row["call"] for row in result.rows(chosen)]
                drawn = chosen if protein else [k for k, call in zip(chosen, calls, strict=True) if call == "bound"]
                draw(result, chosen, drawn or [max(chosen, key=lambda k: result.probabilities_P[k])])
            short += len(result.record.sequence) < predictor.window
            if masked := int(result.unclear_W.sum()):
                unclear += 1
                if unclear == 1:
                    share = f"{masked} of {len(result.unclear_W)} windows"
                    console.warn(f"{result.record.where}: {share} are mostly N: no call")
            bar.advance()
    if unclear > 1:
        console.warn(f"{unclear} RNAs have windows that are mostly N: no call there")
    if short:
        console.info(
            f"{short} RNA{'s are' if short > 1 else ' is'} shorter than the {predictor.window} nt of the windows that "
            "the model knows, and less certain"
        )
    if source is not None:
        _tell("no structure of", source, sorted(source.without))
        _tell("structures of RNAs that are not in the input:", source, source.unused())
    intake.finish()


def _structure(
    structure: str | None, predictor: BindingPredictor, loaded: Model, max_memory: float | None
) -> StructureSource | None:
    if structure is None:
        return None
    from rnafm_cli.structure.unpaired import structure_source

    if not predictor.head.config.structure:
        raise UsageError(
            f"the head '{predictor.card.name}' was trained without structure",
            hint="leave --structure out, or train a head with data.structured above 0",
        )
    return structure_source(structure, loaded, max_bytes=options.bytes_of(max_memory), warn=console.warn)


def _tell(what: str, source: StructureSource, names: list[str]) -> None:
    if names:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
        console.warn(f"{source.name}: {what} {shown}")
