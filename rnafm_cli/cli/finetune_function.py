"""``rnafm finetune rbp`` and ``rnafm finetune mrl``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnafm_cli.cli import console, options

if TYPE_CHECKING:
    from rnafm_cli.training.function_run import FunctionFiles
    from rnafm_cli.training.function_trainer import FunctionOutcome

__all__ = ["MRL_EPILOG", "RBP_EPILOG", "EncoderChoice", "EncoderUse", "mrl", "rbp", "with_encoder"]

RBP_EPILOG = "Example: rnafm finetune rbp mine.tsv -o runs/rbp --recipe configs/rbp-mini.toml"
MRL_EPILOG = "Example: rnafm finetune mrl mine.tsv -o runs/mrl --recipe configs/mrl-mini.toml"


class EncoderChoice(StrEnum):
    frozen = "frozen"
    full = "full"
    none = "none"


Sets = Annotated[
    list[Path],
    typer.Argument(
        metavar="TABLE...", help="Tables, one a protein or an assay, named after their files; or folders of them."
    ),
]
RunFolder = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the run.")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", metavar="TOML", help="Recipe; the defaults without it.")]
EncoderUse = Annotated[
    EncoderChoice | None,
    typer.Option(
        "--encoder",
        help="Frozen, trained too, or a head without embeddings.",
        show_default="the recipe's run.encoder, frozen if it has none",
    ),
]
InitFrom = Annotated[
    str | None,
    typer.Option("--init-from", metavar="NAME|HEAD", help="Start from the weights of this model's head, or head file."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in optim.rate=2e-4; may be repeated."),
]
MaxMinutes = Annotated[
    float | None, typer.Option(min=0, metavar="M", help="Save and stop after this time; the same command goes on.")
]
ModelName = Annotated[str, typer.Option("--name", help="Name of the model in its card.")]


def rbp(
    tables: Sets,
    output: RunFolder,
    recipe: RecipeFile = None,
    model: options.Model = "rnafm-mini",
    encoder: EncoderUse = None,
    init_from: InitFrom = None,
    overrides: Overrides = None,
    max_minutes: MaxMinutes = None,
    name: ModelName = "rbp",
    threads: options.Threads = None,
    weights_dir: options.WeightsDir = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a head that predicts which proteins bind, one model for all tables.

    A table has the columns sequence, label (1 bound, 0 not) and split (train, dev); without the last, a tenth of the
    rows is held out, near-copies together. Training rows that share a 30-mer with a development row are left out.

    The folder receives a checkpoint every few minutes (also on Ctrl-C and SIGTERM; the same command goes on from it),
    metrics.csv, scores.csv and, as the best measured so far, best.safetensors with its card.
    """
    from rnafm_cli.training.function_config import BindingRecipe
    from rnafm_cli.training.function_run import run_binding
    from rnafm_cli.training.recipe_files import load_recipe

    settings = load_recipe(BindingRecipe, recipe, with_encoder(overrides, encoder))
    files = _files(tables, output, name, model, encoder, init_from, max_minutes, threads, weights_dir)
    _tell(run_binding(files, settings, report=console.info), "mean AUPRC")


def mrl(
    tables: Sets,
    output: RunFolder,
    recipe: RecipeFile = None,
    model: options.Model = "rnafm-mini",
    encoder: EncoderUse = None,
    init_from: InitFrom = None,
    overrides: Overrides = None,
    max_minutes: MaxMinutes = None,
    name: ModelName = "mrl",
    threads: options.Threads = None,
    weights_dir: options.WeightsDir = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a head that predicts mean ribosome load, one ensemble for all assays.

    A table has the columns sequence (up to the base before the start codon), mrl and split (train, dev); without the
    last, a tenth of the rows is held out, near-copies together. Each assay is standardised and has its own output.

    The folder receives a checkpoint every few minutes (also on Ctrl-C and SIGTERM; the same command goes on from it),
    metrics.csv, scores.csv and, as the best measured so far, best.safetensors with its card.
    """
    from rnafm_cli.training.function_config import LoadRecipe
    from rnafm_cli.training.function_run import run_load
    from rnafm_cli.training.recipe_files import load_recipe

    settings = load_recipe(LoadRecipe, recipe, with_encoder(overrides, encoder))
    files = _files(tables, output, name, model, encoder, init_from, max_minutes, threads, weights_dir)
    _tell(run_load(files, settings, report=console.info), "mean R2")


def with_encoder(given: list[str] | None, encoder: EncoderChoice | None) -> list[str]:
    """The overrides of a recipe, --encoder among them where it was given."""
    chosen = [*(given or [])]
    if encoder not in (None, EncoderChoice.none):
        chosen.append(f'run.encoder="{encoder.value}"')
    return chosen


def _files(
    tables: list[Path],
    output: Path,
    name: str,
    model: str,
    encoder: EncoderChoice | None,
    init_from: str | None,
    max_minutes: float | None,
    threads: int | None,
    weights_dir: Path | None,
) -> FunctionFiles:
    from rnafm_cli.training.function_run import FunctionFiles

    return FunctionFiles(
        sets=tuple(tables),
        output=output,
        name=name,
        model=None if encoder is EncoderChoice.none else model,
        init_from=init_from,
        weights_dir=weights_dir,
        max_minutes=max_minutes,
        threads=threads,
    )


def _tell(outcome: FunctionOutcome, measure: str) -> None:
    if outcome.finished:
        console.info(f"finished at step {outcome.step}; best {measure} {outcome.best_score:.4f}: {outcome.best_file}")
    else:
        console.info(f"stopped at step {outcome.step}; the same command goes on from here")
