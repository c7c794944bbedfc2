"""``rnafm evaluate rbp`` and ``rnafm evaluate mrl``: heads, baselines or tables of predictions on labelled rows."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import DeviceChoice, PrecisionChoice
from rnafm_cli.cli.rbp import Structure
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from rnafm_cli.function.metrics import Resampling
    from rnafm_cli.model import Model
    from rnafm_cli.training.labelled_rows import LabelledRows

    Scores = dict[str, dict[str, np.ndarray]]


RBP_EPILOG = "Example: rnafm evaluate rbp rbp/*.tsv.gz --baseline --format table"
MRL_EPILOG = "Example: rnafm evaluate mrl mrl/*.tsv.gz --baseline --against runs/onehot/best.safetensors"


class ReportFormat(StrEnum):
    tsv = "tsv"
    json = "json"
    table = "table"


Sets = Annotated[
    list[Path],
    typer.Argument(
        metavar="TABLE...", help="Tables with the columns of the training data, named by protein or assay; or folders."
    ),
]
Predicted = Annotated[
    Path | None,
    typer.Option(
        "--predictions", metavar="TSV", help="Measure this output of the command instead of a model; matched by 'id'."
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option("--against", metavar="NAME|FILE", help="Another head to measure on the same rows; may be repeated."),
]
Split = Annotated[str, typer.Option("--split", metavar="NAME", help="Rows to measure on; 'all' for all of them.")]
Limit = Annotated[
    int, typer.Option("--limit", min=0, metavar="N", help="At most N rows of each table, drawn with the seed; 0: all.")
]
Format = Annotated[ReportFormat, typer.Option("--format", help="One row a figure, a document, or text for people.")]
Resamples = Annotated[int, typer.Option(min=0, metavar="N", help="Bootstrap resamples of rows; 0 for no intervals.")]
Confidence = Annotated[float, typer.Option(min=0.5, max=0.999, metavar="P", help="Width of the intervals.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the resamples and of --limit.")]


def rbp(
    tables: Sets,
    predictions: Predicted = None,
    against: Against = None,
    baseline: Annotated[
        bool,
        typer.Option("--baseline", help="Also a logistic regression on 5-mers, fitted on the tables' training rows."),
    ] = False,
    split: Split = "dev",
    limit: Limit = 0,
    structure: Structure = None,
    output: options.Output = Path("-"),
    report_format: Format = ReportFormat.tsv,
    resamples: Resamples = 1000,
    confidence: Confidence = 0.95,
    seed: Seed = 0,
    model: options.Model = "rnafm-mini",
    weights_dir: options.WeightsDir = None,
    device: options.Device = DeviceChoice.auto,
    threads: options.Threads = None,
    precision: options.Precision = PrecisionChoice.fp32,
    batch_tokens: options.BatchTokens = 8192,
    force: options.Force = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure an RBP head: AUPRC and AUROC for each protein, their means, and the calibration of probabilities.

    Tables have the columns sequence, label and split. The 5-mer baseline is fitted on training rows that share no
    30-mer with a row that is measured on.
    """
    from rnafm_cli.function import evaluate as measuring
    from rnafm_cli.function.metrics import Resampling
    from rnafm_cli.function.rbp import BindingPredictor
    from rnafm_cli.structure.unpaired import structure_source

    def score(name: str, loaded: Model) -> dict[str, np.ndarray]:
        predictor, source = BindingPredictor(loaded, batch_tokens=batch_tokens), None
        if structure and predictor.takes_structure:
            source = structure_source(structure, loaded, warn=console.warn)
        elif structure:
            console.warn(f"{name} was trained without structure and scores without")
        found = {}
        for rows in measured:
            console.debug(f"{name}: {rows.name}, {len(rows)} rows")
            if source is not None:
                for record in measuring.records_of(rows):
                    source.check(record)
            found[rows.name] = measuring.binding_probabilities(predictor, rows, structure_of=source)
        if source is not None and source.without:
            console.warn(f"{source.name}: no structure of {len(source.without):,} rows; {name} scored them without")
        return found

    measured, trained = _rows(tables, "label", split, limit, seed, baseline)
    scores: Scores = {}
    if predictions is not None:
        scores[str(predictions)] = measuring.read_predictions(predictions, "probability", measured, by="protein")
    for name in _heads(model, against, predictions):
        loaded = _loaded(name, weights_dir, device, precision, threads)
        _warn_of_training_rows(loaded, "rbp", measured)
        scores[name] = score(name, loaded)
    calibrated = list(scores)
    if baseline:
        scores["5-mer logistic regression"] = {
            rows.name: measuring.kmer_logistic(part.sequences, part.values, rows.sequences)
            for rows, part in zip(measured, trained, strict=True)
        }
    resampling = Resampling(resamples=resamples, confidence=confidence, seed=seed)
    table = measuring.binding_table(scores, measured, resampling, probabilities=calibrated)
    _write(output, table, "rbp", report_format, split, resampling)


