"""``rnafm atlas``: a map of RNA space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rnafm_cli.cli import atlas_options as own
from rnafm_cli.cli import options
from rnafm_cli.cli.atlas_intake import AtlasIntake, ModelChoice
from rnafm_cli.cli.atlas_options import CompareChoice, FormatChoice, MeasureChoice, MethodChoice
from rnafm_cli.cli.atlas_run import AtlasRun, Wishes
from rnafm_cli.cli.options import DeviceChoice, LongChoice, OnErrorChoice, PrecisionChoice
from rnafm_cli.errors import UsageError

if TYPE_CHECKING:
    from rnafm_cli.atlas.files import AtlasFile

__all__ = ["atlas"]


def atlas(
    inputs: options.Inputs = None,
    output: own.Folder = None,
    method: own.Method = MethodChoice.umap,
    label_by: own.LabelBy = None,
    labels: own.Labels = None,
    per_label: own.PerLabel = None,
    view: own.View = None,
    compare: own.Compare = None,
    trajectory: own.Trajectory = False,
    root: own.Root = None,
    pseudotime: own.Measure = MeasureChoice.diffusion,
    times: own.Times = None,
    map_onto: own.MapOnto = None,
    output_format: own.TableFormat = FormatChoice.tsv,
    fold: own.Fold = False,
    page: own.Page = True,
    title: own.Title = "RNA atlas",
    neighbours: own.Neighbours = 15,
    min_dist: own.MinDist = 0.1,
    components: own.Components = 50,
    whiten: own.Whiten = False,
    resolution: own.Resolution = 1.0,
    seed: own.Seed = 0,
    h5: own.CacheFile = None,
    force: options.Force = False,
    rename_duplicates: own.RenameDuplicates = False,
    model: own.MapModel = None,
    layer: own.Layer = -1,
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
    target = None
    if map_onto is not None:
        from rnafm_cli.atlas.placement import find_atlas

        target = find_atlas(map_onto, weights_dir=weights_dir)
    choice = ModelChoice(
        name=model or _model_of(target),
        weights_dir=weights_dir,
        device=device.value,
        precision=precision,
        threads=threads,
        layer=layer,
        batch_tokens=batch_tokens,
        long=long,
    )
    intake = AtlasIntake(inputs, on_error, choice, rename_duplicates=rename_duplicates)
    if intake.embedded and (baselines or fold):
        raise UsageError(
            f"{'--compare' if baselines else '--fold'} needs the sequences",
            hint="give the FASTA, and the embeddings with --h5 to reuse them",
        )
    if target is not None:
        _refuse_with_mapping(compare, trajectory, view, labels, label_by, per_label, fold)
        from rnafm_cli.cli.atlas_mapping import run_mapping

        run_mapping(
            intake,
            choice,
            target,
            output,
            output_format=output_format,
            seed=seed,
            force=force,
            page=page,
            title=title,
        )
        intake.intake.finish()
        return
    assert output is not None
    from rnafm_cli.atlas.layout import LayoutOptions

    wishes = Wishes(
        folder=output,
        cache=h5 or output / "embeddings.h5",
        force=force,
        replace_cache=force and h5 is None,
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
        baselines=[chosen.value for chosen in baselines],
        root=root if trajectory else None,
        measure=pseudotime.value,
        times=times,
        fold=fold,
        page=page,
        title=title,
    )
    AtlasRun(intake, choice, wishes).run()
    intake.intake.finish()


def _model_of(target: AtlasFile | None) -> str:
    """The model that made the map, if it is at hand; else the default one."""
    if target is not None:
        from rnafm_cli.weights.registry import MODELS

        made_by = str(target.settings.get("model", ""))
        if made_by in MODELS or Path(made_by).is_file():
            return made_by
    return "rnafm-mini"


def _baselines(text: str | None) -> list[CompareChoice]:
    """The kinds of vectors in a comma-separated list."""
    chosen: list[CompareChoice] = []
    for word in (text or "").split(","):
        name = word.strip()
        if not name:
            continue
        if name not in set(CompareChoice):
            raise UsageError(f"--compare {name}: is unknown", hint=f"known are {', '.join(CompareChoice)}")
        if CompareChoice(name) not in chosen:
            chosen.append(CompareChoice(name))
    if text is not None and not chosen:
        raise UsageError("--compare names nothing", hint=f"give any of {','.join(CompareChoice)}")
    return chosen


def _refuse_with_mapping(*unused: object) -> None:
    if any(unused):
        raise UsageError(
            "--map-onto places sequences on an atlas that exists",
            hint="leave out --compare, --trajectory, --view, --labels, --label-by, --per-label and --fold",
        )
