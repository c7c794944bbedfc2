"""``rnafm finetune TASK``: a head, or head and encoder, from labelled data."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import OnErrorChoice, Rejections
from rnafm_cli.errors import UsageError

if TYPE_CHECKING:
    from rnafm_cli.structure.cross_validation import TertiaryOutcome
    from rnafm_cli.training.trainer import Outcome


@dataclass(frozen=True, kw_only=True)
class Training:
    """What every run is given."""

    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the run.")]
    recipe: Annotated[Path | None, typer.Option(metavar="TOML", help="Recipe; the defaults without it.")] = None
    model: options.ModelName = "rnafm-mini"
    encoder: Annotated[
        Literal["frozen", "full", "none"] | None,
        typer.Option(
            help="Frozen, trained too, or a head without embeddings.",
            show_default="the recipe's run.encoder, frozen if it has none",
        ),
    ] = None
    init_from: Annotated[
        str | None, typer.Option(metavar="NAME|HEAD", help="Start from the weights of this model's head, or head file.")
    ] = None
    overrides: options.Overrides = None
    max_minutes: options.MaxMinutes = None
    name: Annotated[
        str | None, typer.Option(help="Name of the model in its card.", show_default="that of the task")
    ] = None
    threads: options.Threads = None
    weights_dir: options.WeightsDir = None

    @property
    def asked(self) -> dict[str, Any]:
        """What a run takes of it as it is."""
        return {key: getattr(self, key) for key in ("output", "init_from", "max_minutes", "weights_dir")}

    @property
    def with_encoder(self) -> list[str]:
        """The overrides of the recipe, --encoder among them where it was given."""
        encoder = [] if self.encoder in (None, "none") else [f'run.encoder="{self.encoder}"']
        return [*(self.overrides or ()), *encoder]


@dataclass(frozen=True, kw_only=True)
class PairTraining(Training):
    """What runs are given that learn from structures."""

    prior: Annotated[bool, typer.Option(help="Let ViennaRNA's pair probabilities guide the head.")] = True
    prior_cache: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File of pair probabilities to use and complete.")
    ] = None
    on_error: Annotated[
        OnErrorChoice,
        typer.Option(help="A structure that cannot be used stops the run, or is left out with a warning."),
    ] = "fail"

    @property
    def asked(self) -> dict[str, Any]:
        return super().asked | {"prior": self.prior, "prior_cache": self.prior_cache}


@dataclass(frozen=True, kw_only=True)
class ChainTraining(PairTraining):
    """The same where the head alone is trained."""

    encoder: Annotated[Literal["frozen", "none"], typer.Option(help="Frozen, or a head without embeddings.")] = "none"


_TABLE_ENDING = """
    The folder receives a checkpoint every few minutes (also on Ctrl-C and SIGTERM; the same command goes on from it),
    metrics.csv, scores.csv and, as the best measured so far, best.safetensors with its card.
"""
RBP_HELP = f"""Train a head that predicts which proteins bind, one model for all tables.

    A table has the columns sequence, label (1 bound, 0 not) and split (train, dev); without the last, a tenth of the
    rows is held out, near-copies together. Training rows that share a 30-mer with a development row are left out.
{_TABLE_ENDING}"""
MRL_HELP = f"""Train a head that predicts mean ribosome load, one ensemble for all assays.

    A table has the columns sequence (up to the base before the start codon), mrl and split (train, dev); without the
    last, a tenth of the rows is held out, near-copies together. Each assay is standardised and has its own output.
{_TABLE_ENDING}"""


def tables(
    ctx: typer.Context,
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="TABLE...", help="Tables, or folders of them, a protein or an assay each, named by it."),
    ],
    *,
    given: Training,
) -> None:
    """``rbp`` and ``mrl``, told apart by the name of the command."""
    from rnafm_cli.function.run import run_function
    from rnafm_cli.training.recipes import BindingRecipe, MrlRecipe, load_recipe
    from rnafm_cli.training.trainer import HeadRun

    task = ctx.command.name or ""
    chosen = load_recipe(BindingRecipe if task == "rbp" else MrlRecipe, given.recipe, given.with_encoder)
    with _running(given, task) as asked:
        outcome = run_function(HeadRun(**asked), tables, chosen)
    _tell(outcome, "mean AUPRC" if task == "rbp" else "mean R2")


@contextmanager
def _running(given: Training, task: str) -> Iterator[dict[str, Any]]:
    """A run for the time of a ``with`` block, which gets what was asked for; a signal tells how to go on."""
    folder = given.output
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is no folder")
    if given.threads is not None:
        import torch

        torch.set_num_threads(given.threads)
    received = signal.SIGINT

    def terminate(number: int, frame: Any) -> None:
        # Outside the steps of training, as while pair probabilities are computed.
        nonlocal received
        received = signal.SIGTERM
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        with console.stages() as progress:
            model = None if given.encoder == "none" else given.model
            yield given.asked | {
                "name": given.name or task,
                "model": model,
                "report": console.info,
                "progress": progress,
            }
    except KeyboardInterrupt:
        console.info(f"stopped, what was done is kept in {folder}: run the same command again to go on from here")
        raise typer.Exit(128 + received) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(outcome: Outcome, measure: str) -> None:
    best = f"best {measure} {outcome.best_score:.4f}: {outcome.best_file}"
    where = f" at step {outcome.step}" + (", as the score no longer rose" if outcome.early else "")
    _end(outcome, outcome.best_file.parent, where, f"; {best}")


def _end(outcome: Outcome | TertiaryOutcome, folder: Path, where: str, found: str) -> None:
    """Tell what came out, or how to go on; a run that a signal ended has that signal's exit code."""
    if outcome.finished:
        console.info(f"finished{where}{found}")
        return
    console.info(f"stopped{where}, all is saved in {folder}: run the same command again to go on from here")
    if outcome.signal is not None:
        raise typer.Exit(128 + outcome.signal)


