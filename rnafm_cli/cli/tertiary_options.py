"""The options that ``rnafm contact`` and ``rnafm distance`` share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "ContactFormat",
    "ContactFormatChoice",
    "DistanceFormat",
    "DistanceFormatChoice",
    "H5",
    "HalfMaps",
    "MaxDistance",
    "MinProb",
    "MinSeparation",
    "Plot",
    "ReadoutChoice",
    "ReadoutOption",
    "Top",
    "Truth",
    "WithDistance",
]

_OUTPUT, _CHOICE = "Output", "Choice of pairs"


class ContactFormatChoice(StrEnum):
    tsv = "tsv"
    jsonl = "jsonl"
    casprr = "casprr"
    threedrna = "3drna"
    rosetta = "rosetta"


class DistanceFormatChoice(StrEnum):
    tsv = "tsv"
    jsonl = "jsonl"
    threedrna = "3drna"
    rosetta = "rosetta"


class ReadoutChoice(StrEnum):
    binned = "binned"
    regression = "regression"


ContactFormat = Annotated[
    ContactFormatChoice,
    typer.Option(
        "--format",
        help="Tables; CASP's RR format; restraints for 3dRNA (DCA) or Rosetta (AtomPair).",
        rich_help_panel=_OUTPUT,
    ),
]
DistanceFormat = Annotated[
    DistanceFormatChoice,
    typer.Option(
        "--format", help="Tables; restraints for 3dRNA (Distances) or Rosetta (AtomPair).", rich_help_panel=_OUTPUT
    ),
]
H5 = Annotated[
    Path | None,
    typer.Option(
        "--h5",
        metavar="FILE.h5",
        help="Write the whole maps as well: a group with (L, L) data sets per RNA.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
HalfMaps = Annotated[
    bool, typer.Option("--half", help="Store --h5 in float16 instead of float32.", rich_help_panel=_OUTPUT)
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="DIR|FILE.svg",
        help="Draw a heat map of each RNA: ID.svg in a folder, or one file (.svg, .png, .pdf) for a single RNA.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
Truth = Annotated[
    Path | None,
    typer.Option(
        "--truth",
        metavar="FILE",
        help="Known chains (HDF5, PDB, mmCIF): drawn below the diagonal of --plot, matched by id or sequence.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
WithDistance = Annotated[
    bool,
    typer.Option(
        "--with-distance",
        help="Predict distances in the same run: columns, maps and Rosetta restraints get them too.",
        rich_help_panel=_OUTPUT,
    ),
]
MinProb = Annotated[
    float | None,
    typer.Option(
        "--min-prob",
        min=0.0,
        max=1.0,
        metavar="P",
        help="Leave out less probable pairs; 0 writes all i < j.",
        show_default="0.01; 0.3 for 3drna and rosetta",
        rich_help_panel=_CHOICE,
    ),
]
MaxDistance = Annotated[
    float | None,
    typer.Option(
        "--max-distance",
        min=0.0,
        metavar="A",
        help="Leave out pairs that are farther apart, in Å.",
        show_default="none; 15 for 3drna and rosetta",
        rich_help_panel=_CHOICE,
    ),
]
MinSeparation = Annotated[
    int | None,
    typer.Option(
        "--min-separation",
        min=1,
        metavar="N",
        help="Leave out pairs with j - i below this.",
        show_default="1; 5 with --top and for casprr, 3drna and rosetta",
        rich_help_panel=_CHOICE,
    ),
]
Top = Annotated[
    str | None,
    typer.Option(
        "--top",
        metavar="L/2",
        help="Only the best pairs of each RNA: L/2, L, 2L or a number.",
        show_default=False,
        rich_help_panel=_CHOICE,
    ),
]
ReadoutOption = Annotated[
    ReadoutChoice | None,
    typer.Option(
        "--readout",
        help="Distances as the mean of a predicted histogram, or by regression.",
        show_default="what the head's card says",
    ),
]
