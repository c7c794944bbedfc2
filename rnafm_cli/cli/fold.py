"""``rnafm fold``: sequences in, secondary structures out."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli import fold_options as own
from rnafm_cli.cli.fold_options import DecoderChoice, FormatChoice, PlotStyleChoice
from rnafm_cli.cli.options import DeviceChoice, Intake, LongChoice, OnErrorChoice, PrecisionChoice, families_of
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from rnafm_cli.io.maps import PairProbabilityWriter
    from rnafm_cli.io.record_output import RecordOutput
    from rnafm_cli.model import Model
    from rnafm_cli.rna.decode import DecodeOptions
    from rnafm_cli.rna.records import SequenceRecord, StructureRecord
    from rnafm_cli.structure.evidence import ConstraintLines, Evidence, ReactivityProfiles
    from rnafm_cli.structure.fold import Fold
    from rnafm_cli.viz.structure import Gallery

__all__ = ["convert_structures", "fold", "gallery", "probability_output", "report_output", "structure_output"]


def structure_output(
    stack: ExitStack, output: Path, out_dir: Path | None, output_format: FormatChoice, *, scored: bool, force: bool
) -> RecordOutput:
    from rnafm_cli.io.record_output import record_output
    from rnafm_cli.io.structure_output import structure_formats

    formats = structure_formats(output_format.value, scored=scored)
    elsewhere = "--probs FILE.h5 writes pair probabilities, --plot drawings"
    return stack.enter_context(record_output(output, out_dir, formats, elsewhere=elsewhere, force=force))


def probability_output(
    stack: ExitStack, path: Path | None, loaded: Model, *, prior: bool, half: bool, force: bool
) -> PairProbabilityWriter | None:
    if path is None:
        if half:
            raise UsageError("--half is about --probs", hint="add --probs FILE.h5")
        return None
    from rnafm_cli.io.maps import PairProbabilityWriter

    provenance: dict[str, str | bool] = {
        "model": loaded.name,
        "weights_sha256": loaded.component("fold")[1].weights_sha256,
        "encoder_sha256": loaded.encoder_card.weights_sha256,
        "prior": prior,
        "command": " ".join(["rnafm", *sys.argv[1:]]),
    }
    return stack.enter_context(PairProbabilityWriter(path, provenance=provenance, half=half, force=force))


def report_output(stack: ExitStack, path: Path | None, loaded: Model, *, force: bool) -> Callable[[Fold], None] | None:
    if path is None:
        return None
    from rnafm_cli import __version__
    from rnafm_cli.io.names import refuse_suffix
    from rnafm_cli.structure.report import fold_report

    refuse_suffix(path, (".html", ".htm"), "a page", "name it .html")
    return stack.enter_context(fold_report(path, caption=f"rnafm {__version__}, model {loaded.name}", force=force))


def gallery(target: Path | None, style: PlotStyleChoice) -> Gallery | None:
    if target is None:
        return None
    from rnafm_cli.viz.structure import Gallery

    return Gallery(target, style=style.value)


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
    from rnafm_cli.rna.pairs import BRACKET_LAYERS, layers

    pictures, crowded = gallery(plot, plot_style), 0
    with ExitStack() as stack:
        structures = structure_output(stack, output, out_dir, output_format, scored=False, force=force)
        known = _known(inputs, intake)
        for record in rename_duplicates(known) if renamed else known:
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
                pictures.add(record.id, record.sequence, record.pairs)
            crowded += len(layers(record.pairs)) > BRACKET_LAYERS
    if crowded:
        console.warn(f"{crowded} structures need more than {BRACKET_LAYERS} kinds of brackets")
    intake.finish()


def _known(inputs: list[Path] | None, intake: Intake) -> Iterator[StructureRecord]:
    from rnafm_cli.io.structures import read_structures

    for path in inputs or [Path("-")]:
        yield from read_structures(path, reject=intake.skip if intake.skips else None)


def fold(
    context: typer.Context,
    inputs: options.Inputs = None,
    output: options.Output = Path("-"),
    output_format: own.OutputFormat = FormatChoice.dbn,
    out_dir: own.OutDir = None,
    force: options.Force = False,
    score: own.Score = False,
    probs: own.Probs = None,
    half: own.HalfProbs = False,
    plot: own.Plot = None,
    plot_style: own.PlotStyle = PlotStyleChoice.arc,
    report: own.Report = None,
    rename_duplicates: own.RenameDuplicates = False,
    convert: own.Convert = False,
    model: options.Model = "rnafm-mini",
    decoder: own.Decoder = None,
    threshold: own.Threshold = None,
    gamma: own.Gamma = None,
    min_loop: own.MinLoop = None,
    pseudoknots: own.Pseudoknots = True,
    allow_noncanonical: own.AllowNoncanonical = False,
    isolated: own.Isolated = True,
    upstream_compat: own.UpstreamCompat = False,
    prior: own.Prior = True,
    families: options.Families = None,
    use_families: options.UseFamilies = True,
    constraints: own.Constraints = None,
    shape: own.Shape = None,
    max_memory: own.MaxMemory = None,
    long: options.Long = LongChoice.window,
    on_error: options.OnError = OnErrorChoice.fail,
    weights_dir: options.WeightsDir = None,
    device: options.Device = DeviceChoice.auto,
    threads: options.Threads = None,
    precision: options.Precision = PrecisionChoice.fp32,
    batch_tokens: options.BatchTokens = 4096,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Predict secondary structures.

    Three lines per RNA: the header, the sequence and the structure, which ViennaRNA's programs read as they are.

    Examples:

      rnafm fold seqs.fa > out.dbn

      zcat seqs.fa.gz | rnafm fold | RNAeval

      rnafm fold seqs.fa --format rosetta --out-dir models/

      rnafm fold --convert known.ct --plot drawings/ > known.dbn
    """
    if out_dir is not None and str(output) != "-":
        raise UsageError("-o and --out-dir contradict each other", hint="give one of them")
    intake = Intake(inputs, on_error)
    if convert:
        _refuse_predicting(context)
        convert_structures(
            inputs, output, out_dir, output_format, plot, plot_style, intake, renamed=rename_duplicates, force=force
        )
        return

    libraries = families_of(families, use_families)
    if libraries:
        from rnafm_cli.families.search import search_ahead

        search_ahead(libraries, weights_dir)

    from rnafm_cli.io.names import rename_duplicates as renamed
    from rnafm_cli.model import load_model
    from rnafm_cli.structure.fold import load_fold_predictor
    from rnafm_cli.structure.predict import predict

    pictures = gallery(plot, plot_style)
    knowledge = _Knowledge(constraints, shape)
    loaded = load_model(model, weights_dir=weights_dir, device=device.value, precision=precision.value, threads=threads)
    rules = dataclasses.replace(
        _rules(loaded, decoder, threshold, min_loop, allow_noncanonical, pseudoknots, isolated, upstream_compat),
        gamma=gamma,
    )
    predictor = load_fold_predictor(
        loaded,
        prior=prior,
        families=libraries,
        options=rules,
        warn=console.warn,
        max_bytes=round(max_memory * 1e9) if max_memory else None,
        batch_tokens=batch_tokens,
    )
    if shape is not None and not predictor.takes_reactivities:
        raise UsageError(
            "--shape acts through the thermodynamic prior, and this run has none",
            hint="use rnafm-mini with its prior (and ViennaRNA installed)",
        )
    with ExitStack() as stack:
        structures = structure_output(stack, output, out_dir, output_format, scored=score, force=force)
        maps = probability_output(stack, probs, loaded, prior=prior, half=half, force=force)
        page = report_output(stack, report, loaded, force=force)
        records: Iterable[SequenceRecord] = intake.records()
        if rename_duplicates:
            records = renamed(records)
        results = predict(
            _claimed(records, structures, maps, intake),
            predictor,
            evidence_of=knowledge.of,
            long=long.value,
            reject=intake.skip if long is LongChoice.skip else intake.reject,
            tell=console.info,
        )
        bar = stack.enter_context(intake.progress("folding"))
        scored = score or output_format is FormatChoice.jsonl
        _write(results, structures, maps, pictures, page, intake, bar, scored=scored)
    knowledge.report()
    intake.finish()


