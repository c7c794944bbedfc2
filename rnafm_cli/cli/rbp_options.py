"""The options of ``rnafm rbp``, and those it shares with ``rnafm mrl``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Letters",
    "ListProteins",
    "OutputFormat",
    "Proteins",
    "Saliency",
    "Step",
    "Structure",
    "TableChoice",
    "Threshold",
    "Windows",
]


class TableChoice(StrEnum):
    tsv = "tsv"
    jsonl = "jsonl"
    h5 = "h5"


OutputFormat = Annotated[
    TableChoice | None,
    typer.Option(
        "--format",
        help="A table with a header, an object a line, or HDF5 with a data set a column.",
        show_default="by the suffix of -o, else tsv",
    ),
]
Proteins = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--protein",
        metavar="NAME",
        help="A model's name (see --list), or a bare protein name for all its models; may be repeated.",
        show_default="all",
    ),
]
ListProteins = Annotated[
    bool, typer.Option("--list", help="Print the proteins with their development and reported figures, and stop.")
]
Windows = Annotated[
    bool,
    typer.Option("--windows", help="A row for each window, with its start and end as in BED (from 0, end excluded)."),
]
Step = Annotated[
    int,
    typer.Option(
        "--step", min=1, metavar="N", help="Nucleotides from one 101-nt window to the next, at most, in longer RNAs."
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        min=0.0,
        max=1.0,
        metavar="P",
        help="Probability from which a protein is called bound.",
        show_default="each protein's own",
    ),
]
Saliency = Annotated[
    Path | None,
    typer.Option(
        "--saliency",
        metavar="DIR",
        help="Substitute every nucleotide: saliency.tsv, and a logo for each protein called bound (or chosen).",
        show_default=False,
    ),
]
Letters = Annotated[
    bool,
    typer.Option("--letters", help="Read letters alone: no encoder, far faster, a little less accurate."),
]
Structure = Annotated[
    str | None,
    typer.Option(
        "--structure",
        metavar="thermo|fold|FILE",
        help="How likely bases are unpaired: by ViennaRNA, by this model's fold head, from a file of 'rnafm fold "
        "--probs' (.h5), or scores by position such as icSHAPE's.",
        show_default=False,
    ),
]
