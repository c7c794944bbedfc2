"""``rnafm pretrain``: from a FASTA corpus to an encoder."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.errors import RnafmError, UsageError

if TYPE_CHECKING:
    from rnafm_cli.pretrain.config import PretrainConfig


app = options.command_group("Train an encoder on your own sequences: prepare a corpus, run, export.")


PresetChoice = Literal["rnafm-mini", "rna-fm", "rnafm-tiny"]
DtypeChoice = Literal["float16", "bfloat16", "float32"]


@app.command()
def prepare(
    corpus: Annotated[list[Path], typer.Argument(metavar="FASTA...", help="FASTA files, plain or gz/bz2/xz.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the prepared corpus.")],
    clusters: Annotated[
        Path | None,
        typer.Option(metavar="TSV", help="Clusters (representative, member) to hold out whole; else 8-mers decide."),
    ] = None,
    holdout: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Sequences of the random hold-out.",
            show_default="2500, or a tenth of a small corpus",
        ),
    ] = None,
    holdout_groups: Annotated[int, typer.Option(min=0, metavar="N", help="Whole groups (families) held out.")] = 60,
    group_key: Annotated[str, typer.Option(metavar="KEY", help="Header attribute that names the group.")] = "family",
    type_key: Annotated[str, typer.Option(metavar="KEY", help="Header attribute that names the RNA type.")] = "type",
    keep_near: Annotated[
        bool, typer.Option("--keep-near", help="Train on sequences that are 8-mer-close to a held-out one too.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the hold-outs.")] = 0,
    force: options.Force = False,
) -> None:
    """Clean a FASTA corpus, remove identical sequences, hold some out, write token shards.

    An interrupted preparation goes on after its last finished shard when the same command is run again.

    Example: rnafm pretrain prepare rnacentral.fa.gz -o corpus
    """
    from rnafm_cli.pretrain.holdout import HoldoutRules
    from rnafm_cli.pretrain.prepare import prepare_corpus

    rules = HoldoutRules(sequences=holdout, groups=holdout_groups, filter_near=not keep_near, seed=seed)
    with console.stages() as progress:
        manifest = prepare_corpus(
            corpus, output, rules, clusters=clusters, keys=(type_key, group_key), force=force, progress=progress
        )
    console.info(f"{manifest['records_read']:,} records read, {manifest['sequences']:,} kept")
    for reason, count in manifest["counts"].items():
        if count:
            console.info(f"{reason}: {count:,}")
    for part, size in manifest["splits"].items():
        console.info(f"{part}: {size['sequences']:,} sequences, {size['tokens']:,} nt")


@app.command()
def run(
    config: Annotated[Path, typer.Option(metavar="TOML", help="Configuration; 'rnafm pretrain config' prints one.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the run.")],
    overrides: options.Overrides = None,
    resume: Annotated[
        str, typer.Option(metavar="auto|never|FILE", help="Go on from the newest checkpoint, never, or from this one.")
    ] = "auto",
    max_minutes: options.MaxMinutes = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, print sizes, steps, memory and the command; no training."),
    ] = False,
    nproc: Annotated[int, typer.Option(min=1, metavar="N", help="Processes (GPUs) on this machine.")] = 1,
    nnodes: Annotated[str, typer.Option(metavar="N|MIN:MAX", help="Machines; start the same command on each.")] = "1",
    rdzv: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where several machines meet.")] = None,
    max_restarts: Annotated[
        int, typer.Option(min=0, metavar="N", help="How often the processes start again after one has died.")
    ] = 3,
) -> None:
    """Train an encoder by masked-token prediction.

    Ctrl-C, SIGTERM and SIGUSR1 save first; the same command then goes on from there, also after a crash. With --nproc
    or --nnodes torchrun starts the processes; under torchrun or srun the command is one of them.

    Example: rnafm pretrain run --config base.toml -o runs/a --set optim.rate=2e-4
    """
    from rnafm_cli.pretrain.config import PretrainConfig
    from rnafm_cli.pretrain.launch import launch, tasks_a_node, torchrun, under_torchrun
    from rnafm_cli.pretrain.shards import read_manifest
    from rnafm_cli.training.recipes import load_recipe

    alone = nproc == 1 and nnodes == "1" and rdzv is None
    if nnodes != "1" and rdzv is None:
        raise UsageError(f"--nnodes {nnodes} needs --rdzv", hint="give HOST:PORT of one of the machines")
    if not alone and tasks_a_node() > 1:
        raise UsageError(
            f"srun has started {tasks_a_node()} tasks on a machine, and each would start {nproc} processes",
            hint="--ntasks-per-node=1, or leave out --nproc, --nnodes and --rdzv",
        )
    # Mistakes are told once and at once, before torch loads in every process.
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: is no folder")
    settings, world = load_recipe(PretrainConfig, config, overrides), nproc * int(nnodes.split(":")[-1])
    settings.batch.micro_batches_each(world)
    read_manifest(Path(settings.data.corpus))
    arguments = ["pretrain", "run", "--config", str(config), "-o", str(output), "--resume", resume]
    arguments += [word for text in overrides or () for word in ("--set", text)]
    arguments += ["--max-minutes", str(max_minutes)] if max_minutes is not None else []
    arguments += ["--quiet"] if console.console.quiet else []
    words = torchrun(arguments, nproc=nproc, nnodes=nnodes, rdzv=rdzv, max_restarts=max_restarts)
    if dry_run:
        from rnafm_cli.pretrain.trainer import plan

        command = shlex.join(["rnafm", *arguments] if alone else ["torchrun", *words])
        sys.stdout.write("\n".join([*plan(settings, world=world), f"command: {command}\n"]))
    elif alone or under_torchrun():
        _train(settings, output, resume, max_minutes)
    elif code := launch(words):
        raise typer.Exit(code)


def _train(config: PretrainConfig, output: Path, resume: str, max_minutes: float | None) -> None:
    from rnafm_cli.pretrain.launch import is_first_to_give_up, under_torchrun
    from rnafm_cli.pretrain.processes import Processes
    from rnafm_cli.pretrain.trainer import EncoderTrainer

    try:
        with Processes.joined(config.run) as processes, console.stages() as progress:
            stopped_by = EncoderTrainer(
                config,
                output,
                resume=resume,
                processes=processes,
                report=console.info,
                progress=progress,
                max_minutes=max_minutes,
            ).train()
    except RnafmError as failure:
        if is_first_to_give_up(failure):
            console.error(failure.message, hint=failure.hint, exit_code=failure.exit_code)
        return
    # To torchrun a stop by a signal is no crash either.
    if stopped_by is not None and not under_torchrun():
        raise typer.Exit(128 + stopped_by)


@app.command()
def config(
    preset: Annotated[PresetChoice, typer.Option(help="Recipe to print.")] = "rnafm-mini",
) -> None:
    """Print a configuration with every key explained.

    Example: rnafm pretrain config --preset rna-fm > base.toml
    """
    from rnafm_cli.pretrain.config import commented_toml, recipe

    sys.stdout.write(commented_toml(recipe(preset)))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or one of its step-....pt checkpoints.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Model file to write: NAME.safetensors.")
    ],
    dtype: Annotated[DtypeChoice, typer.Option(help="Type in which weights are stored.")] = "float16",
    force: options.Force = False,
) -> None:
    """Write the encoder of a run's newest checkpoint as a model file that every command takes.

    Example: rnafm pretrain export runs/a -o mine.safetensors, then rnafm embed --model mine.safetensors ...
    """
    from rnafm_cli.pretrain.export import export_run

    card = export_run(run, output, dtype=dtype)
    console.info(
        f"{output}: {card.weights_bytes / 1e6:.3g} MB, step {card.source['step']:,}, sha256 {card.weights_sha256}"
    )