def _rules(
    loaded: Model,
    decoder: DecoderChoice | None,
    threshold: float | None,
    min_loop: int | None,
    allow_noncanonical: bool,
    pseudoknots: bool,
    isolated: bool,
    upstream_compat: bool,
) -> DecodeOptions:
    from rnafm_cli.rna.decode import DecodeOptions

    if upstream_compat:
        if decoder not in (None, DecoderChoice.upstream):
            raise UsageError(f"--upstream-compat and --decoder {decoder} contradict each other")
        decoder = DecoderChoice.upstream
        threshold = _released_threshold(loaded) if threshold is None else threshold
    return DecodeOptions(
        decoder=(decoder or DecoderChoice.mea).value,
        threshold=threshold,
        min_loop=min_loop,
        canonical=False if allow_noncanonical else None,
        pseudoknots=pseudoknots,
        isolated=isolated,
    )


def _released_threshold(loaded: Model) -> float:
    from rnafm_cli.encoder.resnet import RELEASED_THRESHOLDS

    name = loaded.component("fold")[1].name
    if name not in RELEASED_THRESHOLDS:
        raise UsageError(
            f"upstream has no threshold for the model '{name}'",
            hint=f"--upstream-compat goes with {' and '.join(sorted(RELEASED_THRESHOLDS))}; else give --threshold",
        )
    return RELEASED_THRESHOLDS[name]


