"""``rnafm atlas``: a map of RNA space."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rnafm_cli.cli import options
from rnafm_cli.cli.atlas_run import AtlasRun
from rnafm_cli.cli.options import DeviceChoice, Intake, LongChoice, OnErrorChoice, PrecisionChoice
from rnafm_cli.errors import UsageError


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
        autocompletion=options.complete_model,
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


def atlas(
    inputs: options.Inputs = None,
    output: Folder = None,
    method: Method = MethodChoice.umap,
    label_by: LabelBy = None,
    labels: Labels = None,
    per_label: PerLabel = None,
    view: View = None,
    compare: Compare = None,
    trajectory: Trajectory = False,
    root: Root = None,
    pseudotime: Measure = MeasureChoice.diffusion,
    times: Times = None,
    map_onto: MapOnto = None,
    output_format: TableFormat = FormatChoice.tsv,
    fold: Fold = False,
    page: Page = True,
    title: Title = "RNA atlas",
    neighbours: Neighbours = 15,
    min_dist: MinDist = 0.1,
    components: Components = 50,
    whiten: Whiten = False,
    resolution: Resolution = 1.0,
    seed: Seed = 0,
    h5: CacheFile = None,
    force: options.Force = False,
    rename_duplicates: RenameDuplicates = False,
    model: MapModel = None,
    layer: Layer = -1,
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
    """Draw a map of RNAs by their embeddings, or find the place of new RNAs on one.

    FASTA stands for FASTA or embeddings of 'rnafm embed'. The folder gets atlas.tsv, figures, a page that opens in any
    browser, and atlas.h5 for --map-onto.

    Examples:

      rnafm atlas seqs.fa -o atlas/ --view role --compare random,kmer

      rnafm atlas pooled.h5 --labels types.tsv -o atlas/

      rnafm atlas --map-onto reference unknown.fa > types.tsv
    """
    if output is None and map_onto is None:
        raise UsageError("an atlas is a folder of files", hint="give -o DIR")
    if not trajectory and (root or times):
        raise UsageError("--root and --times are about --trajectory", hint="add --trajectory")
    if trajectory and not root:
        raise UsageError("--trajectory starts somewhere", hint="give --root LABEL or --root ID")
    baselines = _baselines(compare)
    if map_onto is not None and any((compare, trajectory, view, labels, label_by, per_label, fold)):
        raise UsageError(
            "--map-onto places sequences on an atlas that exists",
            hint="leave out --compare, --trajectory, --view, --labels, --label-by, --per-label and --fold",
        )

    intake = Intake(inputs, on_error)

    from rnafm_cli.atlas.layout import LayoutOptions
    from rnafm_cli.atlas.placement import find_atlas

    run = AtlasRun(
        inputs=inputs or [],
        intake=intake,
        target=None if map_onto is None else find_atlas(map_onto, weights_dir=weights_dir),
        folder=output,
        cache=h5,
        force=force,
        rename_duplicates=rename_duplicates,
        model_name=model,
        weights_dir=weights_dir,
        device=device.value,
        precision=precision.value,
        threads=threads,
        layer=layer,
        batch_tokens=batch_tokens,
        long=long,
        layout=LayoutOptions(
            method=method.value,
            components=components,
            whiten=whiten,
            neighbours=neighbours,
            min_dist=min_dist,
            resolution=resolution,
            seed=seed,
        ),
        label_by=label_by,
        labels=labels,
        per_label=per_label,
        views=[chosen.value for chosen in view or []],
        baselines=baselines,
        root=root,
        measure=pseudotime.value,
        times=times,
        fold=fold,
        page=page,
        title=title,
    )
    if map_onto is None:
        run.make()
    else:
        run.map(table_format=output_format.value)
    intake.finish()


def _baselines(text: str | None) -> list[str]:
    """The kinds of vectors in a comma-separated list."""
    names = list(dict.fromkeys(word.strip() for word in (text or "").split(",") if word.strip()))
    for name in names:
        if name not in set(CompareChoice):
            raise UsageError(f"--compare {name}: is unknown", hint=f"known are {', '.join(CompareChoice)}")
    if text is not None and not names:
        raise UsageError("--compare names nothing", hint=f"give any of {','.join(CompareChoice)}")
    return names
