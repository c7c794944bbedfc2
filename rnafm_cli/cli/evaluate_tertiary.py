"""``rnafm evaluate contact`` and ``rnafm evaluate distance``: predicted maps measured against known structures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.evaluate_function import ReportFormat
from rnafm_cli.cli.options import OnErrorChoice, Rejections
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from rnafm_cli.rna.bootstrap import Resampling
    from rnafm_cli.rna.chains import Chain
    from rnafm_cli.rna.metrics import Score


CONTACT_EPILOG = "Example: rnafm evaluate contact chains.h5 maps.h5 --format table --plot figures"
DISTANCE_EPILOG = "Example: rnafm evaluate distance structures/ maps.h5 --against other.h5"


@dataclass(frozen=True, kw_only=True)
class Reporting:
    """What predictors are called, and how their scores are told."""

    name: Annotated[str | None, typer.Option(help="What to call PRED.", show_default="file name")] = None
    against_name: Annotated[str | None, typer.Option(help="What to call PRED2.", show_default="file name")] = None
    output: options.Output = Path("-")
    report_format: Annotated[
        ReportFormat, typer.Option("--format", help="One row a metric, one document, or text for people.")
    ] = "tsv"
    per_record: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the scores of every RNA here.")] = None
    plot: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw figures into this folder.")] = None
    plot_format: Annotated[Literal["svg", "png", "pdf"], typer.Option(help="Kind of figures.")] = "svg"
    resamples: Annotated[int, typer.Option(min=100, metavar="N", help="Bootstrap resamples of RNAs.")] = 2000
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, metavar="P", help="Width of the intervals.")] = 0.95
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0
    force: options.Force = False
    quiet: options.Quiet = False
    verbose: options.Verbose = False

    @property
    def how(self) -> Resampling:
        """How intervals are made."""
        from rnafm_cli.rna.bootstrap import Resampling

        return Resampling(resamples=self.resamples, confidence=self.confidence, seed=self.seed)

    def named(self, truth: Path, prediction: Path, against: Path | None) -> dict[str, Path]:
        """Files of predictions by what their predictors are called."""
        if [truth, prediction, against].count(Path("-")) > 1:
            raise UsageError("only one of the inputs can be standard input")
        found: dict[str, Path] = {}
        for path, name in ((prediction, self.name), (against, self.against_name)):
            if path is None:
                continue
            label = name or ("stdin" if str(path) == "-" else path.name.removesuffix(".gz").rsplit(".", 1)[0])
            if label in found:
                hint = "tell them apart by --name and --against-name"
                raise UsageError(f"both predictors are called '{label}'", hint=hint)
            found[label] = path
        return found


@dataclass(frozen=True, kw_only=True)
class Comparing:
    """Which maps are compared with which chains."""

    truth: Annotated[
        Path,
        typer.Argument(metavar="TRUTH", help="Known chains: HDF5, a PDB or mmCIF file, or a folder of such files."),
    ]
    prediction: Annotated[
        Path,
        typer.Argument(
            metavar="PRED", help="Predicted maps, matched by id: HDF5, a table of pairs, or CASP's RR; '-' is stdin."
        ),
    ]
    against: Annotated[
        Path | None, typer.Option(metavar="PRED2", help="Compare with a second predictor, chain by chain.")
    ] = None
    missing: Annotated[
        Literal["error", "skip"], typer.Option(help="Chains without prediction: stop, or leave out.")
    ] = "error"
    on_error: Annotated[
        OnErrorChoice, typer.Option(help="A structure file of TRUTH that cannot be used stops the run, or is left out.")
    ] = "fail"
    baseline: Annotated[
        bool, typer.Option(help="Also score the guess that costs nothing, from ViennaRNA's pair probabilities.")
    ] = True


def contact(
    *,
    job: Comparing,
    min_separation: Annotated[
        int, typer.Option(min=1, metavar="N", help="Only pairs with j - i of at least this; 24 is the long range.")
    ] = 24,
    report: Reporting,
) -> None:
    """Score predicted contacts: precision of the best L/10, L/5, L/2 and L long-range pairs.

    A pair is a contact when the nearest heavy atoms are closer than 8 Å. Chains without a long-range pair are left
    out, those without a contact among theirs count 0; the row 'ceiling' is what a perfect predictor reaches.
    """
    from rnafm_cli.rna.metrics import CONTACT_METRICS, score_contacts

    chains, maps = _read("contact", job, report)
    scores = _scored(chains, maps, partial(score_contacts, least=min_separation))
    left_out = len(chains) - len(next(iter(scores.values())))
    if left_out:
        console.info(f"{left_out} of {len(chains)} chains have no pair at separation {min_separation} or more")
    _report("contact", job, report, scores, CONTACT_METRICS)


def distance(
    *,
    job: Comparing,
    embed3d: Annotated[
        bool,
        typer.Option(
            "--embed3d",
            help="Also lay out one point a residue by the distances: correlation with the known distances, RMSD of the "
            "traces; with --plot a picture of each chain.",
        ),
    ] = False,
    report: Reporting,
) -> None:
    """Score predicted distances: MSE, R2, PMCC and PA of distance / 20, clipped at 20 Å, all pairs, mean over chains.

    PA is the share of pairs whose error is at most 2 Å. --embed3d also lays out one point a residue by the distances:
    a check of how well they fit together, not a structure.
    """
    from rnafm_cli.rna.metrics import DISTANCE_METRICS, score_distances
    from rnafm_cli.structure.traces import TRACE_METRICS

    chains, maps = _read("distance", job, report)
    scores = _scored(chains, maps, score_distances)
    if embed3d:
        _lay_out(chains, maps, scores, report)
    _report("distance", job, report, scores, DISTANCE_METRICS + (TRACE_METRICS if embed3d else ()))


def _lay_out(chains: list[Chain], maps: dict[str, dict], scores: dict[str, list[Score]], report: Reporting) -> None:
    """Add to the scores how well points in space agree, and draw those of the first predictor."""
    from rnafm_cli.io.names import file_stem
    from rnafm_cli.structure.figures import draw_trace
    from rnafm_cli.structure.traces import compare_traces

    known = {chain.id: chain.distance_LL for chain in chains if chain.distance_LL is not None}
    first, folder = next(iter(maps)), figure_folder(report.plot / "traces") if report.plot else None
    for label, by_id in maps.items():
        for score in scores[label]:
            compared = compare_traces(known[score.id], by_id[score.id])
            if compared is not None:
                values, found_KX, known_KX = compared
                score.values.update(values)
                if folder is not None and label == first:
                    path = folder / f"{file_stem(score.id)}.{report.plot_format}"
                    draw_trace(score.id, found_KX, known_KX, path)


def figure_folder(path: Path) -> Path:
    """A folder for figures, made where it is missing."""
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: is no folder")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _read(task: str, job: Comparing, report: Reporting) -> tuple[list[Chain], dict[str, dict]]:
    """Chains that are scored, and for each predictor by name their maps by id."""
    from rnafm_cli.io.maps import read_chains
    from rnafm_cli.structure.map_files import read_maps

    named = report.named(job.truth, job.prediction, job.against)
    chains = read_chains(job.truth, reject=Rejections(job.on_error).reject)
    if task == "distance":
        known = [chain for chain in chains if chain.distance_LL is not None]
        if not known:
            raise InputError(f"{job.truth}: holds contacts, but no distances")
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
            if job.missing == "error":
                raise InputError(f"{lacking}: {shown}", hint="or --missing skip")
            console.warn(f"{lacking}, which are left out: {shown}")
        chains = covered
    if job.baseline and (guesses := _guesses(task, chains)):
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


def _report(
    task: str, job: Comparing, told: Reporting, scores: dict[str, list[Score]], metrics: tuple[str, ...]
) -> None:
    """Write and draw what is asked for."""
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.structure.evaluation import CEILING, ceiling_scores, report_scores, write_report, write_scores
    from rnafm_cli.structure.figures import draw_by_length, draw_scatter

    if not next(iter(scores.values())):
        raise InputError(f"{job.truth}: has no pair to score", hint="lower --min-separation")
    if told.per_record:
        with open_output(told.per_record) as sink:
            write_scores(sink, scores, ("length", "pairs", "contacts", *metrics), decimals=6)
    first_two = {name: scores[name] for name in list(scores)[:2]}
    if told.plot:
        folder = figure_folder(told.plot)
        for metric in metrics:
            suffix = f"{task}_{metric}.{told.plot_format}"
            draw_by_length(first_two, metric, folder / f"length_{suffix}", seed=told.seed)
            if len(first_two) > 1:
                draw_scatter(first_two, metric, folder / f"scatter_{suffix}", seed=told.seed)
    every = dict(scores)
    if task == "contact":
        every[CEILING] = ceiling_scores(next(iter(scores.values())))
    report = report_scores(every, metrics, compared=list(first_two), how=told.how)
    with open_output(told.output) as sink:
        write_report(sink, report, format=told.report_format)
