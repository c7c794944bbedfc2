"""``rnafm embed``: sequences in, an HDF5 file of representations out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import Intake
from rnafm_cli.errors import UsageError

PoolChoice = Literal["none", "mean", "max", "cls"]
LayoutChoice = Literal["per-record", "matrix"]


def embed(
    inputs: options.Inputs = None,
    h5: Annotated[
        Path | None, typer.Option("--h5", "-o", "--output", metavar="FILE", help="HDF5 file (or folder) to write.")
    ] = None,
    layer: Annotated[int, typer.Option(help="Layer to write: 0 is the embedding, -1 the last (after its norm).")] = -1,
    pool: Annotated[PoolChoice, typer.Option(help="One vector per RNA instead of one row per nucleotide.")] = "none",
    layout: Annotated[
        LayoutChoice, typer.Option(help="One data set per record, or one matrix for all (pooled vectors only).")
    ] = "per-record",
    output_format: Annotated[
        Literal["h5", "npy-dir"], typer.Option("--format", help="HDF5, or upstream RNA-FM's folder of .npy files.")
    ] = "h5",
    half: Annotated[bool, typer.Option("--half", help="Store float16 instead of float32.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what an earlier run left.")] = False,
    rename_duplicates: options.RenameDuplicates = False,
    long: options.Long = "window",
    on_error: options.OnError = "fail",
    *,
    run: options.Running,
) -> None:
    """Write the encoder's representation of every nucleotide to HDF5.

    Row i of a data set is nucleotide i: special tokens are stripped.

    Examples:

      rnafm embed seqs.fa --h5 emb.h5

      zcat big.fa.gz | rnafm embed --pool mean --layout matrix --half --h5 pooled.h5
    """
    if h5 is None or str(h5) == "-":
        raise UsageError("embeddings are binary and need a file", hint="give --h5 FILE")
    if layout == "matrix" and pool == "none":
        raise UsageError("--layout matrix holds one vector per RNA", hint="add --pool mean, max or cls")
    if resume and output_format == "npy-dir":
        raise UsageError("--resume goes on with an HDF5 file", hint="leave out --format npy-dir")
    intake = Intake(inputs, on_error, long)

    from rnafm_cli.encoder.embed import embedding_provenance
    from rnafm_cli.io.embeddings import EmbeddingWriter, NpyFolder
    from rnafm_cli.io.names import HDF5_SUFFIXES, refuse_suffix

    if output_format == "npy-dir":
        refuse_suffix(h5, (), "a folder of .npy files", "name a folder")
    else:
        refuse_suffix(h5, HDF5_SUFFIXES, "HDF5", "name it .h5; --format npy-dir -o FOLDER writes .npy files")
    loaded = run.load()
    writer: EmbeddingWriter | NpyFolder
    if output_format == "npy-dir":
        writer = NpyFolder(h5, half=half, force=run.force)
    else:
        provenance = embedding_provenance(loaded, layer=layer, pool=pool, command=options.command_line())
        writer = EmbeddingWriter(h5, provenance=provenance, layout=layout, half=half, force=run.force, resume=resume)
    records = intake.claimed((), rename=rename_duplicates)
    try:
        with writer, intake.progress("embedding") as bar:
            results = loaded.embed(
                writer.todo(records, bar.advance),
                layer=layer,
                pool=pool,
                batch_tokens=run.batch_tokens,
                long=long,
                reject=intake.reject_predicted,
            )
            for record, array in results:
                writer.add(record, array)
                bar.advance()
    except KeyboardInterrupt:
        if writer.count:
            console.warn(f"interrupted; {writer.count} records are kept, --resume goes on from there")
        raise
    console.info(f"wrote {writer.count} records to {h5}")
    intake.finish()
