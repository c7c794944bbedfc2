"""``rnafm fold``: sequences in, secondary structures out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import Intake
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from rnafm_cli.io.record_output import RecordOutput
    from rnafm_cli.model import Model
    from rnafm_cli.rna.records import SequenceRecord
    from rnafm_cli.structure.fold import Fold
    from rnafm_cli.structure.tertiary import TertiaryMaps
    from rnafm_cli.viz.structure import Gallery


FoldFormat = Literal["dbn", "ct", "bpseq", "tsv", "jsonl", "3drna", "rosetta", "elements"]
PlotStyleChoice = Literal["arc", "radial", "dots"]
DecoderChoice = Literal["mea", "threshold", "matching", "upstream"]


def fold(
    context: typer.Context,
    inputs: options.Inputs = None,
    output_format: Annotated[
        FoldFormat,
        typer.Option("--format", help="Dot-bracket, CT, BPSEQ, tables, input of 3dRNA or Rosetta, forgi's elements."),
    ] = "dbn",
    score: Annotated[
        bool,
        typer.Option("--score", help="Add expected accuracy and mean probability of pairs: a '# ...' line or columns."),
    ] = False,
    probs: Annotated[
        Path | None,
        typer.Option(metavar="FILE.h5", help="Write the pair probabilities as well: an L x L data set per RNA."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store --probs in float16 instead of float32.")] = False,
    plot: options.Plot = None,
    plot_style: Annotated[
        PlotStyleChoice,
        typer.Option(help="Arcs, a radial layout, or a dot plot: probabilities above, structure below."),
    ] = "arc",
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page: drawings, probabilities and families of all RNAs."),
    ] = None,
    report_3d: Annotated[
        bool, typer.Option("--report-3d", help="In the page also what 'contact' and 'distance' tell of each RNA.")
    ] = False,
    convert: Annotated[
        bool,
        typer.Option(
            "--convert", help="Read structures in any format, not sequences, and write or draw them as they are."
        ),
    ] = False,
    decoder: Annotated[
        DecoderChoice,
        typer.Option(
            help="Greatest expected accuracy, nested with pseudoknots added (mea) or with crossings free (matching); "
            "best pairs first (threshold); RNA-FM's own rule, any two letters (upstream)."
        ),
    ] = "mea",
    upstream_compat: Annotated[bool, typer.Option("--upstream-compat", help="The same as --decoder upstream.")] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Pairs must be more probable than this.",
            show_default="mea, matching 0; threshold 0.5; upstream the model's, else 0.5",
        ),
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option(
            metavar="G",
            help="Weight of pairs in mea and matching; higher gives more pairs.",
            show_default="what suits the model",
        ),
    ] = None,
    min_loop: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Fewest bases in a hairpin.", show_default="3; upstream 1")
    ] = None,
    pseudoknots: Annotated[bool, typer.Option(help="Allow pairs that cross, as [], {} and <>.")] = True,
    allow_noncanonical: Annotated[
        bool, typer.Option("--allow-noncanonical", help="Allow pairs other than AU, GC and GU.")
    ] = False,
    isolated: Annotated[bool, typer.Option(help="Allow pairs that stack on no other.")] = True,
    constraints: Annotated[
        Path | None,
        typer.Option(
            "-C",
            "--constraints",
            metavar="FILE",
            help="Header, sequence and RNAfold's symbols (. | x < > ( )) for each RNA, or one line of symbols for all.",
        ),
    ] = None,
    shape: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR", help="SHAPE reactivities: position and value, under '>id' lines; or a folder."
        ),
    ] = None,
    *,
    given: options.Pairing,
    run: options.Running,
) -> None:
    """Predict secondary structures.

    Three lines per RNA: the header, the sequence and the structure, which ViennaRNA's programs read as they are.

    Examples:

      rnafm fold seqs.fa > out.dbn

      zcat seqs.fa.gz | rnafm fold | RNAeval

      rnafm fold seqs.fa --format rosetta --out-dir models/

      rnafm fold --convert known.ct --plot drawings/ > known.dbn
    """
    intake = Intake(inputs, given.on_error, given.long)
    if convert:
        _refuse_predicting(context)
        pictures = _gallery(plot, plot_style)
        with ExitStack() as stack:
            structures = _structures(stack, given, output_format, scored=False, force=run.force)
            _convert(inputs, structures, pictures, intake, rename=given.rename_duplicates)
        intake.finish()
        return

    settings = given.settings(run)
    from rnafm_cli.families.search import search_ahead

    search_ahead(given.libraries, run.weights_dir)

    from rnafm_cli.rna.decode import DecodeOptions
    from rnafm_cli.structure.evidence import Knowledge
    from rnafm_cli.structure.fold import load_fold_predictor
    from rnafm_cli.structure.predict import Query, predict

    pictures = _gallery(plot, plot_style)
    knowledge = Knowledge(constraints, shape) if constraints or shape else None
    loaded = run.load()
    decoding = DecodeOptions(
        decoder="upstream" if upstream_compat else decoder,
        threshold=threshold,
        min_loop=min_loop,
        canonical=False if allow_noncanonical else None,
        pseudoknots=pseudoknots,
        isolated=isolated,
        gamma=gamma,
    )
    predictor = load_fold_predictor(loaded, options=decoding, **settings)
    if shape is not None and predictor.parameters is None:
        raise UsageError(
            "--shape acts through the thermodynamic prior, and this run has none",
            hint="use rnafm-mini with its prior (and ViennaRNA installed)",
        )
    if report_3d and report is None:
        raise UsageError("--report-3d is about --report", hint="add --report FILE.html")
    if half and probs is None:
        raise UsageError("--half is about --probs", hint="add --probs FILE.h5")
    with ExitStack() as stack:
        structures = _structures(stack, given, output_format, scored=score, force=run.force)
        claimed: list[options.Claims] = [structures]
        beside: list[Callable[[Fold], object]] = []
        if probs is not None:
            from rnafm_cli.io.maps import PAIRS, map_writer

            provenance: dict[str, str | bool | None] = {
                "model": loaded.name,
                "weights_sha256": loaded.component("fold")[1].weights_sha256,
                "encoder_sha256": loaded.encoder_card.weights_sha256,
                "prior": given.prior,
                "command": options.command_line(),
            }
            writing = map_writer(probs, PAIRS, provenance=provenance, half=half, force=run.force)
            maps = stack.enter_context(writing)
            claimed.append(maps)
            beside.append(lambda found: maps.add(found.record, found.probs_LL))
        if pictures is not None:
            gallery = pictures
            beside.append(lambda found: gallery.add(found.subject))
        if report is not None:
            maps_of = _maps_of(loaded, settings) if report_3d else None
            beside.append(_page(stack, report, loaded.name, maps_of, force=run.force))
        results = predict(
            intake.claimed(claimed, rename=given.rename_duplicates),
            predictor,
            query_of=knowledge.query if knowledge else Query,
            long=given.long,
            reject=intake.reject_predicted,
            tell=console.info,
        )
        bar = stack.enter_context(intake.progress("folding"))
        _write(results, structures, beside, intake, bar, scored=score or output_format == "jsonl")
    for warning in knowledge.unused() if knowledge else ():
        console.warn(warning)
    intake.finish()


def _structures(
    stack: ExitStack, given: options.Pairing, output_format: FoldFormat, *, scored: bool, force: bool
) -> RecordOutput:
    from rnafm_cli.io.record_output import record_output
    from rnafm_cli.io.structure_output import structure_formats

    formats = structure_formats(output_format, scored=scored)
    elsewhere = "--probs FILE.h5 writes pair probabilities, --plot drawings"
    return stack.enter_context(record_output(given.output, given.out_dir, formats, elsewhere=elsewhere, force=force))


def _maps_of(loaded: Model, settings: dict[str, Any]) -> Callable[[SequenceRecord], TertiaryMaps | None]:
    """What predicts contacts and distances of an RNA that was folded: here, while the workers go on folding."""
    from rnafm_cli.structure.predict import predict
    from rnafm_cli.structure.tertiary import TASKS, load_tertiary_predictor

    predictor = load_tertiary_predictor(loaded, TASKS, **settings)
    predictor.runtime = dataclasses.replace(loaded.runtime, workers=1)

    def lacking(error: InputError) -> None:
        console.warn(f"the page has no contacts and distances: {error.message}")

    return lambda record: next(predict([record], predictor, reject=lacking), None)


def _page(
    stack: ExitStack,
    path: Path,
    model: str,
    maps_of: Callable[[SequenceRecord], TertiaryMaps | None] | None,
    *,
    force: bool,
) -> Callable[[Fold], None]:
    from rnafm_cli import __version__
    from rnafm_cli.io.names import refuse_suffix
    from rnafm_cli.structure.report import fold_report

    refuse_suffix(path, (".html", ".htm"), "a page", "name it .html")
    caption = f"rnafm {__version__}, model {model}"
    return stack.enter_context(fold_report(path, caption=caption, maps_of=maps_of, force=force))


def _gallery(target: Path | None, style: PlotStyleChoice) -> Gallery | None:
    if target is None:
        return None
    from rnafm_cli.viz.structure import Gallery

    return Gallery(target, style=style)


def _write(
    results: Iterator[Fold],
    structures: RecordOutput,
    beside: list[Callable[[Fold], object]],
    intake: Intake,
    bar: console.Bar,
    *,
    scored: bool,
) -> None:
    """Write each structure, and what other outputs show of it."""
    from rnafm_cli.rna.pairs import BRACKET_LAYERS, layers

    replaced = crowded = 0
    for result in results:
        for hit in result.hits:
            console.debug(
                f"{result.record.id}: {hit.family.accession} {hit.family.name}, bases {hit.start + 1} to {hit.end}, "
                f"E {hit.evalue:.1e}"
            )
        try:
            structures.add(result.structure, result if scored else None)
        except InputError as error:
            intake.reject(error)
            continue
        for write in beside:
            write(result)
        replaced += len(result.record) - sum(map(result.record.sequence.count, "ACGUN"))
        crowded += len(layers(result.pairs)) > BRACKET_LAYERS
        bar.advance()
    if replaced:
        console.info(f"{replaced} ambiguity codes are written as N")
    if crowded:
        console.warn(
            f"{crowded} structures need more than {BRACKET_LAYERS} kinds of brackets; only CT and BPSEQ hold all pairs"
        )


_PREDICTING = (
    *("score", "probs", "half", "report", "report_3d", "model", "decoder", "threshold", "gamma", "min_loop"),
    *("pseudoknots", "allow_noncanonical", "isolated", "upstream_compat", "prior", "families", "use_families"),
    *("constraints", "shape", "max_memory", "long"),
)


def _refuse_predicting(context: typer.Context) -> None:
    """Refuse options that say how to predict, where nothing is predicted."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name in _PREDICTING and source is not None and source.name == "COMMANDLINE":
            shown = "/".join([*option.opts[-1:], *option.secondary_opts[-1:]])
            raise UsageError(f"--convert predicts nothing, and {shown} is about predictions")


