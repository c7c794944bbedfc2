"""``rnafm evaluate rbp`` and ``rnafm evaluate mrl``: heads, baselines or tables of predictions on labelled rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.rbp import Structure
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from rnafm_cli.model import Model
    from rnafm_cli.training.labelled_rows import LabelledRows

    Scorer = Callable[[LabelledRows], np.ndarray]


RBP_EPILOG = "Example: rnafm evaluate rbp rbp/*.tsv.gz --baseline --format table"
MRL_EPILOG = "Example: rnafm evaluate mrl mrl/*.tsv.gz --baseline --against runs/onehot/best.safetensors"


ReportFormat = Literal["tsv", "json", "table"]


_TABLES = "Tables with the columns of the training data, named by protein or assay; or folders."


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """What is measured, on which rows, and how it is told."""

    tables: Annotated[list[Path], typer.Argument(metavar="TABLE...", help=_TABLES)]
    predictions: Annotated[
        Path | None, typer.Option(metavar="TSV", help="Measure this output instead of a model; matched by 'id'.")
    ] = None
    against: Annotated[
        list[str] | None, typer.Option(metavar="NAME|FILE", help="Another head to measure, too; may be repeated.")
    ] = None
    split: Annotated[str, typer.Option(metavar="NAME", help="Rows to measure on; 'all' for all of them.")] = "dev"
    output: options.Output = Path("-")
    report_format: Annotated[
        ReportFormat, typer.Option("--format", help="One row a figure, a document, or text for people.")
    ] = "tsv"
    resamples: Annotated[int, typer.Option(min=0, metavar="N", help="Bootstrap resamples; 0: no intervals.")] = 1000
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, metavar="P", help="Width of the intervals.")] = 0.95
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0


def rbp(
    *,
    given: Measuring,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also a logistic regression on 5-mers of the training rows.")
    ] = False,
    structure: Structure = None,
    run: options.Running,
) -> None:
    """Measure an RBP head: AUPRC and AUROC for each protein, their means, and the calibration of probabilities.

    Tables have the columns sequence, label and split. The 5-mer baseline is fitted on training rows that share no
    30-mer with a row that is measured on.
    """
    from rnafm_cli.function.evaluate import binding_probabilities, records_of
    from rnafm_cli.function.rbp import BindingPredictor
    from rnafm_cli.structure.unpaired import structure_source

    def scorer(loaded: Model, measured: list[LabelledRows]) -> Scorer:
        predictor, source = BindingPredictor(loaded, batch_tokens=run.batch_tokens), None
        if structure and predictor.head.config.structure:
            source = structure_source(structure, loaded, warn=console.warn)
            for record in (record for rows in measured for record in records_of(rows)):
                source.check(record)
            if source.without:
                without = f"no structure of {len(source.without):,} rows; {loaded.name} scores them without"
                console.warn(f"{source.name}: {without}")
        elif structure:
            console.warn(f"{loaded.name} was trained without structure and scores without")
        return lambda rows: binding_probabilities(predictor, rows, structure_of=source)

    _evaluate("rbp", scorer, given, run, baseline)


def mrl(
    *,
    given: Measuring,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also a ridge regression on upstream starts and k-mers.")
    ] = False,
    assay: Annotated[
        str | None, typer.Option(metavar="NAME", help="Predict this assay for all tables.", show_default="the table's")
    ] = None,
    run: options.Running,
) -> None:
    """Measure an MRL head: R2 (squared Pearson), coefficient of determination, MAE and MSE of unscaled ribosome load.

    Tables have the columns sequence, mrl and split. Each figure stands for all UTRs and by upstream start codons: none,
    in-frame, out-of-frame (reaching into the coding sequence), uORF (out of frame, closed by a stop codon).
    """
    from rnafm_cli.function.evaluate import ribosome_loads

    def scorer(loaded: Model, measured: list[LabelledRows]) -> Scorer:
        return lambda rows: ribosome_loads(loaded, rows, assay=assay, batch_tokens=run.batch_tokens)

    _evaluate("mrl", scorer, given, run, baseline)


def _evaluate(
    task: str,
    scorer: Callable[[Model, list[LabelledRows]], Scorer],
    given: Measuring,
    run: options.Running,
    baseline: bool,
) -> None:
    """Measure what is given: predictions or a model, further heads, a baseline.

    Args:
        scorer: makes, of a model and all rows to measure on, what scores the rows of a set.
    """
    from dataclasses import asdict

    from rnafm_cli.function import evaluate as measuring
    from rnafm_cli.io.columns import TABLES
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.rna.bootstrap import Resampling

    binding = task == "rbp"
    measured, trained = _rows("label" if binding else "mrl", given, run.model, baseline)
    scores: dict[str, dict[str, np.ndarray]] = {}
    names = [*(given.against or [])]
    if given.predictions is not None:
        column, by = ("probability", "protein") if binding else ("mrl", None)
        scores[str(given.predictions)] = measuring.read_predictions(given.predictions, column, measured, by=by)
    else:
        names.insert(0, run.model)
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"'{twice[0]}' is given twice")
    for name in names:
        loaded = run.load(name)
        _warn_of_training_rows(loaded, task, measured)
        score, scores[name] = scorer(loaded, measured), {}
        with console.progress(sum(map(len, measured)), f"scoring by {name}", "rows") as bar:
            for rows in measured:
                scores[name][rows.name] = score(rows)
                bar.advance(len(rows))
    calibrated = list(scores)
    if baseline:
        title = "5-mer logistic regression" if binding else "ridge regression"
        fitted = measuring.kmer_logistic if binding else measuring.utr_ridge
        scores[title] = {
            rows.name: fitted(part.sequences, part.values, rows.sequences)
            for rows, part in zip(measured, trained, strict=True)
        }
    resampling = Resampling(resamples=given.resamples, confidence=given.confidence, seed=given.seed)
    if binding:
        table = measuring.binding_table(scores, measured, resampling, probabilities=calibrated)
    else:
        table = measuring.ribosome_load_table(scores, measured, resampling)
    columns, kind = tuple(TABLES[f"evaluate {task}"]), given.report_format
    with open_output(given.output) as sink:
        measuring.write_figures(sink, table, columns, format=kind, split=given.split, **asdict(resampling))


def _rows(column: str, given: Measuring, model: str, baseline: bool) -> tuple[list[LabelledRows], list[LabelledRows]]:
    """The rows to measure on, and for a baseline the training rows of each table that share no 30-mer with them."""
    from rnafm_cli.function.rows import KEPT_ROWS
    from rnafm_cli.training.labelled_rows import read_sets, without_leaks

    if baseline and given.split in ("all", "train"):
        raise UsageError("--baseline is fitted on the training rows", hint="measure on another split")
    sets = read_sets(given.tables, column, binary=column == "label")
    measured = []
    for rows in sets:
        part = rows if given.split == "all" else rows.part(given.split)
        if not len(part):
            kept = Path(model).parent / KEPT_ROWS
            hint = "those that a run of finetune held out are in its folder 'rows'"
            if Path(model).is_file() and kept.is_dir():
                hint = f"{kept} has those that the run held out"
            message = f"{rows.name}: has no rows of the split '{given.split}'"
            raise InputError(message, hint=f"--split all takes all rows; {hint}")
        measured.append(part)
    trained = without_leaks([rows.part("train") for rows in sets], measured) if baseline else []
    for rows in trained:
        if not len(rows):
            raise InputError(f"{rows.name}: has no training rows for the baseline")
    return measured, trained


def _warn_of_training_rows(loaded: Model, task: str, measured: list[LabelledRows]) -> None:
    """Tell how many rows the head was trained on: by the folder of its run, else by the split of a table of its own."""
    from rnafm_cli.function.rows import KEPT_ROWS
    from rnafm_cli.training.labelled_rows import read_sets
    from rnafm_cli.weights.cards import read_card
    from rnafm_cli.weights.store import find

    head = find(loaded.name, component=task, weights_dir=loaded.weights_dir)
    folder, column = head.parent / KEPT_ROWS, "label" if task == "rbp" else "mrl"
    kept = read_sets([folder], column, binary=task == "rbp") if folder.is_dir() else []
    learnt = {sequence for rows in kept for sequence in rows.part("train").sequences}
    own = read_card(head).config.get("proteins" if task == "rbp" else "assays", ())
    held = f"{folder} has those held out, which --split dev measures on"
    for rows in measured:
        count = sum(sequence in learnt for sequence in rows.sequences)
        if not kept and rows.name in own:
            count, held = int((rows.splits == "train").sum()), "those of the split dev were held out"
        if count:
            console.warn(f"{rows.name}: {loaded.name} was trained on {count} of these {len(rows)} rows; {held}")
