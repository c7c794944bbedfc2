"""The options that only ``rnafm atlas`` has."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rnafm_cli.cli.options import complete_model

__all__ = [
    "CacheFile",
    "Compare",
    "CompareChoice",
    "Components",
    "Fold",
    "Folder",
    "FormatChoice",
    "LabelBy",
    "Labels",
    "Layer",
    "MapModel",
    "MapOnto",
    "Measure",
    "MeasureChoice",
    "Method",
    "MethodChoice",
    "MinDist",
    "Neighbours",
    "Page",
    "PerLabel",
    "RenameDuplicates",
    "Resolution",
    "Root",
    "Seed",
    "TableFormat",
    "Times",
    "Title",
    "Trajectory",
    "View",
    "ViewChoice",
]


class MethodChoice(StrEnum):
    umap = "umap"
    pca = "pca"
    tsne = "tsne"


class ViewChoice(StrEnum):
    type = "type"
    role = "role"
    length = "length"


class CompareChoice(StrEnum):
    random = "random"
    onehot = "onehot"
    kmer = "kmer"


class MeasureChoice(StrEnum):
    diffusion = "diffusion"
    walk = "walk"


class FormatChoice(StrEnum):
    tsv = "tsv"
    jsonl = "jsonl"


Folder = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="DIR", help="Folder for tables, figures and page.", show_default=False),
]
CacheFile = Annotated[
    Path | None,
    typer.Option(
        "--h5",
        metavar="FILE",
        help="Pooled embeddings, kept and reused (as 'embed --pool mean --layout matrix' writes them).",
        show_default="DIR/embeddings.h5",
    ),
]
Layer = Annotated[int, typer.Option("--layer", help="Layer: 0 is the embedding, -1 the last (after its norm).")]
Method = Annotated[MethodChoice, typer.Option("--method", help="How points get their places, after PCA.")]
Neighbours = Annotated[
    int, typer.Option("--neighbours", min=2, metavar="K", help="Nearest neighbours of each sequence.")
]
MinDist = Annotated[
    float, typer.Option("--min-dist", min=0.0, max=1.0, metavar="D", help="UMAP: how close points lie.")
]
Components = Annotated[
    int, typer.Option("--components", min=1, metavar="K", help="Principal axes kept before neighbours are sought.")
]
Whiten = Annotated[
    bool,
    typer.Option(
        "--whiten/--no-whiten",
        help="Bring the principal axes to equal variance and vectors to unit length: nearer neighbours of one type.",
    ),
]
Resolution = Annotated[
    float, typer.Option("--resolution", min=0.001, metavar="R", help="Of the Leiden clusters; more gives more.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of layout, clusters and samples.")]
LabelBy = Annotated[
    str | None,
    typer.Option(
        "--label-by",
        metavar="KEY",
        help="Attribute that is the label: key=value in the header, or a column of --labels.",
        show_default="type",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", metavar="TSV", help="Labels by id: two columns, or a header line that starts with id."),
]
PerLabel = Annotated[
    int | None,
    typer.Option("--per-label", min=1, metavar="N", help="Take at most N sequences of each label.", show_default="all"),
]
View = Annotated[
    list[ViewChoice] | None,
    typer.Option("--view", help="Also draw the map by role or length; repeat for several.", show_default="type"),
]
Compare = Annotated[
    str | None,
    typer.Option(
        "--compare",
        metavar="LIST",
        help="The same sequences by other vectors, with figures under each map: any of random,onehot,kmer.",
        show_default=False,
    ),
]
Trajectory = Annotated[
    bool, typer.Option("--trajectory", help="Pseudotime from --root, terminal states, stream plot and violins.")
]
Root = Annotated[
    str | None,
    typer.Option("--root", metavar="LABEL|ID", help="Where time is zero: a label or one id.", show_default=False),
]
Measure = Annotated[
    MeasureChoice, typer.Option("--pseudotime", help="Distance in diffusion space, or hitting times of a random walk.")
]
Times = Annotated[
    Path | None,
    typer.Option(
        "--times", metavar="TSV", help="A time for each label (divergence from the root, say) to compare with."
    ),
]
Fold = Annotated[bool, typer.Option("--fold", help="Predict structures; the page draws that of a clicked RNA.")]
Page = Annotated[bool, typer.Option("--page/--no-page", help="Write the interactive page atlas.html.")]
Title = Annotated[str, typer.Option("--title", help="Above figures and page.")]
MapModel = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME|FILE",
        help="A model's name (see 'rnafm weights list') or a weight file.  [default: rnafm-mini; with --map-onto the "
        "model of the map]",
        autocompletion=complete_model,
        show_default=False,
    ),
]
MapOnto = Annotated[
    str | None,
    typer.Option(
        "--map-onto",
        metavar="FILE|reference",
        help="Place the sequences on this atlas.h5 (or the shipped reference) and call their types.",
        show_default=False,
    ),
]
TableFormat = Annotated[FormatChoice, typer.Option("--format", help="Of the table of calls with --map-onto.")]
RenameDuplicates = Annotated[
    bool, typer.Option("--rename-duplicates", help="Add _2, _3 ... to repeated ids instead of stopping.")
]
