"""``rnafm finetune contact`` and ``rnafm finetune distance``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.finetune_function import MaxMinutes, ModelName, Overrides, RecipeFile, RunFolder
from rnafm_cli.cli.intake import Rejections
from rnafm_cli.cli.options import OnErrorChoice
from rnafm_cli.errors import UsageError

__all__ = ["CONTACT_EPILOG", "DISTANCE_EPILOG", "contact", "distance"]

CONTACT_EPILOG = "Example: rnafm finetune contact --pdb structures/ -o runs/contact --recipe configs/contact-mini.toml"
DISTANCE_EPILOG = "Example: rnafm finetune distance --chains mine.h5 -o runs/distance --init-from rnafm-mini"


class FrozenChoice(StrEnum):
    frozen = "frozen"
    none = "none"


Chains = Annotated[
    list[Path] | None,
    typer.Option("--chains", metavar="FILE.h5", help="Known chains in HDF5, with distances or contacts; repeatable."),
]
Structures = Annotated[
    list[Path] | None,
    typer.Option(
        "--pdb", metavar="DIR|FILE", help="PDB or mmCIF files, plain or compressed, or folders of them; repeatable."
    ),
]
EncoderUse = Annotated[FrozenChoice, typer.Option("--encoder", help="Frozen, or a head without embeddings.")]
InitFrom = Annotated[
    str | None,
    typer.Option(
        "--init-from",
        metavar="NAME|HEAD",
        help="Start from this fold head, or from that of a model; at random without it.",
        show_default=False,
    ),
]
Prior = Annotated[bool, typer.Option("--prior/--no-prior", help="Let ViennaRNA's pair probabilities guide the head.")]
PriorCache = Annotated[
    Path | None, typer.Option("--prior-cache", metavar="FILE", help="File of pair probabilities to use and complete.")
]
Rows = Annotated[
    str | None,
    typer.Option(
        "--rows",
        metavar="NAMES|all",
        help="Rows of the feature table to cross-validate, by comma: inputs as in sequence+prior, random, transfer.",
        show_default="the row with all inputs",
    ),
]
Folds = Annotated[
    str | None,
    typer.Option(
        "--folds", metavar="0,1,..", help="Folds to hold out; several processes may share a run.", show_default="all"
    ),
]
Final = Annotated[bool, typer.Option("--final/--no-final", help="Train the head to keep, on all chains.")]


def contact(
    output: RunFolder,
    chains: Chains = None,
    structures: Structures = None,
    recipe: RecipeFile = None,
    model: options.Model = "rnafm-mini",
    encoder: EncoderUse = FrozenChoice.frozen,
    init_from: InitFrom = None,
    prior: Prior = True,
    prior_cache: PriorCache = None,
    rows: Rows = None,
    folds: Folds = None,
    final: Final = True,
    overrides: Overrides = None,
    max_minutes: MaxMinutes = None,
    name: ModelName = "contact",
    on_error: options.OnError = OnErrorChoice.fail,
    threads: options.Threads = None,
    weights_dir: options.WeightsDir = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a head that predicts which bases are in contact, from known 3D structures.

    First the free guess is scored, then heads are cross-validated over folds that keep like chains together, then the
    head to keep is trained on all chains: final/head.safetensors. The folder also receives table.tsv, held_out.h5 (maps
    of chains by heads that have not seen them) and a checkpoint; the same command goes on from it.
    """
    files = _files(chains, structures)
    _train(
        "contact", files, output, recipe, model, encoder, init_from, prior, prior_cache, rows, folds, final, overrides,
        max_minutes, name, on_error, threads, weights_dir,
    )  # fmt: skip


def distance(
    output: RunFolder,
    chains: Chains = None,
    structures: Structures = None,
    recipe: RecipeFile = None,
    model: options.Model = "rnafm-mini",
    encoder: EncoderUse = FrozenChoice.frozen,
    init_from: InitFrom = None,
    prior: Prior = True,
    prior_cache: PriorCache = None,
    rows: Rows = None,
    folds: Folds = None,
    final: Final = True,
    overrides: Overrides = None,
    max_minutes: MaxMinutes = None,
    name: ModelName = "distance",
    on_error: options.OnError = OnErrorChoice.fail,
    threads: options.Threads = None,
    weights_dir: options.WeightsDir = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a head that predicts distances between bases, from known 3D structures.

    Goes like 'rnafm finetune contact'; chains of which only contacts are known help the training.
    """
    files = _files(chains, structures)
    _train(
        "distance", files, output, recipe, model, encoder, init_from, prior, prior_cache, rows, folds, final, overrides,
        max_minutes, name, on_error, threads, weights_dir,
    )  # fmt: skip


def _files(chains: list[Path] | None, structures: list[Path] | None) -> tuple[Path, ...]:
    files = (*(chains or ()), *(structures or ()))
    if not files:
        raise UsageError("nothing to train on", hint="give --chains FILE.h5 or --pdb DIR")
    return files


def _train(
    task: Literal["contact", "distance"],
    files: tuple[Path, ...],
    output: Path,
    recipe: Path | None,
    model: str,
    encoder: FrozenChoice,
    init_from: str | None,
    prior: bool,
    prior_cache: Path | None,
    rows: str | None,
    folds: str | None,
    final: bool,
    overrides: list[str] | None,
    max_minutes: float | None,
    name: str,
    on_error: OnErrorChoice,
    threads: int | None,
    weights_dir: Path | None,
) -> None:
    from rnafm_cli.training.recipe_files import load_recipe
    from rnafm_cli.training.tertiary_config import TertiaryRecipe
    from rnafm_cli.training.tertiary_run import TertiaryRun, run_tertiary

    rejections = Rejections(on_error)
    outcome = run_tertiary(
        TertiaryRun(
            task=task,
            files=files,
            recipe=load_recipe(TertiaryRecipe, recipe, overrides),
            output=output,
            name=name,
            model=None if encoder is FrozenChoice.none else model,
            weights_dir=weights_dir,
            init_from=init_from,
            prior=prior,
            prior_cache=prior_cache,
            rows=tuple(part.strip() for part in rows.split(",")) if rows else (),
            folds=_numbers(folds),
            final=final,
            max_minutes=max_minutes,
            threads=threads,
        ),
        report=console.info,
        reject=rejections.reject,
        progress=lambda done, total: console.info(f"pair probabilities: {done} of {total}"),
    )
    if skipped := rejections.skipped:
        console.warn(f"{skipped} structure{'s' if skipped > 1 else ''} or chains left out")
    if not outcome.finished:
        console.info("stopped; the same command goes on from here")
    elif outcome.head is not None:
        console.info(f"finished: {outcome.head}")
    else:
        console.info("finished")


def _numbers(folds: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in folds.split(",")) if folds else ()
    except ValueError as error:
        raise UsageError(f"--folds {folds}: are no numbers", hint="write them as 0,1,2") from error
