"""``rnafm contact``: sequences in, probabilities of tertiary contacts out."""

from __future__ import annotations

from pathlib import Path

from rnafm_cli.cli import fold_options as of_fold
from rnafm_cli.cli import options
from rnafm_cli.cli import tertiary as own
from rnafm_cli.cli.options import DeviceChoice, Intake, LongChoice, OnErrorChoice, PrecisionChoice
from rnafm_cli.cli.tertiary import ContactFormatChoice, Request, run

__all__ = ["contact"]


def contact(
    inputs: options.Inputs = None,
    output: options.Output = Path("-"),
    output_format: own.ContactFormat = ContactFormatChoice.tsv,
    out_dir: of_fold.OutDir = None,
    force: options.Force = False,
    with_distance: own.WithDistance = False,
    min_prob: own.MinProb = None,
    min_separation: own.MinSeparation = None,
    top: own.Top = None,
    h5: own.H5 = None,
    half: own.HalfMaps = False,
    plot: own.Plot = None,
    truth: own.Truth = None,
    rename_duplicates: of_fold.RenameDuplicates = False,
    model: options.Model = "rnafm-mini",
    prior: of_fold.Prior = True,
    families: options.Families = None,
    use_families: options.UseFamilies = True,
    max_memory: of_fold.MaxMemory = None,
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
    """Predict which bases are in contact: nearest heavy atoms closer than 8 Å.

    A table of pairs i < j (from 1) with their probability, the pairs of a helix and of tertiary contacts alike. Where
    the RNA belongs to a family with known 3D structures, they count.

    Examples:

      rnafm contact seqs.fa > contacts.tsv

      rnafm contact seqs.fa --with-distance --h5 maps.h5 -o contacts.tsv

      rnafm contact one.fa --format rosetta -o one.cst --plot one.svg
    """
    run(
        Request(
            task="contact",
            output=output,
            format=output_format.value,
            out_dir=out_dir,
            force=force,
            h5=h5,
            half=half,
            plot=plot,
            truth=truth,
            rename_duplicates=rename_duplicates,
            model=model,
            prior=prior,
            families=options.families_of(families, use_families),
            with_distance=with_distance,
            min_prob=min_prob,
            min_separation=min_separation,
            top=top,
            max_memory=max_memory,
            long=long,
            weights_dir=weights_dir,
            device=device.value,
            threads=threads,
            precision=precision.value,
            batch_tokens=batch_tokens,
        ),
        Intake(inputs, on_error),
    )