def _convert(
    inputs: list[Path] | None, structures: RecordOutput, pictures: Gallery | None, intake: Intake, *, rename: bool
) -> None:
    """Write structures as ``fold`` writes its own; pairs stay as they are, canonical or not."""
    from rnafm_cli.io.names import rename_duplicates
    from rnafm_cli.io.structures import read_structures
    from rnafm_cli.rna.pairs import BRACKET_LAYERS, layers
    from rnafm_cli.viz.subject import Subject

    reject = intake.skip if intake.skips else None
    known = (record for path in inputs or [Path("-")] for record in read_structures(path, reject=reject))
    crowded = 0
    for record in rename_duplicates(known) if rename else known:
        try:
            if pictures is not None and record.breaks:
                raise InputError(
                    f"{record.where}: has {len(record.breaks) + 1} strands, and a drawing would join them",
                    hint="convert it without --plot",
                )
            structures.claim(record)
            structures.add(record)
        except InputError as error:
            intake.reject(error)
            continue
        if pictures is not None:
            pictures.add(Subject(record.id, record.sequence, record.pairs))
        crowded += len(layers(record.pairs)) > BRACKET_LAYERS
    if crowded:
        console.warn(f"{crowded} structures need more than {BRACKET_LAYERS} kinds of brackets")
