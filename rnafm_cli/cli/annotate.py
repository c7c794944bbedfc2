"""``rnafm annotate``: RNAs in, the known families they hold out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import Intake

if TYPE_CHECKING:
    from rnafm_cli.families.annotate import Annotation

FormatChoice = Literal["tsv", "gff3", "jsonl"]
StrandsChoice = Literal["plus", "both"]


def annotate(
    inputs: options.Inputs = None,
    output: options.Output = Path("-"),
    output_format: Annotated[
        FormatChoice | None,
        typer.Option("--format", help="Output format.", show_default="by the name of the output, else tsv"),
    ] = None,
    alignment: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Stockholm file with the hits of each family aligned to its consensus.",
            show_default=False,
        ),
    ] = None,
    max_evalue: Annotated[
        float, typer.Option(min=0.0, metavar="E", help="Hits by chance that one RNA may have.")
    ] = 1e-3,
    every: Annotated[
        bool, typer.Option("--all", help="Also hits that overlap a better one of the same family or clan.")
    ] = False,
    strands: Annotated[StrandsChoice, typer.Option(help="Strands to search; both for genomic DNA.")] = "plus",
    families: options.Families = None,
    on_error: options.OnError = "fail",
    weights_dir: options.WeightsDir = None,
    threads: options.Threads = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
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
    from rnafm_cli.families.annotate import ConsensusAlignments, annotated
    from rnafm_cli.families.library import load_libraries
    from rnafm_cli.families.search import Search
    from rnafm_cli.io.stockholm import format_stockholm
    from rnafm_cli.io.streams import open_output

    chosen = output_format or _SUFFIXES.get(Path(output.name.removesuffix(".gz")).suffix, "tsv")
    libraries = load_libraries(families or ["shipped"], weights_dir)
    search = Search(libraries, max_evalue=max_evalue, threads=threads_for(threads))
    alignments = ConsensusAlignments() if alignment else None
    total = known = 0
    with _written(output, chosen) as write, intake.progress("searching", "RNAs") as bar:
        for found in annotated(intake.records(), search, strands=strands, every=every):
            write(found)
            total, known = total + 1, known + bool(found.hits)
            if alignments is not None:
                alignments.add(found)
            bar.advance()
    if alignment is not None and alignments is not None:
        with open_output(alignment) as out:
            for one in alignments.alignments():
                out.write(format_stockholm(one))
    _report(total, known, max_evalue)
    intake.finish()


_SUFFIXES: dict[str, FormatChoice] = {".gff": "gff3", ".gff3": "gff3", ".jsonl": "jsonl"}


@contextmanager
def _written(output: Path, chosen: FormatChoice) -> Iterator[Callable[[Annotation], None]]:
    """What writes an RNA's hits and hands them on."""
    from rnafm_cli.families.annotate import COLUMNS, gff3_line, row_of
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.io.tables import table_output

    if chosen != "gff3":
        with table_output(output, COLUMNS, format="tsv" if chosen == "tsv" else "jsonl") as sink:

            def write_rows(found: Annotation) -> None:
                for hit in found.hits:
                    sink.write(row_of(found.record, hit))
                sink.flush()

            yield write_rows
        return
    with open_output(output) as out:
        out.write("##gff-version 3\n")

        def write_lines(found: Annotation) -> None:
            out.write("".join(gff3_line(found.record, hit) + "\n" for hit in found.hits))
            out.flush()

        yield write_lines


def _report(total: int, known: int, max_evalue: float) -> None:
    """Say plainly where nothing was found."""
    if total and not known:
        these = "the RNA" if total == 1 else f"any of {total} RNAs"
        console.info(f"no known family in {these} (E-value up to {max_evalue:g})")
    elif known < total:
        console.info(f"no known family in {total - known} of {total} RNAs (E-value up to {max_evalue:g})")
