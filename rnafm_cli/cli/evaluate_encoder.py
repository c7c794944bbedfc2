"""``rnafm evaluate encoder``: what an encoder is worth, beside its baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.errors import UsageError

__all__ = ["EPILOG", "encoder"]

EPILOG = "Example: rnafm evaluate encoder --model rnafm-mini --corpus corpus --atlas atlas_labelled.fa.gz"


def encoder(
    model: options.Model = "rnafm-mini",
    corpus: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Prepared corpus: masked-token loss on what it holds out.", show_default=False
        ),
    ] = None,
    atlas: Annotated[
        Path | None,
        typer.Option(metavar="FASTA", help="Records with type=: nearest-neighbour transfer.", show_default=False),
    ] = None,
    probe: Annotated[
        Path | None,
        typer.Option(metavar="TSV", help="Columns sequence, label, split: linear probe.", show_default=False),
    ] = None,
    output: options.Output = Path("-"),
    sequences: Annotated[
        int, typer.Option(min=0, metavar="N", help="Sequences of each held-out part; 0 takes all.")
    ] = 0,
    per_type: Annotated[
        int, typer.Option(min=0, metavar="N", help="Records of each type for the transfer; 0 takes all.")
    ] = 0,
    crop: Annotated[int, typer.Option(min=18, metavar="T", help="Window of the masked-token loss, in tokens.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of crops, masks and folds.")] = 1,
    weights_dir: options.WeightsDir = None,
    device: options.Device = options.DeviceChoice.auto,
    threads: options.Threads = None,
    batch_tokens: options.BatchTokens = 8192,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Judge an encoder: masked-token loss, transfer of RNA type, linear probe; baselines beside each.

    Writes one JSON document. What is computed depends on the data given: --corpus, --atlas, --probe.
    """
    import json

    from rnafm_cli.io.streams import open_output
    from rnafm_cli.tasks.model import load_model
    from rnafm_cli.training.encoder_report import held_out_figures, probe_figures, transfer_figures

    if corpus is None and atlas is None and probe is None:
        raise UsageError("nothing to evaluate on", hint="give --corpus, --atlas or --probe")
    loaded = load_model(model, weights_dir=weights_dir, device=device.value, threads=threads)
    loaded.check_nucleotides()
    net, say = loaded.encoder, console.info
    figures: dict[str, object] = {"model": loaded.encoder_card.name, "sha256": loaded.encoder_card.weights_sha256}
    if corpus is not None:
        figures["held_out"] = held_out_figures(net, corpus, sequences=sequences, crop=crop, seed=seed, report=say)
    if atlas is not None:
        figures["knn_transfer"] = transfer_figures(
            net, atlas, per_type=per_type, seed=seed, batch_tokens=batch_tokens, report=say
        )
    if probe is not None:
        figures["linear_probe"] = probe_figures(net, probe, batch_tokens=batch_tokens, report=say)
    with open_output(output) as out:
        out.write(json.dumps(figures, indent=1) + "\n")