def _claimed(
    records: Iterable[SequenceRecord], structures: RecordOutput, maps: PairProbabilityWriter | None, intake: Intake
) -> Iterator[SequenceRecord]:
    """The records whose names are still free in every output."""
    for record in records:
        try:
            structures.claim(record)
            if maps is not None:
                maps.claim(record)
        except InputError as error:
            intake.reject(error)
        else:
            yield record


_PREDICTING = (
    *("score", "probs", "half", "report", "model", "decoder", "threshold", "gamma", "min_loop", "pseudoknots"),
    *("allow_noncanonical", "isolated", "upstream_compat", "prior", "families", "use_families", "constraints"),
    *("shape", "max_memory", "long"),
)


def _refuse_predicting(context: typer.Context) -> None:
    """Refuse options that say how to predict, where nothing is predicted."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name in _PREDICTING and source is not None and source.name == "COMMANDLINE":
            shown = "/".join([*option.opts[-1:], *option.secondary_opts[-1:]])
            raise UsageError(f"--convert predicts nothing, and {shown} is about predictions")


def _write(
    results: Iterator[Fold],
    structures: RecordOutput,
    maps: PairProbabilityWriter | None,
    pictures: Gallery | None,
    page: Callable[[Fold], None] | None,
    intake: Intake,
    bar: console.Progress,
    *,
    scored: bool,
) -> None:
    from rnafm_cli.io.structure_output import FamilyCall, StructureScore
    from rnafm_cli.rna.pairs import BRACKET_LAYERS, layers

    replaced = crowded = 0
    for result in results:
        calls = tuple(
            FamilyCall(hit.family.accession, hit.family.name, hit.evalue, hit.start, hit.end) for hit in result.hits
        )
        for call in calls:
            console.debug(
                f"{result.record.id}: {call.accession} {call.name}, bases {call.start + 1} to {call.end}, "
                f"E {call.evalue:.1e}"
            )
        rating = StructureScore(result.expected_accuracy, result.pair_confidence, calls) if scored else None
        try:
            structures.add(result.structure, rating)
        except InputError as error:
            intake.reject(error)
            continue
        if maps is not None:
            maps.add(result.record, result.probs_LL)
        if pictures is not None:
            supported = result.pairs[result.is_supported] if result.hits else None
            pictures.add(result.record.id, result.structure.sequence, result.pairs, result.probs_LL, supported)
        if page is not None:
            page(result)
        replaced += len(result.record.sequence) - sum(map(result.record.sequence.count, "ACGUN"))
        crowded += len(layers(result.pairs)) > BRACKET_LAYERS
        bar.advance()
    if replaced:
        console.info(f"{replaced} ambiguity codes are written as N")
    if crowded:
        console.warn(
            f"{crowded} structures need more than {BRACKET_LAYERS} kinds of brackets; only CT and BPSEQ hold all pairs"
        )


class _Knowledge:
    """The files of constraints and reactivities of a run."""

    def __init__(self, constraints: Path | None, shape: Path | None) -> None:
        from rnafm_cli.structure.evidence import ConstraintLines, ReactivityProfiles

        self._lines: ConstraintLines | None = ConstraintLines(constraints) if constraints else None
        self._profiles: ReactivityProfiles | None = ReactivityProfiles(shape) if shape else None

    def of(self, record: SequenceRecord) -> Evidence:
        """What the files say of a record."""
        from rnafm_cli.structure.evidence import Evidence

        known = self._lines.of(record) if self._lines else Evidence()
        return dataclasses.replace(known, reactivities=self._profiles.of(record)) if self._profiles else known

    def report(self) -> None:
        """Name what was in the files and not in the input."""
        known: list[tuple[str, Any]] = [("constraints", self._lines), ("reactivities", self._profiles)]
        for what, file in known:
            if file is not None and (unused := file.unused()):
                shown = ", ".join(unused[:5]) + (" ..." if len(unused) > 5 else "")
                console.warn(f"{file.name}: {what} of RNAs that are not in the input: {shown}")
