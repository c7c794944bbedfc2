"""``rnafm distance``: sequences in, distances between bases out."""

from __future__ import annotations

from pathlib import Path

from rnafm_cli.cli import fold_options as of_fold
from rnafm_cli.cli import options
from rnafm_cli.cli import tertiary as own
from rnafm_cli.cli.options import DeviceChoice, Intake, LongChoice, OnErrorChoice, PrecisionChoice
from rnafm_cli.cli.tertiary import DistanceFormatChoice, Request, run

__all__ = ["distance"]


def distance(
    inputs: options.Inputs = None,
    output: options.Output = Path("-"),
    output_format: own.DistanceFormat = DistanceFormatChoice.tsv,
    out_dir: of_fold.OutDir = None,
    force: options.Force = False,
    max_distance: own.MaxDistance = None,
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
    """Predict how far bases are apart: distances of their nearest heavy atoms, from 0 to 20 Å.

    A table of all pairs i < j (from 1) with the expected distance and its standard deviation; 20 stands for all that
    is farther.

    Examples:

      rnafm distance seqs.fa --h5 maps.h5 -o distances.tsv

      rnafm distance one.fa --format rosetta --top 3L -o one.cst
    """
    run(
        Request(
            task="distance",
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
            max_distance=max_distance,
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
