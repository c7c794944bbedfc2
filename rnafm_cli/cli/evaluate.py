"""``rnafm evaluate TASK``: predictions measured against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rnafm_cli.cli import console, evaluate_function, evaluate_tertiary, options
from rnafm_cli.cli.evaluate_tertiary import Reporting, figure_folder, named_predictions
from rnafm_cli.cli.options import Rejections
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from rnafm_cli.rna.calibration import Calibration
    from rnafm_cli.structure.evaluation import Comparison, Match


EPILOG = "Example: rnafm evaluate encoder --model rnafm-mini --corpus corpus --atlas atlas_labelled.fa.gz"


def encoder(
    model: options.Model = "rnafm-mini",
    corpus: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Prepared corpus: masked-token loss on what it holds out.", show_default=False
        ),
    ] = None,
    atlas: Annotated[
        Path | None,
        typer.Option(metavar="FASTA", help="Records with type=: nearest-neighbour transfer.", show_default=False),
    ] = None,
    probe: Annotated[
        Path | None,
        typer.Option(metavar="TSV", help="Columns sequence, label, split: linear probe.", show_default=False),
    ] = None,
    output: options.Output = Path("-"),
    sequences: Annotated[
        int, typer.Option(min=0, metavar="N", help="Sequences of each held-out part; 0 takes all.")
    ] = 0,
    per_type: Annotated[
        int, typer.Option(min=0, metavar="N", help="Records of each type for the transfer; 0 takes all.")
    ] = 0,
    crop: Annotated[int, typer.Option(min=18, metavar="T", help="Window of the masked-token loss, in tokens.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of crops, masks and folds.")] = 1,
    weights_dir: options.WeightsDir = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    batch_tokens: options.BatchTokens = 8192,
    force: options.Force = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Judge an encoder: masked-token loss, transfer of RNA type, linear probe; baselines beside each.

    Writes one JSON document. What is computed depends on the data given: --corpus, --atlas, --probe.
    """
    import json

    from rnafm_cli.io.streams import open_output
    from rnafm_cli.model import load_model
    from rnafm_cli.pretrain.report import held_out_figures, probe_figures, transfer_figures

    if corpus is None and atlas is None and probe is None:
        raise UsageError("nothing to evaluate on", hint="give --corpus, --atlas or --probe")
    loaded = load_model(model, weights_dir=weights_dir, device=device, threads=threads)
    loaded.check_nucleotides()
    net, say = loaded.encoder, console.info
    figures: dict[str, object] = {"model": loaded.encoder_card.name, "sha256": loaded.encoder_card.weights_sha256}
    with console.stages() as progress:
        how: dict[str, Any] = {"report": say, "progress": progress}
        if corpus is not None:
            figures["held_out"] = held_out_figures(net, corpus, sequences=sequences, crop=crop, seed=seed, **how)
        how["batch_tokens"] = batch_tokens
        if atlas is not None:
            figures["knn_transfer"] = transfer_figures(net, atlas, per_type=per_type, seed=seed, **how)
        if probe is not None:
            figures["linear_probe"] = probe_figures(net, probe, **how)
    with open_output(output) as out:
        out.write(json.dumps(figures, indent=1) + "\n")


