"""``rnafm finetune TASK``: a head, or head and encoder, from labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnafm_cli.cli import console, finetune_function, finetune_tertiary, options
from rnafm_cli.cli.finetune_function import EncoderChoice, EncoderUse, with_encoder

__all__ = ["app"]

app = typer.Typer(
    help="Train a head, or head and encoder, on your own labelled data.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def finetune() -> None:
    """Keep ``fold`` a subcommand while it is the only one."""


app.command("contact", epilog=finetune_tertiary.CONTACT_EPILOG)(finetune_tertiary.contact)
app.command("distance", epilog=finetune_tertiary.DISTANCE_EPILOG)(finetune_tertiary.distance)
app.command("rbp", epilog=finetune_function.RBP_EPILOG)(finetune_function.rbp)
app.command("mrl", epilog=finetune_function.MRL_EPILOG)(finetune_function.mrl)


@app.command(
    epilog="Example: rnafm finetune fold mine.tsv -o runs/fold --recipe configs/fold-mini.toml",
)
def fold(
    train: Annotated[
        list[Path],
        typer.Argument(metavar="STRUCTURES...", help="Known structures: TSV, dot-bracket, CT, BPSEQ, folders."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the run.")],
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="TOML", help="Recipe; the defaults without it.")
    ] = None,
    dev: Annotated[
        list[Path] | None,
        typer.Option(
            "--dev", metavar="FILE", help="Development structures; without any, a share of the clusters is held out."
        ),
    ] = None,
    partner: Annotated[
        list[Path] | None,
        typer.Option(
            "--partner", metavar="FILE", help="Training file published with the development file: not filtered by it."
        ),
    ] = None,
    families: Annotated[
        Path | None,
        typer.Option("--families", metavar="FILE", help="Measure on this file's rows of the held-out families too."),
    ] = None,
    model: options.Model = "rnafm-mini",
    encoder: EncoderUse = None,
    init_from: Annotated[
        Path | None, typer.Option("--init-from", metavar="HEAD", help="Start from the weights of this fold head.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher", metavar="MODEL", help="Learn from this model's fold head too, as optim.teacher_share says."
        ),
    ] = None,
    prior: Annotated[
        bool, typer.Option("--prior/--no-prior", help="Let ViennaRNA's pair probabilities guide the head.")
    ] = True,
    prior_cache: Annotated[
        Path | None,
        typer.Option("--prior-cache", metavar="FILE", help="File of pair probabilities to use and complete."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in optim.rate=2e-4; may be repeated."),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0, metavar="M", help="Save and stop after this time; the same command goes on.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the model in its card.")] = "fold",
    threads: options.Threads = None,
    weights_dir: options.WeightsDir = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a pair head that predicts secondary structure.

    The folder of the run receives a checkpoint every few minutes (also on Ctrl-C and SIGTERM; the same command goes
    on from it), metrics.csv, scores.csv and, as the best measured so far, best.safetensors with its card.
    """
    from rnafm_cli.training.fold_config import load_fold_config
    from rnafm_cli.training.fold_data import FoldFiles
    from rnafm_cli.training.fold_run import FoldRun, run_fold

    config = load_fold_config(recipe, with_encoder(overrides, encoder))
    files = FoldFiles(train=tuple(train), partners=tuple(partner or ()), dev=tuple(dev or ()), families=families)
    outcome = run_fold(
        FoldRun(
            files=files,
            config=config,
            output=output,
            name=name,
            model=None if encoder is EncoderChoice.none else model,
            weights_dir=weights_dir,
            init_from=init_from,
            teacher=teacher,
            prior=prior,
            prior_cache=prior_cache,
            max_minutes=max_minutes,
            threads=threads,
        ),
        report=console.info,
        progress=lambda done, total: console.info(f"pair probabilities: {done} of {total}"),
    )
    if outcome.finished:
        console.info(f"finished at step {outcome.step}; best mean F1 {outcome.best_score:.4f}: {outcome.best_file}")
    else:
        console.info(f"stopped at step {outcome.step}; the same command goes on from here")
