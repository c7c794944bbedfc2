"""``rnafm mrl``: 5' UTRs in, mean ribosome load out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import DeviceChoice, Intake, OnErrorChoice, PrecisionChoice
from rnafm_cli.cli.rbp import OutputFormat

if TYPE_CHECKING:
    from rnafm_cli.rna.records import SequenceRecord


_NAMED = 3
"""UTRs of unusual length that are told one by one."""


def mrl(
    inputs: options.Inputs = None,
    output: options.Output = Path("-"),
    output_format: OutputFormat = None,
    assay: Annotated[
        str | None,
        typer.Option(
            "--assay",
            metavar="NAME",
            help="Whose ribosome load is predicted: random_25to100, human_50, egfp_unmod_1 or egfp_m1pseudo_2.",
            show_default="random_25to100",
        ),
    ] = None,
    scan: Annotated[
        bool, typer.Option("--scan", help="A row for each single-nucleotide variant of each UTR, with its effect.")
    ] = False,
    force: options.Force = False,
    model: options.Model = "rnafm-mini",
    on_error: options.OnError = OnErrorChoice.fail,
    weights_dir: options.WeightsDir = None,
    device: options.Device = DeviceChoice.auto,
    threads: options.Threads = None,
    precision: options.Precision = PrecisionChoice.fp32,
    batch_tokens: options.BatchTokens = 4096,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Predict the mean ribosome load of 5' UTRs.

    Give each UTR up to the base before the start codon. One row per UTR: ribosomes per mRNA, their standard
    deviation, the number of upstream AUGs and the frame of each (0: that of the start codon).

    Examples:

      rnafm mrl utrs.fa > mrl.tsv

      rnafm mrl utr.fa --scan | sort -t "$(printf '\\t')" -g -k7 | head
    """
    intake = Intake(inputs, on_error)

    from rnafm_cli.function.mrl import LoadPredictor, ribosome_load
    from rnafm_cli.function.mrl import scan as variants
    from rnafm_cli.io.columns import types_of
    from rnafm_cli.io.tables import output_format as format_of
    from rnafm_cli.io.tables import table_output
    from rnafm_cli.model import load_model

    chosen_format = format_of(output, output_format.value if output_format else None)
    loaded = load_model(model, weights_dir=weights_dir, device=device.value, precision=precision.value, threads=threads)
    predictor = LoadPredictor(loaded, assay, batch_tokens=batch_tokens)
    columns = types_of("mrl --scan" if scan else "mrl")
    provenance = predictor.provenance(assay=predictor.assay, command=" ".join(["rnafm", *sys.argv[1:]]))
    lengths = _Lengths(predictor.length)
    records = lengths.watched(intake.records())
    with (
        table_output(output, columns, format=chosen_format, provenance=provenance, force=force) as sink,
        intake.progress("scanning" if scan else "predicting", "UTRs") as bar,
    ):
        effects = variants(records, predictor)
        loads = ([found] for found in ribosome_load(records, predictor, reject=intake.reject))
        for results in effects if scan else loads:
            for row in (row for result in results for row in result.rows()):
                sink.write([*row.values()])
            sink.flush()
            bar.advance()
    lengths.report()
    intake.finish()


class _Lengths:
    """Tells of UTRs that the assay's lengths do not cover, the first by name and then how many."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._long = self._short = self._started = 0

    def watched(self, records: Iterable[SequenceRecord]) -> Iterator[SequenceRecord]:
        """The records as they are."""
        from rnafm_cli.function.mrl import SHORTEST

        for record in records:
            length = len(record.sequence)
            if length > self._longest:
                self._long += 1
                if self._long <= _NAMED:
                    console.warn(
                        f"{record.where}: {length} nt; the {self._longest} nt before the start codon are read, "
                        f"the first {length - self._longest} are not"
                    )
            elif length < SHORTEST:
                self._short += 1
                if self._short <= _NAMED:
                    console.warn(f"{record.where}: {length} nt; the model knows UTRs of {SHORTEST} nt or more")
            self._started += record.sequence.endswith("AUG")
            yield record

    def report(self) -> None:
        """What there is to say of all of them."""
        if self._long > _NAMED:
            console.warn(f"{self._long} UTRs are longer than {self._longest} nt: their 3' ends were read")
        if self._short > _NAMED:
            console.warn(f"{self._short} UTRs are shorter than the model knows")
        if self._started:
            these = f"{self._started} UTRs end" if self._started > 1 else "a UTR ends"
            console.warn(f"{these} in AUG: if that is the start codon, leave it out, for a UTR ends before it")
