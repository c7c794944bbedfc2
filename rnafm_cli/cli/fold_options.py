"""The options of ``rnafm fold``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AllowNoncanonical",
    "Constraints",
    "Convert",
    "Decoder",
    "DecoderChoice",
    "FormatChoice",
    "Gamma",
    "HalfProbs",
    "Isolated",
    "MaxMemory",
    "MinLoop",
    "OutDir",
    "OutputFormat",
    "Plot",
    "PlotStyle",
    "PlotStyleChoice",
    "Prior",
    "Probs",
    "Pseudoknots",
    "RenameDuplicates",
    "Report",
    "Score",
    "Shape",
    "Threshold",
    "UpstreamCompat",
]


class FormatChoice(StrEnum):
    dbn = "dbn"
    ct = "ct"
    bpseq = "bpseq"
    tsv = "tsv"
    jsonl = "jsonl"
    threedrna = "3drna"
    rosetta = "rosetta"
    elements = "elements"


class PlotStyleChoice(StrEnum):
    arc = "arc"
    radial = "radial"
    dots = "dots"


class DecoderChoice(StrEnum):
    mea = "mea"
    threshold = "threshold"
    matching = "matching"
    upstream = "upstream"


_OUTPUT, _DECODING, _KNOWLEDGE = "Output", "Decoding", "Prior knowledge"

OutputFormat = Annotated[
    FormatChoice,
    typer.Option(
        "--format",
        help="dbn: header, sequence, dot-bracket; CT; BPSEQ; tables; input of 3dRNA or Rosetta; forgi's elements.",
        rich_help_panel=_OUTPUT,
    ),
]
OutDir = Annotated[
    Path | None,
    typer.Option(
        "--out-dir",
        metavar="DIR",
        help="One file per RNA, named by its id.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="DIR|FILE.svg",
        help="Draw each RNA: ID.svg in a folder, or one file (.svg, .png, .pdf) for a single RNA.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
PlotStyle = Annotated[
    PlotStyleChoice,
    typer.Option(
        "--plot-style",
        help="Arcs with confidence, a radial layout, or a dot plot: probabilities above, structure below.",
        rich_help_panel=_OUTPUT,
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="Write a page to look at: drawings, probabilities and families of all RNAs, in one file.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
Gamma = Annotated[
    float | None,
    typer.Option(
        "--gamma",
        metavar="G",
        help="Weight of pairs in mea and matching; higher gives more pairs.",
        show_default="what suits the model",
        rich_help_panel=_DECODING,
    ),
]
Probs = Annotated[
    Path | None,
    typer.Option(
        "--probs",
        metavar="FILE.h5",
        help="Write the pair probabilities as well: an L x L data set per RNA.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
HalfProbs = Annotated[
    bool, typer.Option("--half", help="Store --probs in float16 instead of float32.", rich_help_panel=_OUTPUT)
]
Score = Annotated[
    bool,
    typer.Option(
        "--score",
        help="Add a '# ...' line (or columns): expected accuracy, mean probability of the pairs.",
        rich_help_panel=_OUTPUT,
    ),
]
RenameDuplicates = Annotated[
    bool,
    typer.Option("--rename-duplicates", help="Add _2, _3 ... to repeated ids.", rich_help_panel=_OUTPUT),
]
Convert = Annotated[
    bool,
    typer.Option(
        "--convert",
        help="Read structures, not sequences, and write or draw them as they are: dot-bracket, CT, BPSEQ, ST, "
        "Stockholm, JSON Lines, TSV and CSV, told apart by content.",
        rich_help_panel=_OUTPUT,
    ),
]
Decoder = Annotated[
    DecoderChoice | None,
    typer.Option(
        "--decoder",
        help="How probabilities become one structure: greatest expected accuracy, nested with pseudoknots added (mea) "
        "or with crossings free (matching); best pairs first (threshold); RNA-FM's own rule (upstream).",
        show_default="mea",
        rich_help_panel=_DECODING,
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="P",
        help="Pairs must be more probable than this.",
        show_default="0; threshold and upstream 0.5",
        rich_help_panel=_DECODING,
    ),
]
MinLoop = Annotated[
    int | None,
    typer.Option(
        "--min-loop",
        min=0,
        metavar="N",
        help="Fewest bases in a hairpin.",
        show_default="3; upstream 1",
        rich_help_panel=_DECODING,
    ),
]
Pseudoknots = Annotated[
    bool,
    typer.Option(
        "--pseudoknots/--no-pseudoknots",
        help="Allow pairs that cross, as [], {} and <>.",
        rich_help_panel=_DECODING,
    ),
]
AllowNoncanonical = Annotated[
    bool,
    typer.Option("--allow-noncanonical", help="Allow pairs other than AU, GC and GU.", rich_help_panel=_DECODING),
]
Isolated = Annotated[
    bool,
    typer.Option("--isolated/--no-isolated", help="Allow pairs that stack on no other.", rich_help_panel=_DECODING),
]
UpstreamCompat = Annotated[
    bool,
    typer.Option(
        "--upstream-compat",
        help="RNA-FM's own post-processing: its greedy rule, the model's threshold, any two letters.",
        rich_help_panel=_DECODING,
    ),
]
Prior = Annotated[
    bool,
    typer.Option(
        "--prior/--no-prior",
        help="Let ViennaRNA's pair probabilities guide the network.",
        rich_help_panel=_KNOWLEDGE,
    ),
]
Constraints = Annotated[
    Path | None,
    typer.Option(
        "-C",
        "--constraints",
        metavar="FILE",
        help="Header, sequence and a line of RNAfold's symbols (. | x < > ( )) for each RNA that has constraints; or "
        "one line of symbols for all.",
        show_default=False,
        rich_help_panel=_KNOWLEDGE,
    ),
]
Shape = Annotated[
    Path | None,
    typer.Option(
        "--shape",
        metavar="FILE|DIR",
        help="SHAPE reactivities: rows of position and value, under '>id' lines if for several RNAs; or a folder.",
        show_default=False,
        rich_help_panel=_KNOWLEDGE,
    ),
]
MaxMemory = Annotated[
    float | None,
    typer.Option(
        "--max-memory",
        metavar="GB",
        min=0.1,
        help="Memory to stay within: longer RNAs are folded in windows, too long ones refused.",
        show_default="4, or less where less is free",
    ),
]