def _tell_left_out(rejections: Rejections) -> None:
    if count := rejections.skipped:
        console.warn(f"{count} structure{'s' if count > 1 else ''} or chains left out")


CONTACT_HELP = """Train a head that predicts which bases are in contact and how far apart, from known 3D structures.

    First the free guess is scored, then heads are cross-validated over folds that keep like chains together, then the
    head to keep is trained on all chains: final/head.safetensors. The folder also receives table.tsv, held_out.h5 (maps
    of chains by heads that have not seen them) and a checkpoint; the same command goes on from it.
"""
DISTANCE_HELP = """Train a head that predicts distances between bases, and contacts: as 'rnafm finetune contact' does.

    Chains of which only contacts are known help the training.
"""


def chains(
    chains: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.h5", help="Known chains in HDF5, with distances or contacts; repeatable."),
    ] = None,
    structures: Annotated[
        list[Path] | None,
        typer.Option("--pdb", metavar="DIR|FILE", help="PDB or mmCIF files, or folders of them; repeatable."),
    ] = None,
    families: Annotated[
        list[str] | None,
        typer.Option(metavar="LIB", help="Family library to learn from, without rows close to the chains; repeatable."),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            metavar="0,1,..", help="Hold out these folds alone; several processes may share a run.", show_default="all"
        ),
    ] = None,
    *,
    given: ChainTraining,
) -> None:
    """``contact`` and ``distance``: one head tells both."""
    from rnafm_cli.structure.cross_validation import run_tertiary
    from rnafm_cli.structure.fold_task import PairRun
    from rnafm_cli.training.recipes import TertiaryRecipe, load_recipe

    files = [*(chains or ()), *(structures or ())]
    if not files:
        raise UsageError("nothing to train on", hint="give --chains FILE.h5 or --pdb DIR")
    try:
        held_out = [int(fold) for fold in folds.split(",")] if folds else []
    except ValueError as error:
        raise UsageError(f"--folds {folds}: are no numbers", hint="write them as 0,1,2") from error
    rejections = Rejections(given.on_error)
    recipe = load_recipe(TertiaryRecipe, given.recipe, given.overrides)
    with _running(given, "contact") as asked:
        run, reject = PairRun(**asked), rejections.reject
        outcome = run_tertiary(run, recipe, files, reject=reject, families=families or (), folds=held_out)
    _tell_left_out(rejections)
    _end(outcome, given.output, "", "" if outcome.head is None else f": {outcome.head}")


app = options.command_group("Train a head, or head and encoder, on your own labelled data.")
for command, text, how, example in (
    (chains, CONTACT_HELP, "contact", "contact --pdb structures/ -o runs/contact --recipe configs/contact-mini.toml"),
    (chains, DISTANCE_HELP, "distance", "distance --chains mine.h5 -o runs/distance --init-from rnafm-mini"),
    (tables, RBP_HELP, "rbp", "rbp mine.tsv -o runs/rbp --recipe configs/rbp-mini.toml"),
    (tables, MRL_HELP, "mrl", "mrl mine.tsv -o runs/mrl --recipe configs/mrl-mini.toml"),
):
    app.command(how, help=text, epilog=f"Example: rnafm finetune {example}")(command)


@app.command(epilog="Example: rnafm finetune fold mine.tsv -o runs/fold --recipe configs/fold-mini.toml")
def fold(
    train: Annotated[
        list[Path], typer.Argument(metavar="STRUCTURES...", help="Known structures in any format, files or folders.")
    ],
    dev: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Development structures; without any, a share of the clusters is held out."),
    ] = None,
    partner: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Training file published with the development file: not filtered by it."),
    ] = None,
    families: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Measure on this file's rows of the held-out families too.")
    ] = None,
    seeds: Annotated[
        Path | None,
        typer.Option(metavar="STOCKHOLM", help="Family alignments: learn to fold by what is known of families."),
    ] = None,
    device: options.Device = "auto",
    *,
    given: PairTraining,
) -> None:
    """Train a pair head that predicts secondary structure.

    Without optim.steps in the recipe, the number of RNAs decides how long: some 30 rounds over all of them, and the run
    ends when four measurements in a row bring nothing better.

    The folder of the run receives a checkpoint every few minutes (also on Ctrl-C and SIGTERM; the same command goes
    on from it), metrics.csv, scores.csv and, as the best measured so far, best.safetensors with its card.
    """
    from rnafm_cli.encoder.runtime import Runtime
    from rnafm_cli.structure.fold_task import PairRun, run_fold
    from rnafm_cli.training.recipes import FoldRecipe, load_recipe

    recipe = load_recipe(FoldRecipe, given.recipe, given.with_encoder)
    where = str(Runtime.create(device, threads=given.threads).device)
    rejections = Rejections(given.on_error)
    with _running(given, "fold") as asked:
        outcome = run_fold(
            PairRun(**asked),
            recipe,
            train,
            partners=partner or (),
            dev=dev or (),
            families=families,
            seeds=seeds,
            device=where,
            reject=rejections.reject if rejections.skips else None,
        )
    _tell_left_out(rejections)
    _tell(outcome, "mean F1")
