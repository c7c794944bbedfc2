"""``rnafm evaluate TASK``: predictions measured against the truth."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import Rejections
from rnafm_cli.cli.rbp import Structure
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from rnafm_cli.model import Model
    from rnafm_cli.rna.bootstrap import Resampling
    from rnafm_cli.rna.calibration import Calibration
    from rnafm_cli.rna.chains import Chain
    from rnafm_cli.rna.metrics import Score
    from rnafm_cli.rna.pairs import Pairs
    from rnafm_cli.rna.records import StructureRecord
    from rnafm_cli.training.labelled_rows import LabelledRows

    Scorer = Callable[[LabelledRows], np.ndarray]

app = options.command_group("Measure predictions against the truth.")


@dataclass(frozen=True, kw_only=True)
class Reporting:
    """How figures are told, and their intervals made."""

    output: options.Output = Path("-")
    report_format: Annotated[
        Literal["tsv", "json", "table"],
        typer.Option("--format", help="One row a figure, one document, or text for people."),
    ] = "tsv"
    resamples: Annotated[int, typer.Option(min=0, metavar="N", help="Bootstrap resamples; 0: no intervals.")] = 1000
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, metavar="P", help="Width of the intervals.")] = 0.95
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0

    @property
    def how(self) -> Resampling:
        """How intervals are made."""
        from rnafm_cli.rna.bootstrap import Resampling

        return Resampling(resamples=self.resamples, confidence=self.confidence, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Comparing(Reporting):
    """Which predictions are held against which truth."""

    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="True structures: any format, file or folder.")]
    prediction: Annotated[
        Path, typer.Argument(metavar="PRED", help="Predicted structures of the same RNAs, matched by id; '-' is stdin.")
    ]
    against: Annotated[
        Path | None, typer.Option(metavar="PRED2", help="Compare with a second predictor, RNA by RNA.")
    ] = None
    resamples: Annotated[int, typer.Option(min=100, metavar="N", help="Bootstrap resamples of RNAs.")] = 2000
    name: Annotated[str | None, typer.Option(help="What to call PRED.", show_default="file name")] = None
    against_name: Annotated[str | None, typer.Option(help="What to call PRED2.", show_default="file name")] = None
    per_record: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the scores of every RNA here.")] = None
    plot: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw figures into this folder.")] = None
    plot_format: Annotated[Literal["svg", "png", "pdf"], typer.Option(help="Kind of figures.")] = "svg"
    on_error: options.OnError = "fail"
    force: options.Force = False

    def named(self) -> dict[str, Path]:
        """Files of predictions by what their predictors are called."""
        if [self.truth, self.prediction, self.against].count(Path("-")) > 1:
            raise UsageError("only one of the inputs can be standard input")
        found: dict[str, Path] = {}
        for path, name in ((self.prediction, self.name), (self.against, self.against_name)):
            if path is None:
                continue
            label = name or ("stdin" if str(path) == "-" else path.name.removesuffix(".gz").rsplit(".", 1)[0])
            if label in found:
                hint = "tell them apart by --name and --against-name"
                raise UsageError(f"both predictors are called '{label}'", hint=hint)
            found[label] = path
        return found


@dataclass(frozen=True, kw_only=True)
class Structures(Comparing):
    """The same for secondary structures."""

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


@app.command()
def fold(
    *,
    given: Structures,
    by_family: Annotated[bool, typer.Option("--by-family", help="Also by the truth's families.")] = False,
    probs: Annotated[
        Path | None, typer.Option(metavar="FILE.h5", help="PRED's pair probabilities: measure their calibration.")
    ] = None,
) -> None:
    """Score predicted secondary structures.

    Precision, recall and F1 over base pairs: means over RNAs, exact and with one base's slack, pooled over all pairs,
    for pseudoknotted pairs alone, and by length, all with bootstrap intervals. Every pair of the truth counts.

    Example: rnafm fold seqs.fa | rnafm evaluate fold truth.tsv - --format table
    """
    from rnafm_cli.io.columns import TABLES
    from rnafm_cli.structure.evaluation import METRICS

    rejections = Rejections(given.on_error)
    truth, scores = _compared(given, rejections)
    if by_family and not any(record.family for record in truth):
        raise InputError(
            f"{given.truth}: names no families", hint="only the TSV format has them, in the column 'family'"
        )
    _report(
        given,
        scores,
        METRICS,
        list(TABLES["evaluate fold --per-record"])[2:],
        {"f1": ("f1_by_length", "f1_scatter")},
        by_family=by_family,
        calibration=_calibration(probs, truth, given.how) if probs else None,
    )
    rejections.finish()


def _compared(given: Structures, rejections: Rejections) -> tuple[list[StructureRecord], dict[str, list[Score]]]:
    """The structures that are scored, and the scores of each predictor; says what had no counterpart."""
    from rnafm_cli.io.structures import read_structures
    from rnafm_cli.structure.evaluation import compare, index_records, match_of

    named = given.named()
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


def _calibration(path: Path, truth: list[StructureRecord], how: Resampling) -> Calibration:
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

    found = calibrate(known(), how)
    if absent:
        console.warn(f"{path}: {len(absent)} RNAs have no probabilities, '{absent[0]}' for one; calibration is without")
    return found


@dataclass(frozen=True, kw_only=True)
class ComparingMaps(Comparing):
    """The same for maps of contacts and distances."""

    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="Known chains: HDF5, PDB, mmCIF, or a folder of them.")]
    prediction: Annotated[
        Path,
        typer.Argument(metavar="PRED", help="Maps, matched by id: HDF5, a table of pairs, or CASP's RR; '-' is stdin."),
    ]
    missing: Annotated[
        Literal["error", "skip"], typer.Option(help="Chains without prediction: stop, or leave out.")
    ] = "error"
    baseline: Annotated[
        bool, typer.Option(help="Also score the guess that costs nothing, from ViennaRNA's pair probabilities.")
    ] = True


@app.command()
def contact(
    *,
    given: ComparingMaps,
    min_separation: Annotated[
        int, typer.Option(min=1, metavar="N", help="Only pairs with j - i of at least this; 24 is the long range.")
    ] = 24,
) -> None:
    """Score predicted contacts: precision of the best L/10, L/5, L/2 and L long-range pairs.

    A pair is a contact when the nearest heavy atoms are closer than 8 Å. Chains without a long-range pair are left
    out, those without a contact among theirs count 0; the row 'ceiling' is what a perfect predictor reaches.

    Example: rnafm evaluate contact chains.h5 maps.h5 --format table --plot figures
    """
    from rnafm_cli.rna.metrics import CONTACT_METRICS, score_contacts

    chains, maps = _read("contact", given)
    scores = _scored(chains, maps, partial(score_contacts, least=min_separation))
    left_out = len(chains) - len(next(iter(scores.values())))
    if left_out:
        console.info(f"{left_out} of {len(chains)} chains have no pair at separation {min_separation} or more")
    _report_maps("contact", given, scores, CONTACT_METRICS)


@app.command()
def distance(
    *,
    given: ComparingMaps,
    embed3d: Annotated[
        bool,
        typer.Option(
            "--embed3d", help="Also one point a residue by the distances: correlation, RMSD, --plot pictures."
        ),
    ] = False,
) -> None:
    """Score predicted distances: MSE, R2, PMCC and PA of distance / 20, clipped at 20 Å, all pairs, mean over chains.

    PA is the share of pairs whose error is at most 2 Å. --embed3d also lays out one point a residue by the distances:
    a check of how well they fit together, not a structure.

    Example: rnafm evaluate distance structures/ maps.h5 --against other.h5
    """
    from rnafm_cli.rna.metrics import DISTANCE_METRICS, score_distances
    from rnafm_cli.structure.traces import TRACE_METRICS

    chains, maps = _read("distance", given)
    scores = _scored(chains, maps, score_distances)
    if embed3d:
        _lay_out(chains, maps, scores, given)
    _report_maps("distance", given, scores, DISTANCE_METRICS + (TRACE_METRICS if embed3d else ()))


def _lay_out(chains: list[Chain], maps: dict[str, dict], scores: dict[str, list[Score]], given: ComparingMaps) -> None:
    """Add to the scores how well points in space agree, and draw those of the first predictor."""
    from rnafm_cli.io.names import file_stem
    from rnafm_cli.structure.figures import draw_trace
    from rnafm_cli.structure.traces import compare_traces

    known = {chain.id: chain.distance_LL for chain in chains if chain.distance_LL is not None}
    first, folder = next(iter(maps)), _figure_folder(given.plot / "traces") if given.plot else None
    for label, by_id in maps.items():
        for score in scores[label]:
            compared = compare_traces(known[score.id], by_id[score.id])
            if compared is not None:
                values, found_KX, known_KX = compared
                score.values.update(values)
                if folder is not None and label == first:
                    path = folder / f"{file_stem(score.id)}.{given.plot_format}"
                    draw_trace(score.id, found_KX, known_KX, path)


def _read(task: str, given: ComparingMaps) -> tuple[list[Chain], dict[str, dict]]:
    """Chains that are scored, and for each predictor by name their maps by id."""
    from rnafm_cli.io.maps import read_chains
    from rnafm_cli.structure.map_files import read_maps

    named = given.named()
    chains = read_chains(given.truth, reject=Rejections(given.on_error).reject)
    if task == "distance":
        known = [chain for chain in chains if chain.distance_LL is not None]
        if not known:
            raise InputError(f"{given.truth}: holds contacts, but no distances")
        if len(known) < len(chains):
            console.info(f"{len(chains) - len(known)} of {len(chains)} chains have no distances and are left out")
        chains = known
    maps: dict[str, dict] = {}
    for label, path in named.items():
        maps[label] = read_maps(path, chains, task)
        covered = [chain for chain in chains if chain.id in maps[label]]
        if not covered:
            raise InputError(f"{label}: holds none of the chains of the truth", hint="they are matched by id")
        if absent := [chain.id for chain in chains if chain.id not in maps[label]]:
            lacking = f"{label}: lacks {len(absent)} of {len(chains)} chains"
            shown = ", ".join(absent[:3]) + (" ..." if len(absent) > 3 else "")
            if given.missing == "error":
                raise InputError(f"{lacking}: {shown}", hint="or --missing skip")
            console.warn(f"{lacking}, which are left out: {shown}")
        chains = covered
    if given.baseline and (guesses := _guesses(task, chains)):
        maps["baseline"] = guesses
    return chains, maps


def _scored(chains: list[Chain], maps: dict[str, dict], score: Callable[..., Score | None]) -> dict[str, list[Score]]:
    """For each predictor its scores, chains without one left out."""
    return {
        label: [found for chain in chains if (found := score(chain, by_id[chain.id])) is not None]
        for label, by_id in maps.items()
    }


def _guesses(task: str, chains: list[Chain]) -> dict:
    from rnafm_cli.rna import thermo
    from rnafm_cli.structure.baselines import distance_guesses, spread_probabilities
    from rnafm_cli.structure.chain_folds import folds_of

    if not thermo.available():
        console.warn("no baseline: it needs ViennaRNA's Python package")
        return {}
    priors = []
    with console.progress(len(chains), "baseline of", "chains") as bar:
        for chain in chains:
            priors.append(thermo.pair_probabilities(chain.sequence))
            bar.advance()
    if task == "contact":
        return {chain.id: spread_probabilities(p_LL) for chain, p_LL in zip(chains, priors, strict=True)}
    try:
        return distance_guesses(chains, priors, folds_of(chains)[0])
    except InputError as error:
        console.info(f"no baseline: {error.message}")
        return {}


def _report_maps(task: str, given: ComparingMaps, scores: dict[str, list[Score]], metrics: tuple[str, ...]) -> None:
    if not next(iter(scores.values())):
        raise InputError(f"{given.truth}: has no pair to score", hint="lower --min-separation")
    columns = ("length", "pairs", "contacts", *metrics)
    drawn = {metric: (f"length_{task}_{metric}", f"scatter_{task}_{metric}") for metric in metrics}
    _report(given, scores, metrics, columns, drawn, decimals=6, ceiling=task == "contact")


def _report(
    given: Comparing,
    scores: dict[str, list[Score]],
    metrics: Sequence[str],
    columns: Sequence[str],
    drawn: Mapping[str, tuple[str, str]],
    *,
    decimals: int | None = None,
    by_family: bool = False,
    calibration: Calibration | None = None,
    ceiling: bool = False,
) -> None:
    """Write and draw what is asked for.

    Args:
        scores: the first two predictors are compared.
        columns: of the scores of every RNA, which are written with so many decimals.
        drawn: metrics with the names of their figures, by length and one predictor against the other.
        ceiling: whether to tell what a perfect predictor reaches.
    """
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.structure import evaluation
    from rnafm_cli.structure.figures import draw_by_length, draw_calibration, draw_scatter

    two = {name: scores[name] for name in list(scores)[:2]}
    every = dict(scores)
    if ceiling:
        every[evaluation.CEILING] = evaluation.ceiling_scores(next(iter(scores.values())))
    report = evaluation.report_scores(every, metrics, compared=list(two), by_family=by_family, how=given.how)
    if given.per_record:
        with open_output(given.per_record) as sink:
            evaluation.write_scores(sink, scores, columns, decimals=decimals)
    if given.plot:
        folder, kind = _figure_folder(given.plot), given.plot_format
        for metric, (by_length, scatter) in drawn.items():
            draw_by_length(two, metric, folder / f"{by_length}.{kind}", seed=given.seed)
            if len(two) > 1:
                draw_scatter(two, metric, folder / f"{scatter}.{kind}", seed=given.seed)
        if calibration is not None:
            draw_calibration(calibration, folder / f"calibration.{kind}", name=next(iter(scores)))
            with open_output(folder / "calibration.tsv") as sink:
                evaluation.write_calibration(sink, calibration)
    with open_output(given.output) as sink:
        evaluation.write_report(sink, report, format=given.report_format, calibration=calibration)


def _figure_folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: is no folder")
    path.mkdir(parents=True, exist_ok=True)
    return path


_TABLES = "Tables with the columns of the training data, named by protein or assay; or folders."


@dataclass(frozen=True, kw_only=True)
class Measuring(Reporting):
    """Which heads are measured on which rows."""

    tables: Annotated[list[Path], typer.Argument(metavar="TABLE...", help=_TABLES)]
    predictions: Annotated[
        Path | None, typer.Option(metavar="TSV", help="Measure this output instead of a model; matched by 'id'.")
    ] = None
    against: Annotated[
        list[str] | None, typer.Option(metavar="NAME|FILE", help="Another head to measure, too; may be repeated.")
    ] = None
    split: Annotated[str, typer.Option(metavar="NAME", help="Rows to measure on; 'all' for all of them.")] = "dev"


@app.command()
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

    Example: rnafm evaluate rbp rbp/*.tsv.gz --baseline --format table
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


@app.command()
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

    Example: rnafm evaluate mrl mrl/*.tsv.gz --baseline --against runs/onehot/best.safetensors
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
    from rnafm_cli.function import evaluate as measuring
    from rnafm_cli.io.columns import TABLES
    from rnafm_cli.io.streams import open_output

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
    if binding:
        table = measuring.binding_table(scores, measured, given.how, probabilities=calibrated)
    else:
        table = measuring.ribosome_load_table(scores, measured, given.how)
    columns, kind = tuple(TABLES[f"evaluate {task}"]), given.report_format
    with open_output(given.output) as sink:
        measuring.write_figures(sink, table, columns, format=kind, split=given.split, **dataclasses.asdict(given.how))


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


@app.command()
def encoder(
    corpus: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Prepared corpus: masked-token loss on what it holds out.")
    ] = None,
    atlas: Annotated[
        Path | None, typer.Option(metavar="FASTA", help="Records with type=: nearest-neighbour transfer.")
    ] = None,
    probe: Annotated[
        Path | None, typer.Option(metavar="TSV", help="Columns sequence, label, split: linear probe.")
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
    *,
    run: options.Running,
) -> None:
    """Judge an encoder: masked-token loss, transfer of RNA type, linear probe; baselines beside each.

    Writes one JSON document. What is computed depends on the data given: --corpus, --atlas, --probe.

    Example: rnafm evaluate encoder --model rnafm-mini --corpus corpus --atlas atlas_labelled.fa.gz
    """
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.pretrain.report import held_out_figures, probe_figures, transfer_figures

    if corpus is None and atlas is None and probe is None:
        raise UsageError("nothing to evaluate on", hint="give --corpus, --atlas or --probe")
    loaded = run.load()
    loaded.check_nucleotides()
    figures: dict[str, object] = {"model": loaded.encoder_card.name, "sha256": loaded.encoder_card.weights_sha256}
    with console.stages() as progress:
        how: dict[str, Any] = {"report": console.info, "progress": progress}
        if corpus is not None:
            figures["held_out"] = held_out_figures(loaded, corpus, sequences=sequences, crop=crop, seed=seed, **how)
        how["batch_tokens"] = run.batch_tokens
        if atlas is not None:
            figures["knn_transfer"] = transfer_figures(loaded, atlas, per_type=per_type, seed=seed, **how)
        if probe is not None:
            figures["linear_probe"] = probe_figures(loaded, probe, **how)
    with open_output(output) as out:
        out.write(json.dumps(figures, indent=1) + "\n")