app = typer.Typer(
    help="Measure predictions against the truth.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


MissingChoice = Literal["error", "unpaired", "skip"]
MatchChoice = Literal["id", "file"]


app.command("encoder", epilog=EPILOG)(encoder)
app.command("contact", epilog=evaluate_tertiary.CONTACT_EPILOG)(evaluate_tertiary.contact)
app.command("distance", epilog=evaluate_tertiary.DISTANCE_EPILOG)(evaluate_tertiary.distance)
app.command("rbp", epilog=evaluate_function.RBP_EPILOG)(evaluate_function.rbp)
app.command("mrl", epilog=evaluate_function.MRL_EPILOG)(evaluate_function.mrl)


@app.command(epilog="Example: rnafm fold seqs.fa | rnafm evaluate fold truth.tsv - --format table")
def fold(
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="True structures: any format, file or folder.")],
    prediction: Annotated[
        Path, typer.Argument(metavar="PRED", help="Predicted structures of the same RNAs, matched by id; '-' is stdin.")
    ],
    against: Annotated[
        Path | None, typer.Option(metavar="PRED2", help="Compare with a second predictor, RNA by RNA.")
    ] = None,
    by_family: Annotated[bool, typer.Option("--by-family", help="Also by the truth's families.")] = False,
    per_record: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the scores of every RNA here.")] = None,
    probs: Annotated[
        Path | None, typer.Option(metavar="FILE.h5", help="PRED's pair probabilities: measure their calibration.")
    ] = None,
    missing: Annotated[
        MissingChoice, typer.Option(help="RNAs without prediction: stop, count as unpaired, or leave out.")
    ] = "error",
    allow_extra: Annotated[
        bool, typer.Option("--allow-extra", help="Ignore predictions of RNAs that are not in TRUTH.")
    ] = False,
    match: Annotated[
        MatchChoice | None,
        typer.Option(
            help="Match RNAs by their ids or by the names of their files.",
            show_default="id; for folders file where ids come in several files, or meet nowhere",
        ),
    ] = None,
    first: Annotated[bool, typer.Option("--first", help="Of several structures with one id, take the first.")] = False,
    on_error: options.OnError = "fail",
    resamples: Annotated[int, typer.Option(min=100, metavar="N", help="Bootstrap resamples of RNAs.")] = 2000,
    *,
    told: Reporting,
) -> None:
    """Score predicted secondary structures.

    Precision, recall and F1 over base pairs: means over RNAs, exact and with one base's slack, pooled over all pairs,
    for pseudoknotted pairs alone, and by length, all with bootstrap intervals. Every pair of the truth counts.
    """
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.structure.evaluation import report_scores, write_fold_scores, write_report

    rejections = Rejections(on_error)
    named = named_predictions(truth, [(prediction, told.name), (against, told.against_name)])
    comparison = _compare(truth, named, missing, allow_extra, match, first, rejections)
    if by_family and not any(record.family for record in comparison.truth):
        raise InputError(f"{truth}: names no families", hint="only the TSV format has them, in the column 'family'")
    settings: dict[str, Any] = {"seed": told.seed, "resamples": resamples, "confidence": told.confidence}
    calibration = _calibration(probs, comparison, settings) if probs else None
    scores = comparison.scores
    report = report_scores(scores, compared=list(scores), by_family=by_family, **settings)
    if per_record:
        with open_output(per_record) as sink:
            write_fold_scores(sink, scores)
    if told.plot:
        _draw(comparison, calibration, told.plot, f".{told.plot_format}", told.seed)
    with open_output(told.output) as sink:
        write_report(sink, report, format=told.report_format, calibration=calibration)
    rejections.finish()


def _compare(
    truth: Path,
    predictions: dict[str, Path],
    missing: MissingChoice,
    allow_extra: bool,
    match: MatchChoice | None,
    first: bool,
    rejections: Rejections,
) -> Comparison:
    """Read and match the structures, and say what had no counterpart."""
    from rnafm_cli.io.structures import read_structures
    from rnafm_cli.structure.evaluation import compare, index_records, match_of

    reject = rejections.reject if rejections.skips else None
    known = list(read_structures(truth, reject=reject))
    read = {label: list(read_structures(path, reject=reject)) for label, path in predictions.items()}
    by: Match = "file" if match == "file" else "id"
    if match is None and all(path.is_dir() for path in (truth, *predictions.values())):
        by = match_of([known, *read.values()])
        if by == "file":
            console.info("ids come in several files or meet nowhere: matched by the names of files")
    true = index_records(known, match=by, first=first)
    found = {label: index_records(records, match=by, first=first) for label, records in read.items()}
    comparison = compare(true, found, missing=missing, allow_extra=allow_extra)
    for label, ids in comparison.missing.items():
        if ids:
            done = "left out" if missing == "skip" else "scored as unpaired"
            console.warn(f"{label}: {len(ids)} of {len(true)} RNAs have no prediction and are {done}")
        if comparison.extra[label]:
            console.info(f"{label}: {comparison.extra[label]} predictions ignored, their RNAs are not in the truth")
    return comparison


def _calibration(path: Path, comparison: Comparison, settings: dict[str, Any]) -> Calibration:
    from rnafm_cli.io.maps import read_matched_probabilities
    from rnafm_cli.rna.calibration import CalibrationCounts

    counts, absent = CalibrationCounts(), []
    for record, probs_LL in read_matched_probabilities(path, comparison.truth):
        if probs_LL is None:
            absent.append(record.id)
        else:
            counts.add(probs_LL, record.pairs)
    if len(absent) == len(comparison.truth):
        raise InputError(f"{path}: holds none of the RNAs of the truth", hint="data sets are named by id")
    if absent:
        console.warn(f"{path}: {len(absent)} RNAs have no probabilities, '{absent[0]}' for one; calibration is without")
    return counts.result(**settings)


def _draw(comparison: Comparison, calibration: Calibration | None, folder: Path, suffix: str, seed: int) -> None:
    """The figures, and beside the calibration its numbers."""
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.structure.evaluation import write_calibration
    from rnafm_cli.structure.figures import draw_by_length, draw_calibration, draw_scatter

    figure_folder(folder)
    draw_by_length(comparison.scores, "f1", folder / f"f1_by_length{suffix}", seed=seed)
    if len(comparison.scores) > 1:
        draw_scatter(comparison.scores, "f1", folder / f"f1_scatter{suffix}", seed=seed)
    if calibration is not None:
        draw_calibration(calibration, folder / f"calibration{suffix}", name=next(iter(comparison.scores)))
        with open_output(folder / "calibration.tsv") as sink:
            write_calibration(sink, calibration)
