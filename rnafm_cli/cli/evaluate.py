"""``rnafm evaluate TASK``: predictions measured against the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rnafm_cli.cli import console, evaluate_function, evaluate_tertiary, options
from rnafm_cli.cli.evaluate_tertiary import Reporting, figure_folder
from rnafm_cli.cli.options import Rejections
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from rnafm_cli.rna.calibration import Calibration
    from rnafm_cli.rna.metrics import Score
    from rnafm_cli.rna.pairs import Pairs
    from rnafm_cli.rna.records import StructureRecord


EPILOG = "Example: rnafm evaluate encoder --model rnafm-mini --corpus corpus --atlas atlas_labelled.fa.gz"


def encoder(
    model: options.ModelName = "rnafm-mini",
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
    figures: dict[str, object] = {"model": loaded.encoder_card.name, "sha256": loaded.encoder_card.weights_sha256}
    with console.stages() as progress:
        how: dict[str, Any] = {"report": console.info, "progress": progress}
        if corpus is not None:
            figures["held_out"] = held_out_figures(loaded, corpus, sequences=sequences, crop=crop, seed=seed, **how)
        how["batch_tokens"] = batch_tokens
        if atlas is not None:
            figures["knn_transfer"] = transfer_figures(loaded, atlas, per_type=per_type, seed=seed, **how)
        if probe is not None:
            figures["linear_probe"] = probe_figures(loaded, probe, **how)
    with open_output(output) as out:
        out.write(json.dumps(figures, indent=1) + "\n")


app = typer.Typer(help="Measure predictions against the truth.", no_args_is_help=True, rich_markup_mode=None)
app.command("encoder", epilog=EPILOG)(encoder)
app.command("contact", epilog=evaluate_tertiary.CONTACT_EPILOG)(evaluate_tertiary.contact)
app.command("distance", epilog=evaluate_tertiary.DISTANCE_EPILOG)(evaluate_tertiary.distance)
app.command("rbp", epilog=evaluate_function.RBP_EPILOG)(evaluate_function.rbp)
app.command("mrl", epilog=evaluate_function.MRL_EPILOG)(evaluate_function.mrl)


@dataclass(frozen=True, kw_only=True)
class Matching:
    """Which predictions are held against which structures."""

    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="True structures: any format, file or folder.")]
    prediction: Annotated[
        Path, typer.Argument(metavar="PRED", help="Predicted structures of the same RNAs, matched by id; '-' is stdin.")
    ]
    against: Annotated[
        Path | None, typer.Option(metavar="PRED2", help="Compare with a second predictor, RNA by RNA.")
    ] = None
    missing: Annotated[
        Literal["error", "unpaired", "skip"],
        typer.Option(help="RNAs without prediction: stop, count as unpaired, or leave out."),
    ] = "error"
    allow_extra: Annotated[
        bool, typer.Option("--allow-extra", help="Ignore predictions of RNAs that are not in TRUTH.")
    ] = False
    match: Annotated[
        Literal["id", "file"] | None,
        typer.Option(
            help="Match RNAs by their ids or by the names of their files.",
            show_default="id; for folders file where ids come in several files, or meet nowhere",
        ),
    ] = None
    first: Annotated[bool, typer.Option("--first", help="Of several structures with one id, take the first.")] = False
    on_error: options.OnError = "fail"


@app.command(epilog="Example: rnafm fold seqs.fa | rnafm evaluate fold truth.tsv - --format table")
def fold(
    *,
    given: Matching,
    by_family: Annotated[bool, typer.Option("--by-family", help="Also by the truth's families.")] = False,
    probs: Annotated[
        Path | None, typer.Option(metavar="FILE.h5", help="PRED's pair probabilities: measure their calibration.")
    ] = None,
    told: Reporting,
) -> None:
    """Score predicted secondary structures.

    Precision, recall and F1 over base pairs: means over RNAs, exact and with one base's slack, pooled over all pairs,
    for pseudoknotted pairs alone, and by length, all with bootstrap intervals. Every pair of the truth counts.
    """
    from rnafm_cli.io.columns import TABLES
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.structure.evaluation import report_scores, write_report, write_scores

    rejections = Rejections(given.on_error)
    truth, scores = _compared(given, told, rejections)
    if by_family and not any(record.family for record in truth):
        raise InputError(
            f"{given.truth}: names no families", hint="only the TSV format has them, in the column 'family'"
        )
    calibration = _calibration(probs, truth, told) if probs else None
    report = report_scores(scores, compared=list(scores), by_family=by_family, how=told.how)
    if told.per_record:
        with open_output(told.per_record) as sink:
            write_scores(sink, scores, list(TABLES["evaluate fold --per-record"])[2:])
    if told.plot:
        _draw(scores, calibration, told, told.plot)
    with open_output(told.output) as sink:
        write_report(sink, report, format=told.report_format, calibration=calibration)
    rejections.finish()


def _compared(
    given: Matching, told: Reporting, rejections: Rejections
) -> tuple[list[StructureRecord], dict[str, list[Score]]]:
    """The structures that are scored, and the scores of each predictor; says what had no counterpart."""
    from rnafm_cli.io.structures import read_structures
    from rnafm_cli.structure.evaluation import compare, index_records, match_of

    named = told.named(given.truth, given.prediction, given.against)
    reject = rejections.reject if rejections.skips else None
    known = list(read_structures(given.truth, reject=reject))
    read = {label: list(read_structures(path, reject=reject)) for label, path in named.items()}
    by = given.match or "id"
    if given.match is None and all(path.is_dir() for path in (given.truth, *named.values())):
        by = match_of([known, *read.values()])
        if by == "file":
            console.info("ids come in several files or meet nowhere: matched by the names of files")
    true = index_records(known, match=by, first=given.first)
    found = {label: index_records(records, match=by, first=given.first) for label, records in read.items()}
    scores = compare(true, found, missing=given.missing, allow_extra=given.allow_extra)
    for label, records in found.items():
        if absent := len(true.keys() - records.keys()):
            done = "left out" if given.missing == "skip" else "scored as unpaired"
            console.warn(f"{label}: {absent} of {len(true)} RNAs have no prediction and are {done}")
        if extra := len(records.keys() - true.keys()):
            console.info(f"{label}: {extra} predictions ignored, their RNAs are not in the truth")
    return [true[score.id] for score in next(iter(scores.values()))], scores


def _calibration(path: Path, truth: list[StructureRecord], told: Reporting) -> Calibration:
    from rnafm_cli.rna.calibration import calibrate
    from rnafm_cli.structure.map_files import stored_maps

    absent: list[str] = []

    def known() -> Iterator[tuple[np.ndarray, Pairs]]:
        for record, probs_LL in stored_maps(path, truth, "contact"):
            if probs_LL is not None:
                yield probs_LL, record.pairs
            else:
                absent.append(record.id)
        if len(absent) == len(truth):
            raise InputError(f"{path}: holds none of the RNAs of the truth", hint="data sets are named by id")

    found = calibrate(known(), told.how)
    if absent:
        console.warn(f"{path}: {len(absent)} RNAs have no probabilities, '{absent[0]}' for one; calibration is without")
    return found


def _draw(scores: dict[str, list[Score]], calibration: Calibration | None, told: Reporting, folder: Path) -> None:
    """The figures, and beside the calibration its numbers."""
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.structure.evaluation import write_calibration
    from rnafm_cli.structure.figures import draw_by_length, draw_calibration, draw_scatter

    figure_folder(folder)
    draw_by_length(scores, "f1", folder / f"f1_by_length.{told.plot_format}", seed=told.seed)
    if len(scores) > 1:
        draw_scatter(scores, "f1", folder / f"f1_scatter.{told.plot_format}", seed=told.seed)
    if calibration is not None:
        draw_calibration(calibration, folder / f"calibration.{told.plot_format}", name=next(iter(scores)))
        with open_output(folder / "calibration.tsv") as sink:
            write_calibration(sink, calibration)
