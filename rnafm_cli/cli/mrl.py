"""``rnafm mrl``: 5' UTRs in, mean ribosome load out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import Intake
from rnafm_cli.cli.rbp import FormatOption

if TYPE_CHECKING:
    from rnafm_cli.rna.records import SequenceRecord


_ASSAY = "Whose ribosome load is predicted: random_25to100, human_50, egfp_unmod_1 or egfp_m1pseudo_2."


def mrl(
    inputs: options.Inputs = None,
    output: options.Output = Path("-"),
    output_format: FormatOption = None,
    assay: Annotated[str | None, typer.Option(metavar="NAME", help=_ASSAY, show_default="random_25to100")] = None,
    scan: Annotated[bool, typer.Option("--scan", help="A row for each single-nucleotide variant.")] = False,
    on_error: options.OnError = "fail",
    *,
    run: options.Running,
) -> None:
    """Predict the mean ribosome load of 5' UTRs.

    Give each UTR up to the base before the start codon. One row per UTR: ribosomes per mRNA, their standard
    deviation, the number of upstream AUGs and the frame of each (0: that of the start codon).

    Examples:

      rnafm mrl utrs.fa > mrl.tsv

      rnafm mrl utr.fa --scan | sort -t "$(printf '\\t')" -g -k7 | head
    """
    intake = Intake(inputs, on_error)

    from rnafm_cli.function.mrl import MrlPredictor, ribosome_load
    from rnafm_cli.function.mrl import scan as variants
    from rnafm_cli.io.columns import TABLES
    from rnafm_cli.io.tables import output_format as format_of
    from rnafm_cli.io.tables import table_output

    chosen_format = format_of(output, output_format)
    predictor = MrlPredictor(run.load(), assay, batch_tokens=run.batch_tokens)
    columns = TABLES["mrl --scan" if scan else "mrl"]
    provenance = predictor.provenance(assay=predictor.assay, command=options.command_line())
    seen: Counter[str] = Counter()
    records = _watched(intake.records(), predictor.length, seen)
    with (
        table_output(output, columns, format=chosen_format, provenance=provenance, force=run.force) as sink,
        intake.progress("scanning" if scan else "predicting", "UTRs") as bar,
    ):
        effects = variants(records, predictor)
        loads = ([found] for found in ribosome_load(records, predictor, reject=intake.reject))
        for results in effects if scan else loads:
            for row in (row for result in results for row in result.rows()):
                sink.write([*row.values()])
            sink.flush()
            bar.advance()
    for kind, than in (("long", "the model reads: their 3' ends were read"), ("short", "the model knows")):
        if seen[kind] > 1:
            console.warn(f"{seen[kind]} UTRs are {kind}er than {than}")
    if count := seen["AUG"]:
        these = f"{count} UTRs end" if count > 1 else "a UTR ends"
        console.warn(f"{these} in AUG: if that is the start codon, leave it out, for a UTR ends before it")
    intake.finish()


def _watched(records: Iterable[SequenceRecord], longest: int, seen: Counter[str]) -> Iterator[SequenceRecord]:
    """The records as they are; the first UTR of unusual length is told by name, and all are counted."""
    from rnafm_cli.function.mrl import SHORTEST

    for record in records:
        length = len(record.sequence)
        kind = "long" if length > longest else "short" if length < SHORTEST else ""
        seen[kind] += 1
        if kind and seen[kind] == 1:
            told = f"the model knows UTRs of {SHORTEST} nt or more"
            if kind == "long":
                told = f"the {longest} nt before the start codon are read, the first {length - longest} are not"
            console.warn(f"{record.where}: {length} nt; {told}")
        seen["AUG"] += record.sequence.endswith("AUG")
        yield record
