"""``rnafm evaluate contact`` and ``rnafm evaluate distance``: predicted maps measured against known structures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.evaluate_function import ReportFormat
from rnafm_cli.cli.options import OnErrorChoice, Rejections
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from rnafm_cli.rna.chains import Chain
    from rnafm_cli.rna.metrics import MapScore


CONTACT_EPILOG = "Example: rnafm evaluate contact chains.h5 maps.h5 --format table --plot figures"
DISTANCE_EPILOG = "Example: rnafm evaluate distance structures/ maps.h5 --against other.h5"
BASELINE = "baseline"


MissingMap = Literal["error", "skip"]
PictureChoice = Literal["svg", "png", "pdf"]


Known = Annotated[
    Path, typer.Argument(metavar="TRUTH", help="Known chains: HDF5, a PDB or mmCIF file, or a folder of such files.")
]
Predicted = Annotated[
    Path,
    typer.Argument(
        metavar="PRED", help="Predicted maps, matched by id: HDF5, a table of pairs, or CASP's RR; '-' is stdin."
    ),
]
Against = Annotated[
    Path | None, typer.Option("--against", metavar="PRED2", help="Compare with a second predictor, chain by chain.")
]
Name = Annotated[str | None, typer.Option("--name", help="What to call PRED.", show_default="file name")]
AgainstName = Annotated[
    str | None, typer.Option("--against-name", help="What to call PRED2.", show_default="file name")
]
Format = Annotated[ReportFormat, typer.Option("--format", help="One row a metric, one document, or text for people.")]
PerChain = Annotated[
    Path | None, typer.Option("--per-record", metavar="FILE", help="Write the scores of every chain here.")
]
Figures = Annotated[Path | None, typer.Option("--plot", metavar="DIR", help="Draw figures into this folder.")]
FigureFormat = Annotated[PictureChoice, typer.Option("--plot-format", help="Kind of figures.")]
Missing = Annotated[MissingMap, typer.Option("--missing", help="Chains without prediction: stop, or leave out.")]
OnBadStructure = Annotated[
    OnErrorChoice,
    typer.Option("--on-error", help="A structure file of TRUTH that cannot be used stops the run, or is left out."),
]
Baseline = Annotated[
    bool,
    typer.Option(
        "--baseline/--no-baseline", help="Also score the guess that costs nothing, from ViennaRNA's pair probabilities."
    ),
]
Resamples = Annotated[int, typer.Option(min=100, metavar="N", help="Bootstrap resamples of chains.")]
Confidence = Annotated[float, typer.Option(min=0.5, max=0.999, metavar="P", help="Width of the intervals.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the resamples.")]


Embed3d = Annotated[
    bool,
    typer.Option(
        "--embed3d",
        help="Also lay out one point a residue by the distances: correlation with the known distances, RMSD of the "
        "traces; with --plot a picture of each chain.",
    ),
]


def contact(
    truth: Known,
    prediction: Predicted,
    against: Against = None,
    name: Name = None,
    against_name: AgainstName = None,
    output: options.Output = Path("-"),
    report_format: Format = "tsv",
    min_separation: Annotated[
        int, typer.Option(min=1, metavar="N", help="Only pairs with j - i of at least this; 24 is the long range.")
    ] = 24,
    per_record: PerChain = None,
    plot: Figures = None,
    plot_format: FigureFormat = "svg",
    missing: Missing = "error",
    on_error: OnBadStructure = "fail",
    baseline: Baseline = True,
    resamples: Resamples = 2000,
    confidence: Confidence = 0.95,
    seed: Seed = 0,
    force: options.Force = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Score predicted contacts: precision of the best L/10, L/5, L/2 and L long-range pairs.

    A pair is a contact when the nearest heavy atoms are closer than 8 Å. Chains without a long-range pair are left
    out, those without a contact among theirs count 0; the row 'ceiling' is what a perfect predictor reaches.
    """
    from rnafm_cli.rna.metrics import score_contacts

    job = _Job("contact", truth, output, report_format, per_record, plot, plot_format, resamples, confidence, seed)
    chains, maps = _read(job, [(prediction, name), (against, against_name)], missing, on_error, baseline)
    scores: dict[str, list[MapScore]] = {}
    for label, by_id in maps.items():
        found = [score_contacts(chain, by_id[chain.id], least=min_separation) for chain in chains]
        scores[label] = [score for score in found if score is not None]
    left_out = len(chains) - len(next(iter(scores.values())))
    if left_out:
        console.info(f"{left_out} of {len(chains)} chains have no pair at separation {min_separation} or more")
    _report(job, scores)