def mrl(
    tables: Sets,
    predictions: Predicted = None,
    against: Against = None,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline", help="Also a ridge regression on upstream starts, k-mers and the start's surroundings."
        ),
    ] = False,
    assay: Annotated[
        str | None,
        typer.Option("--assay", metavar="NAME", help="Predict this assay for all tables.", show_default="the table's"),
    ] = None,
    split: Split = "dev",
    limit: Limit = 0,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="DIR", help="Draw measured against predicted load of each assay.")
    ] = None,
    output: options.Output = Path("-"),
    report_format: Format = ReportFormat.tsv,
    resamples: Resamples = 1000,
    confidence: Confidence = 0.95,
    seed: Seed = 0,
    model: options.Model = "rnafm-mini",
    weights_dir: options.WeightsDir = None,
    device: options.Device = DeviceChoice.auto,
    threads: options.Threads = None,
    precision: options.Precision = PrecisionChoice.fp32,
    batch_tokens: options.BatchTokens = 8192,
    force: options.Force = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure an MRL head: R2 (squared Pearson), coefficient of determination, MAE and MSE of unscaled ribosome load.

    Tables have the columns sequence, mrl and split. Each figure stands for all UTRs and by upstream start codons: none,
    in-frame, out-of-frame (reaching into the coding sequence), uORF (out of frame, closed by a stop codon).
    """
    from rnafm_cli.function import evaluate as measuring
    from rnafm_cli.function.metrics import Resampling

    measured, trained = _rows(tables, "mrl", split, limit, seed, baseline)
    scores: Scores = {}
    if predictions is not None:
        scores[str(predictions)] = measuring.read_predictions(predictions, "mrl", measured)
    for name in _heads(model, against, predictions):
        loaded = _loaded(name, weights_dir, device, precision, threads)
        _warn_of_training_rows(loaded, "mrl", measured)
        scores[name] = {
            rows.name: measuring.ribosome_loads(loaded, rows, assay=assay, batch_tokens=batch_tokens)
            for rows in measured
        }
    if baseline:
        scores["ridge regression"] = {
            rows.name: measuring.utr_ridge(part.sequences, part.values, rows.sequences)
            for rows, part in zip(measured, trained, strict=True)
        }
    resampling = Resampling(resamples=resamples, confidence=confidence, seed=seed)
    table = measuring.ribosome_load_table(scores, measured, resampling)
    if plot is not None:
        _draw(plot, scores, measured)
    _write(output, table, "mrl", report_format, split, resampling)


def _rows(
    tables: list[Path], column: str, split: str, limit: int, seed: int, baseline: bool
) -> tuple[list[LabelledRows], list[LabelledRows]]:
    """The rows to measure on, and for a baseline the training rows of each table that share no 30-mer with them."""
    import numpy as np

    from rnafm_cli.training.labelled_rows import read_sets, without_leaks

    sets = read_sets(tables, column, binary=column == "label")
    measured = []
    for rows in sets:
        part = rows if split == "all" else rows.part(split)
        if not len(part):
            raise InputError(
                f"{rows.name}: has no rows of the split '{split}'",
                hint="--split all takes all rows; those that a run of finetune held out are in its folder 'rows'",
            )
        if limit and len(part) > limit:
            part = part.take(np.sort(np.random.default_rng(seed).permutation(len(part))[:limit]))
        measured.append(part)
    if not baseline:
        return measured, []
    if split in ("all", "train"):
        raise UsageError("--baseline is fitted on the training rows", hint="measure on another split")
    trained = without_leaks([rows.part("train") for rows in sets], measured)
    for rows in trained:
        if not len(rows):
            raise InputError(f"{rows.name}: has no training rows for the baseline")
    return measured, trained


def _heads(model: str, against: list[str] | None, predictions: Path | None) -> list[str]:
    names = [*([] if predictions is not None else [model]), *(against or [])]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"'{name}' is given twice")
    return names


def _loaded(
    name: str, weights_dir: Path | None, device: DeviceChoice, precision: PrecisionChoice, threads: int | None
) -> Model:
    from rnafm_cli.model import load_model

    return load_model(name, weights_dir=weights_dir, device=device.value, precision=precision.value, threads=threads)


def _warn_of_training_rows(loaded: Model, task: str, measured: list[LabelledRows]) -> None:
    """Tell how many rows the head was trained on: by the folder of its run, else by the split of a table of its own."""
    from rnafm_cli.function.rows import KEPT_ROWS
    from rnafm_cli.training.labelled_rows import read_sets
    from rnafm_cli.weights.files import read_card
    from rnafm_cli.weights.store import find

    head = find(loaded.name, component=task, weights_dir=loaded.weights_dir)
    folder, column = head.parent / KEPT_ROWS, "label" if task == "rbp" else "mrl"
    kept = read_sets([folder], column, binary=task == "rbp") if folder.is_dir() else []
    learnt = {sequence for rows in kept for sequence in rows.part("train").sequences}
    own = read_card(head).config.get("proteins" if task == "rbp" else "assays", ())
    for rows in measured:
        if kept:
            count = sum(sequence in learnt for sequence in rows.sequences)
            held = f"{folder} has those held out, which --split dev measures on"
        else:
            count = int((rows.splits == "train").sum()) if rows.name in own else 0
            held = "those of the split dev were held out"
        if count:
            console.warn(f"{rows.name}: {loaded.name} was trained on {count} of these {len(rows)} rows; {held}")


def _write(
    output: Path,
    table: list[dict[str, Any]],
    task: str,
    report_format: ReportFormat,
    split: str,
    resampling: Resampling,
) -> None:
    from dataclasses import asdict

    from rnafm_cli.function.evaluate import write_figures
    from rnafm_cli.io.columns import TABLES
    from rnafm_cli.io.streams import open_output

    with open_output(output) as sink:
        columns = tuple(TABLES[f"evaluate {task}"])
        write_figures(sink, table, columns, format=report_format.value, split=split, **asdict(resampling))


def _draw(folder: Path, scores: Scores, measured: list[LabelledRows]) -> None:
    from rnafm_cli.function.figures import draw_loads
    from rnafm_cli.rna.upstream_starts import start_context

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    name, by_set = next(iter(scores.items()))
    for rows in measured:
        contexts = [start_context(sequence) for sequence in rows.sequences]
        draw_loads(rows.values, by_set[rows.name], contexts, folder / f"{rows.name}.svg", title=f"{rows.name}, {name}")
