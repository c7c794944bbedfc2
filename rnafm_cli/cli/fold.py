"""``rnafm fold``: sequences in, secondary structures out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.intake import Intake
from rnafm_cli.cli.options import DeviceChoice, LongChoice, OnErrorChoice, PrecisionChoice

__all__ = ["fold"]


class FormatChoice(StrEnum):
    dbn = "dbn"
    ct = "ct"
    bpseq = "bpseq"
    tsv = "tsv"


class DecoderChoice(StrEnum):
    mea = "mea"
    threshold = "threshold"
    matching = "matching"
    upstream = "upstream"


def fold(
    inputs: options.Inputs = None,
    output: options.Output = Path("-"),
    output_format: Annotated[
        FormatChoice, typer.Option("--format", help="dbn: header, sequence, dot-bracket; or CT, BPSEQ, a table.")
    ] = FormatChoice.dbn,
    model: options.Model = "rnafm-mini",
    prior: Annotated[
        bool, typer.Option("--prior/--no-prior", help="Let ViennaRNA's pair probabilities guide the network.")
    ] = True,
    decoder: Annotated[
        DecoderChoice, typer.Option("--decoder", help="How probabilities become one structure.")
    ] = DecoderChoice.mea,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", metavar="P", help="Least pair probability.", show_default="the decoder's own"),
    ] = None,
    min_loop: Annotated[
        int | None,
        typer.Option("--min-loop", min=0, metavar="N", help="Fewest bases in a hairpin.", show_default="3"),
    ] = None,
    pseudoknots: Annotated[
        bool, typer.Option("--pseudoknots/--no-pseudoknots", help="Allow pairs that cross, as [], {} and <>.")
    ] = True,
    allow_noncanonical: Annotated[
        bool, typer.Option("--allow-noncanonical", help="Allow pairs other than AU, GC and GU.")
    ] = False,
    long: options.Long = LongChoice.window,
    on_error: options.OnError = OnErrorChoice.fail,
    weights_dir: options.WeightsDir = None,
    device: options.Device = DeviceChoice.auto,
    threads: options.Threads = None,
    precision: options.Precision = PrecisionChoice.fp32,
    batch_tokens: options.BatchTokens = 4096,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Predict secondary structures.

    Three lines per RNA: the header, the sequence and the structure, which ViennaRNA's programs read as they are.

    Examples:

      rnafm fold seqs.fa > out.dbn

      zcat seqs.fa.gz | rnafm fold | RNAeval
    """
    intake = Intake(inputs, on_error)

    from rnafm_cli.io.streams import open_output
    from rnafm_cli.io.structures import STRUCTURE_FORMATS, TSV_COLUMNS
    from rnafm_cli.rna.decode import DecodeOptions
    from rnafm_cli.rna.pseudoknots import BRACKET_LAYERS, layers
    from rnafm_cli.tasks.model import load_model

    rules = DecodeOptions(
        decoder=decoder.value,
        threshold=threshold,
        min_loop=min_loop,
        canonical=False if allow_noncanonical else None,
        pseudoknots=pseudoknots,
    )
    loaded = load_model(model, weights_dir=weights_dir, device=device.value, precision=precision.value, threads=threads)
    text_of = STRUCTURE_FORMATS[output_format.value].format
    assert text_of is not None
    replaced = crowded = 0
    with open_output(output) as sink, console.progress(description="folding") as bar:
        if output_format is FormatChoice.tsv:
            sink.write("\t".join(TSV_COLUMNS) + "\n")
        folds = loaded.fold(
            intake.records(),
            prior=prior,
            options=rules,
            batch_tokens=batch_tokens,
            long=long.value,
            reject=intake.skip if long is LongChoice.skip else intake.reject,
            warn=console.warn,
        )
        for result in folds:
            replaced += len(result.record.sequence) - sum(map(result.record.sequence.count, "ACGUN"))
            crowded += len(layers(result.pairs)) > BRACKET_LAYERS
            sink.write(text_of(result.structure))
            sink.flush()
            bar.advance()
    if replaced:
        console.info(f"{replaced} ambiguity codes are written as N")
    if crowded:
        console.warn(
            f"{crowded} structures need more than {BRACKET_LAYERS} kinds of brackets; only CT and BPSEQ hold all pairs"
        )
    intake.finish()
