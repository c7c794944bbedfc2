"""``rnafm pretrain``: from a FASTA corpus to an encoder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rnafm_cli.cli import console
from rnafm_cli.cli.options import Force, Quiet, Verbose
from rnafm_cli.errors import UsageError

__all__ = ["app"]

app = typer.Typer(
    help="Train an encoder on your own sequences: prepare a corpus, run, export.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class PresetChoice(StrEnum):
    mini = "rnafm-mini"
    paper = "rna-fm"
    tiny = "rnafm-tiny"


@app.command(
    epilog="Example: rnafm pretrain prepare rnacentral.fa.gz -o corpus",
)
def prepare(
    corpus: Annotated[list[Path], typer.Argument(metavar="FASTA...", help="FASTA files, plain or gz/bz2/xz.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the prepared corpus.")],
    clusters: Annotated[
        Path | None,
        typer.Option(
            metavar="TSV",
            help="Clusters (representative, member); the random hold-out takes whole ones. Without it, 8-mers decide.",
        ),
    ] = None,
    holdout: Annotated[int, typer.Option(min=0, metavar="N", help="Sequences of the random hold-out.")] = 2500,
    holdout_groups: Annotated[int, typer.Option(min=0, metavar="N", help="Whole groups (families) held out.")] = 60,
    group_key: Annotated[str, typer.Option(metavar="KEY", help="Header attribute that names the group.")] = "family",
    type_key: Annotated[str, typer.Option(metavar="KEY", help="Header attribute that names the RNA type.")] = "type",
    min_length: Annotated[int, typer.Option(min=8, metavar="NT", help="Shorter sequences are dropped.")] = 16,
    max_n: Annotated[float, typer.Option(min=0, max=1, help="Sequences with a larger share of N are dropped.")] = 0.2,
    keep_near: Annotated[
        bool, typer.Option("--keep-near", help="Train on sequences that are 8-mer-close to a held-out one too.")
    ] = False,
    shard_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Nucleotides per shard.")] = 64_000_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the hold-outs.")] = 0,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Clean a FASTA corpus, remove identical sequences, hold some out, write token shards.

    An interrupted preparation goes on after its last finished shard when the same command is run again.
    """
    from rnafm_cli.data.corpus import CleaningRules
    from rnafm_cli.data.holdout import HoldoutRules
    from rnafm_cli.data.prepare import PrepareOptions, prepare_corpus

    manifest = prepare_corpus(
        corpus,
        output,
        PrepareOptions(
            cleaning=CleaningRules(min_length=min_length, max_unknown_share=max_n),
            holdout=HoldoutRules(sequences=holdout, groups=holdout_groups, filter_near=not keep_near, seed=seed),
            shard_tokens=shard_tokens,
            type_key=type_key,
            group_key=group_key,
            clusters=clusters,
        ),
        force=force,
        report=console.info,
    )
    for reason, count in manifest["counts"].items():
        if count:
            console.info(f"{reason}: {count:,}")
    for part, size in manifest["splits"].items():
        console.info(f"{part}: {size['sequences']:,} sequences, {size['tokens']:,} nt")


@app.command(
    epilog="Example: rnafm pretrain run --config base.toml -o runs/a --set optim.rate=2e-4",
)
def run(
    config: Annotated[
        Path, typer.Option("--config", metavar="TOML", help="Configuration; 'rnafm pretrain config' prints one.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the run.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in optim.rate=2e-4; may be repeated."),
    ] = None,
    resume: Annotated[
        str, typer.Option(metavar="auto|never|DIR", help="Go on from the newest checkpoint, never, or from this one.")
    ] = "auto",
    max_minutes: Annotated[
        float | None, typer.Option(min=0, help="Save and stop after this time; the same command goes on.")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train an encoder by masked-token prediction; Ctrl-C, SIGTERM and SIGUSR1 save first."""
    from rnafm_cli.training.config import load_config
    from rnafm_cli.training.trainer import Trainer

    outcome = Trainer(
        load_config(config, set_), output, resume=resume, report=console.info, max_minutes=max_minutes
    ).train()
    if outcome.stopped_by is not None:
        raise typer.Exit(128 + outcome.stopped_by)
    if not outcome.finished and max_minutes is None:
        raise UsageError(f"{output}: stopped at step {outcome.step}")
