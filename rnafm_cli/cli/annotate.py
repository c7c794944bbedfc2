"""``rnafm annotate``: RNAs in, the known families they hold out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import Intake

if TYPE_CHECKING:
    from rnafm_cli.families.annotate import Annotation

AnnotationFormat = Literal["tsv", "gff3", "jsonl"]
_SUFFIXES: dict[str, AnnotationFormat] = {".gff": "gff3", ".gff3": "gff3", ".jsonl": "jsonl"}
_ALIGNMENT = "Stockholm file with the hits of each family aligned to its consensus."


def annotate(
    inputs: options.Inputs = None,
    output: options.Output = Path("-"),
    output_format: Annotated[
        AnnotationFormat | None,
        typer.Option("--format", help="Output format.", show_default="by the name of the output, else tsv"),
    ] = None,
    alignment: Annotated[Path | None, typer.Option(metavar="FILE", help=_ALIGNMENT)] = None,
    max_evalue: Annotated[
        float, typer.Option(min=0.0, metavar="E", help="Hits by chance that one RNA may have.")
    ] = 1e-3,
    every: Annotated[
        bool, typer.Option("--all", help="Also hits that overlap a better one of the family or clan.")
    ] = False,
    strands: Annotated[Literal["plus", "both"], typer.Option(help="Strands to search; both for genomic DNA.")] = "plus",
    families: options.Families = None,
    on_error: options.OnError = "fail",
    weights_dir: options.WeightsDir = None,
    threads: options.Threads = None,
    force: options.Force = False,
) -> None:
    """Find the known families in RNAs of any length, or in a genome.

    One row per hit, positions from 1: id, family, name, type, clan, start, end, strand, score (bits), evalue,
    model_start, model_end, description. The E-value tells how many such hits chance gives in one RNA.

    Examples:

      rnafm annotate rnas.fa > families.tsv

      rnafm annotate --strands both genome.fa -o genome.gff3

      rnafm annotate --families ours.lib --families shipped rnas.fa --alignment hits.sto
    """
    intake = Intake(inputs, on_error)

    from rnafm_cli.encoder.workers import threads_for
    from rnafm_cli.families.annotate import annotate as annotated
    from rnafm_cli.families.annotate import consensus_alignments
    from rnafm_cli.io.columns import TABLES
    from rnafm_cli.io.stockholm import format_stockholm
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.io.tables import table_output

    chosen = output_format or _SUFFIXES.get(Path(output.name.removesuffix(".gz")).suffix, "tsv")
    results = annotated(
        intake.records(),
        families=families or ["shipped"],
        max_evalue=max_evalue,
        strands=strands,
        every=every,
        threads=threads_for(threads),
        weights_dir=weights_dir,
    )
    opened: Any = open_output(output) if chosen == "gff3" else table_output(output, TABLES["annotate"], format=chosen)
    seen: Counter[str] = Counter()
    aligned: list[str] = []
    with opened as out, intake.progress("searching", "RNAs") as bar:

        def written() -> Iterator[Annotation]:
            """The results, each handed on when its rows are out."""
            for found in results:
                if chosen == "gff3":
                    out.write(found.gff3())
                else:
                    out.write_all(found.rows())
                out.flush()
                seen["all"] += 1
                seen["known"] += bool(found.hits)
                bar.advance()
                yield found

        if chosen == "gff3":
            out.write("##gff-version 3\n")
        if alignment is None:
            for _ in written():
                pass
        else:
            aligned += map(format_stockholm, consensus_alignments(written()))
    if alignment is not None:
        with open_output(alignment) as out:
            out.write("".join(aligned))
    if missing := seen["all"] - seen["known"]:
        where = f"{missing} of {seen['all']} RNAs"
        if not seen["known"]:
            where = "the RNA" if missing == 1 else f"any of {missing} RNAs"
        console.info(f"no known family in {where} (E-value up to {max_evalue:g})")
    intake.finish()