def distance(
    truth: Known,
    prediction: Predicted,
    against: Against = None,
    name: Name = None,
    against_name: AgainstName = None,
    embed3d: Embed3d = False,
    output: options.Output = Path("-"),
    report_format: Format = "tsv",
    per_record: PerChain = None,
    plot: Figures = None,
    plot_format: FigureFormat = "svg",
    missing: Missing = "error",
    on_error: OnBadStructure = "fail",
    baseline: Baseline = True,
    resamples: Resamples = 2000,
    confidence: Confidence = 0.95,
    seed: Seed = 0,
    force: options.Force = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Score predicted distances: MSE, R2, PMCC and PA of distance / 20, clipped at 20 Å, all pairs, mean over chains.

    PA is the share of pairs whose error is at most 2 Å. --embed3d also lays out one point a residue by the distances:
    a check of how well they fit together, not a structure.
    """
    from dataclasses import replace

    from rnafm_cli.rna.metrics import score_distances

    job = _Job("distance", truth, output, report_format, per_record, plot, plot_format, resamples, confidence, seed)
    chains, maps = _read(job, [(prediction, name), (against, against_name)], missing, on_error, baseline)
    scores: dict[str, list[MapScore]] = {}
    for label, by_id in maps.items():
        found = [score_distances(chain, by_id[chain.id]) for chain in chains]
        scores[label] = [score for score in found if score is not None]
    if embed3d:
        from rnafm_cli.structure.traces import compare_traces

        known = {chain.id: chain for chain in chains}
        for number, (label, by_id) in enumerate(maps.items()):
            for k, score in enumerate(scores[label]):
                compared = compare_traces(known[score.id], by_id[score.id])
                if compared is not None:
                    values, found_LX, known_LX = compared
                    scores[label][k] = replace(score, values=score.values | values)
                    if job.plot is not None and number == 0:
                        _draw_trace(job, score.id, found_LX, known_LX)
    _report(job, scores, traces=embed3d)


def _draw_trace(job: _Job, name: str, found_LX: Any, known_LX: Any) -> None:
    from rnafm_cli.io.names import file_stem
    from rnafm_cli.structure.figures import draw_trace

    assert job.plot is not None
    folder = job.plot / "traces"
    folder.mkdir(parents=True, exist_ok=True)
    draw_trace(name, found_LX, known_LX, folder / f"{file_stem(name)}.{job.plot_format}")


@dataclass(frozen=True)
class _Job:
    task: str
    truth: Path
    output: Path
    format: ReportFormat
    per_record: Path | None
    plot: Path | None
    plot_format: PictureChoice
    resamples: int
    confidence: float
    seed: int


def _read(
    job: _Job,
    predictions: list[tuple[Path | None, str | None]],
    missing: MissingMap,
    on_error: OnErrorChoice,
    baseline: bool,
) -> tuple[list[Chain], dict[str, dict]]:
    """Chains that are scored, and for each predictor by name their maps by id."""
    from rnafm_cli.io.maps import read_chains
    from rnafm_cli.structure.map_files import read_maps

    chains = read_chains(job.truth, reject=Rejections(on_error).reject)
    if job.task == "distance":
        known = [chain for chain in chains if chain.distance_LL is not None]
        if not known:
            raise InputError(f"{job.truth}: holds contacts, but no distances")
        if len(known) < len(chains):
            console.info(f"{len(chains) - len(known)} of {len(chains)} chains have no distances and are left out")
        chains = known
    paths = [(path, name) for path, name in predictions if path is not None]
    if [path for path, _ in paths].count(Path("-")) > 1:
        raise UsageError("only one of the inputs can be standard input")
    maps: dict[str, dict] = {}
    for path, name in paths:
        label = name or ("stdin" if str(path) == "-" else path.name.removesuffix(".gz").rsplit(".", 1)[0])
        if label in maps:
            raise UsageError(
                f"both predictors are called '{label}'", hint="tell them apart by --name and --against-name"
            )
        maps[label] = read_maps(path, chains, job.task)
        chains = _covered(chains, maps[label], label, missing)
    if baseline and (guesses := _guesses(job.task, chains)):
        maps[BASELINE] = guesses
    return chains, maps


def _covered(chains: list[Chain], maps: dict, label: str, missing: MissingMap) -> list[Chain]:
    """The chains that a predictor has maps of."""
    covered = [chain for chain in chains if chain.id in maps]
    absent = [chain.id for chain in chains if chain.id not in maps]
    if not covered:
        raise InputError(f"{label}: holds none of the chains of the truth", hint="they are matched by id")
    if absent:
        shown = ", ".join(absent[:3]) + (" ..." if len(absent) > 3 else "")
        if missing == "error":
            raise InputError(f"{label}: lacks {len(absent)} of {len(chains)} chains: {shown}", hint="or --missing skip")
        console.warn(f"{label}: lacks {len(absent)} of {len(chains)} chains, which are left out: {shown}")
    return covered


def _guesses(task: str, chains: list[Chain]) -> dict:
    from rnafm_cli.rna import thermo
    from rnafm_cli.structure.baselines import contact_guesses, distance_guesses

    if not thermo.available():
        console.warn("no baseline: it needs ViennaRNA's Python package")
        return {}
    if task == "contact":
        return contact_guesses(chains)
    try:
        return distance_guesses(chains)
    except InputError as error:
        console.info(f"no baseline: {error.message}")
        return {}


def _report(job: _Job, scores: dict[str, list[MapScore]], *, traces: bool = False) -> None:
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.rna.metrics import CONTACT_METRICS, DISTANCE_METRICS
    from rnafm_cli.structure.evaluation import CEILING, ceiling_scores, report_scores, write_map_scores, write_report

    predictors = list(scores)
    if not scores[predictors[0]]:
        raise InputError(f"{job.truth}: has no pair to score", hint="lower --min-separation")
    metrics: tuple[str, ...] = CONTACT_METRICS if job.task == "contact" else DISTANCE_METRICS
    if traces:
        from rnafm_cli.structure.traces import TRACE_METRICS

        metrics += TRACE_METRICS
    if job.per_record:
        with open_output(job.per_record) as sink:
            write_map_scores(sink, scores, metrics)
    if job.plot:
        _draw(job, {name: scores[name] for name in predictors[:2]}, metrics)
    every = dict(scores)
    if job.task == "contact":
        every[CEILING] = ceiling_scores(scores[predictors[0]])
    report = report_scores(
        every, metrics, compared=predictors[:2], seed=job.seed, resamples=job.resamples, confidence=job.confidence
    )
    with open_output(job.output) as sink:
        write_report(sink, report, format=job.format)


def _draw(job: _Job, scores: dict[str, list[MapScore]], metrics: tuple[str, ...]) -> None:
    """Each metric by length, and the predictors against each other."""
    from rnafm_cli.structure.figures import draw_by_length, draw_scatter

    assert job.plot is not None
    if job.plot.exists() and not job.plot.is_dir():
        raise UsageError(f"{job.plot}: is no folder")
    job.plot.mkdir(parents=True, exist_ok=True)
    for metric in metrics:
        suffix = f"{job.task}_{metric}.{job.plot_format}"
        draw_by_length(scores, metric, job.plot / f"length_{suffix}", seed=job.seed)
        if len(scores) > 1:
            draw_scatter(scores, metric, job.plot / f"scatter_{suffix}", seed=job.seed)
