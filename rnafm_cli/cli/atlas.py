"""``rnafm atlas``: a map of RNA space, or the place of new RNAs on one."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rnafm_cli.cli import console, options
from rnafm_cli.cli.options import Intake, LongChoice
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from rnafm_cli.atlas.comparison import Panel
    from rnafm_cli.atlas.placement import AtlasFile, TypeCall
    from rnafm_cli.atlas.points import AtlasPoints
    from rnafm_cli.atlas.results import AtlasFolder
    from rnafm_cli.model import Model
    from rnafm_cli.rna.records import SequenceRecord

_BASELINES = {"random": "random weights", "onehot": "one-hot", "kmer": "4-mer counts"}
_MAPPED_AT_ONCE = 256


class ViewChoice(StrEnum):
    type = "type"
    role = "role"
    length = "length"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What a new map shows."""

    label_by: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="The label: a key=value of headers, or a column of --labels.", show_default="type"
        ),
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option(metavar="TSV", help="Labels by id: two columns, or a header line that starts with id."),
    ] = None
    per_label: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Take at most N sequences of each label.", show_default="all")
    ] = None
    view: Annotated[
        list[ViewChoice] | None,
        typer.Option(help="Also draw the map by role or length; repeat for several.", show_default="type"),
    ] = None
    compare: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Maps of the same sequences by other vectors: any of random,onehot,kmer."),
    ] = None
    trajectory: Annotated[
        bool, typer.Option("--trajectory", help="Pseudotime from --root, terminal states, stream plot.")
    ] = False
    root: Annotated[str | None, typer.Option(metavar="LABEL|ID", help="Where time is zero: a label or one id.")] = None
    times: Annotated[
        Path | None,
        typer.Option(metavar="TSV", help="A time for each label (divergence from the root, say) to compare with."),
    ] = None
    fold: Annotated[bool, typer.Option("--fold", help="Predict structures; the page draws that of a clicked RNA.")] = (
        False
    )
    page: Annotated[bool, typer.Option(help="Write the interactive page atlas.html.")] = True
    title: Annotated[str, typer.Option(help="Above figures and page.")] = "RNA atlas"
    h5: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Pooled embeddings, kept and reused (as 'embed --pool mean --layout matrix' writes them).",
            show_default="DIR/embeddings.h5",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How points get their places: arguments of :func:`~rnafm_cli.atlas.layout.lay_out`."""

    method: Annotated[Literal["umap", "pca", "tsne"], typer.Option(help="How points get their places, after PCA.")] = (
        "umap"
    )
    components: Annotated[
        int, typer.Option(min=1, metavar="K", help="Principal axes kept before neighbours are sought.")
    ] = 50
    whiten: Annotated[
        bool, typer.Option(help="Bring the principal axes to equal variance and vectors to unit length.")
    ] = False
    neighbours: Annotated[int, typer.Option(min=2, metavar="K", help="Nearest neighbours of each sequence.")] = 15
    min_dist: Annotated[float, typer.Option(min=0.0, max=1.0, metavar="D", help="UMAP: how close points lie.")] = 0.1
    resolution: Annotated[
        float, typer.Option(min=0.001, metavar="R", help="Of the Leiden clusters; more gives more.")
    ] = 1.0
    seed: Annotated[int, typer.Option(min=0, help="Of layout, clusters and samples.")] = 0


@dataclass(frozen=True, kw_only=True)
class AtlasRunning(options.Running):
    """As elsewhere; a map that exists knows its model."""

    model: Annotated[
        str,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME|FILE",
            help="A model's name (see 'rnafm weights list') or a weight file.  [default: rnafm-mini; with --map-onto "
            "the model of the map]",
            autocompletion=options.complete_model,
            show_default=False,
        ),
    ] = ""


def atlas(
    inputs: options.Inputs = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder for tables, figures and page.")
    ] = None,
    map_onto: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|reference",
            help="Place the sequences on this atlas.h5 (or the shipped reference) and call their types.",
        ),
    ] = None,
    output_format: Annotated[
        Literal["tsv", "jsonl"], typer.Option("--format", help="Of the table of calls with --map-onto.")
    ] = "tsv",
    rename_duplicates: options.RenameDuplicates = False,
    layer: Annotated[int, typer.Option(help="Layer: 0 is the embedding, -1 the last (after its norm).")] = -1,
    long: options.Long = "window",
    on_error: options.OnError = "fail",
    *,
    asked: Drawing,
    layout: Layout,
    run: AtlasRunning,
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
    if not asked.trajectory and (asked.root or asked.times):
        raise UsageError("--root and --times are about --trajectory", hint="add --trajectory")
    if asked.trajectory and not asked.root:
        raise UsageError("--trajectory starts somewhere", hint="give --root LABEL or --root ID")
    baselines = _baselines(asked.compare)
    about_new = (asked.compare, asked.trajectory, asked.view, asked.labels, asked.label_by, asked.per_label, asked.fold)
    if map_onto is not None and any(about_new):
        raise UsageError(
            "--map-onto places sequences on an atlas that exists",
            hint="leave out --compare, --trajectory, --view, --labels, --label-by, --per-label and --fold",
        )

    intake = Intake(inputs, on_error, long)

    from rnafm_cli.atlas.placement import find_atlas

    target = None if map_onto is None else find_atlas(map_onto, weights_dir=run.weights_dir)
    task = _Atlas(
        inputs=inputs or [],
        intake=intake,
        run=run,
        model_name=run.model or _model_of(target),
        layer=layer,
        long=long,
        asked=asked,
        layout=layout,
        baselines=baselines,
    )
    if task.embedded and (baselines or asked.fold):
        raise UsageError(
            f"{'--compare' if baselines else '--fold'} needs the sequences",
            hint="give the FASTA, and the embeddings with --h5 to reuse them",
        )
    if output is not None:
        results = ("atlas.tsv",) if target is None else (f"calls.{output_format}", "mapped.svg")
        _make_folder(output, results, force=run.force)
    if target is not None:
        task.map_onto(target, output, output_format)
    elif output is not None:
        task.make(output, rename=rename_duplicates)
    intake.finish()


def _baselines(text: str | None) -> list[str]:
    """The kinds of vectors in a comma-separated list."""
    names = list(dict.fromkeys(word.strip() for word in (text or "").split(",") if word.strip()))
    for name in names:
        if name not in _BASELINES:
            raise UsageError(f"--compare {name}: is unknown", hint=f"known are {', '.join(_BASELINES)}")
    if text is not None and not names:
        raise UsageError("--compare names nothing", hint=f"give any of {','.join(_BASELINES)}")
    return names


def _model_of(target: AtlasFile | None) -> str:
    """The model that a map was made by, if at hand, else the default."""
    from rnafm_cli.weights.registry import MODELS

    made_by = str(target.settings.get("model", "")) if target else ""
    return made_by if made_by in MODELS or Path(made_by).is_file() else "rnafm-mini"


def _make_folder(folder: Path, results: Sequence[str], *, force: bool) -> None:
    """Make the folder of results, and keep the results that are there unless told otherwise."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder")
    for result in results:
        if (folder / result).exists() and not force:
            hint = "--force replaces the results; embeddings that fit are kept"
            raise UsageError(f"{folder / result}: exists", hint=hint)
    folder.mkdir(parents=True, exist_ok=True)


@dataclass(eq=False, kw_only=True)
class _Atlas:
    """What the user asked for, and the steps that make a map or find the place of sequences on one."""

    inputs: list[Path]
    intake: Intake
    run: AtlasRunning
    model_name: str
    layer: int
    long: LongChoice
    asked: Drawing
    layout: Layout
    baselines: list[str]

    @cached_property
    def embedded(self) -> bool:
        """Whether the inputs are embeddings, all of them."""
        from rnafm_cli.atlas.points import is_embeddings

        kinds = {str(path) != "-" and is_embeddings(path) for path in self.inputs}
        if len(kinds) > 1:
            raise UsageError("FASTA and embeddings cannot be mixed", hint="embed the FASTA first: rnafm embed")
        return kinds == {True}

    @cached_property
    def model(self) -> Model:
        """The model, read from disk when first used; no codon model."""
        model = self.run.load(self.model_name)
        model.check_nucleotides()
        return model

    @property
    def provenance(self) -> dict[str, Any]:
        """What files of this run's embeddings say about themselves."""
        from rnafm_cli.encoder.embed import embedding_provenance

        return embedding_provenance(self.model, layer=self.layer, pool="mean", command=options.command_line())

    @property
    def embedding(self) -> dict[str, Any]:
        """How sequences are embedded."""
        how = {"layer": self.layer, "batch_tokens": self.run.batch_tokens, "long": self.long}
        return {**how, "reject": self.intake.reject_predicted}

    def make(self, folder: Path, *, rename: bool) -> None:
        """Read, embed, lay out, measure, write."""
        from rnafm_cli.atlas.comparison import copy_folds
        from rnafm_cli.atlas.layout import lay_out
        from rnafm_cli.atlas.placement import atlas_file_of, write_atlas_file
        from rnafm_cli.atlas.points import IDENTITY, clusters_as_labels, read_times
        from rnafm_cli.atlas.results import AtlasFolder
        from rnafm_cli.atlas.trajectory import find_trajectory, roots_named
        from rnafm_cli.io.streams import open_output

        asked, seed, settings = self.asked, self.layout.seed, dataclasses.asdict(self.layout)
        times = read_times(asked.times) if asked.times else None
        points, labels, counts = self._gather(folder, times, rename=rename)
        with console.progress(len(points), "neighbours") as bar:
            layout = lay_out(points.vectors_ND, **settings, tell=console.info, advance=bar.advance)
        if labels is None:
            console.info("the sequences have no labels: clusters are the labels")
        made = AtlasFolder(
            folder=folder,
            points=points,
            layout=layout,
            labels=labels or clusters_as_labels(layout.cluster_N),
            label_counts=counts,
            title=asked.title,
            seed=seed,
            tell=console.info,
        )
        summary: dict[str, Any] = {
            "sequences": len(points),
            "labels": len(set(labels or ()) - {""}),
            "clusters": layout.clusters,
            "variance_kept": round(float(layout.pca.share_K.sum()), 4),
            **{key: points.provenance.get(key) for key in IDENTITY},
            "layout": settings | {"method": layout.method},
        }
        folds = copy_folds(points, made.labels, seed=seed, every=bool(self.baselines), tell=console.info)
        panels = self._compare(made, folds) if self.baselines else []
        trajectory = None
        if asked.root is not None:
            console.info(f"pseudotime from {asked.root}")
            trajectory = find_trajectory(layout, asked.root, roots_named(asked.root, points.ids, made.labels))
        time_N = None if trajectory is None else trajectory.time_N
        structures = self._structures(points, folder / "structures.dbn") if asked.fold else None
        made.write_points(time_N)
        write_atlas_file(folder / "atlas.h5", atlas_file_of(points, layout, made.labels, fold_N=folds))
        made.draw_maps(asked.view or ())
        if panels:
            summary["comparison"] = made.write_comparison(panels)
        if trajectory is not None:
            summary["trajectory"] = made.write_trajectory(trajectory, times)
        if asked.page:
            made.write_page(asked.label_by or "type", time_N, structures, by_role="role" in (asked.view or ()))
        with open_output(folder / "atlas.json") as sink:
            sink.write(json.dumps(summary, indent=1, default=str) + "\n")
        console.info(f"wrote the atlas of {len(points):,} sequences to {folder}")

    def _gather(
        self, folder: Path, times: Mapping[str, float] | None, *, rename: bool
    ) -> tuple[AtlasPoints, list[str] | None, Counter[str]]:
        """The points, at most ``--per-label`` of each label, with their labels (None when no point has one).

        Also how many sequences had each label before the choice. What these sequences cannot give is refused before
        anything is embedded.
        """
        from rnafm_cli.atlas.points import embedded_points, labels_of, points_of, read_label_table
        from rnafm_cli.atlas.trajectory import labels_with_times, roots_named
        from rnafm_cli.encoder.vectors import chosen_per_label
        from rnafm_cli.io.names import DistinctNames

        asked = self.asked
        known = read_label_table(asked.labels, key=asked.label_by or "label") if asked.labels else None
        if self.embedded:
            points = embedded_points(self.inputs, reject=self.intake.reject)
        else:
            records = self.intake.claimed([DistinctNames(str, kind="id")], rename=rename)
            points = points_of(list(records), self.provenance)
        labels = labels_of(points, asked.label_by, table=known, tell=console.info)
        counts = Counter(labels or ())
        if labels is None:
            if asked.per_label or self.baselines:
                wanted = "--per-label needs labels" if asked.per_label else "--compare measures labels"
                raise UsageError(f"{wanted}, and the sequences have none", hint="give --labels TSV")
        else:
            if asked.per_label:
                rows = chosen_per_label(labels, asked.per_label, seed=self.layout.seed)
                points, labels = points.chosen(rows), [labels[k] for k in rows]
            if asked.root is not None:
                roots_named(asked.root, points.ids, labels)
            if times is not None:
                labels_with_times(labels, times)
        if not self.embedded:
            kept, vectors = self._embed(points, folder)
            points = dataclasses.replace(points.chosen(kept), vectors_ND=vectors)
            labels = [labels[k] for k in kept] if labels is not None else None
        return points, labels, counts

    def _embed(self, points: AtlasPoints, folder: Path, *, at_random: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the points that have vectors, and the vectors, by way of the file that keeps them.

        Args:
            at_random: by the same network with random weights, kept in a file beside.
        """
        from rnafm_cli.atlas.points import pooled_vectors
        from rnafm_cli.encoder.network import untrained

        encoder, provenance, description = self.model.encoder, self.provenance, "embedding"
        cache = self.asked.h5 or folder / "embeddings.h5"
        if at_random:
            name = f"{provenance['model']} with random weights, seed {self.layout.seed}"
            provenance |= {"model": name, "weights_sha256": f"random {self.layout.seed}"}
            encoder = untrained(encoder, seed=self.layout.seed).to(self.model.runtime.dtype)
            cache, description = cache.with_name(f"{cache.stem}.random.h5"), "embedding, random weights"
        try:
            with console.progress(len(points), description) as bar:
                return pooled_vectors(
                    points.records,
                    encoder,
                    self.model.runtime,
                    cache=cache,
                    provenance=provenance,
                    # Embeddings of a run may be replaced where they do not fit, a file of the user's own never.
                    replace=self.run.force and self.asked.h5 is None,
                    advance=bar.advance,
                    **self.embedding,
                )
        except KeyboardInterrupt:
            console.warn("interrupted; what is embedded is kept, run the command again to go on from there")
            raise

    def _compare(self, made: AtlasFolder, folds: np.ndarray | None) -> list[Panel]:
        """The map and others of the same sequences by other vectors."""
        from rnafm_cli.atlas.comparison import measured
        from rnafm_cli.atlas.layout import lay_out
        from rnafm_cli.atlas.points import view_labels
        from rnafm_cli.atlas.results import model_name
        from rnafm_cli.encoder.vectors import kmer_frequencies, one_hot

        points, found = made.points, []
        if len(set(made.labels) - {""}) < 2:
            console.warn("one label only: the maps are drawn without figures")
        views: list[Any] = ["type", *(self.asked.view or ())]
        divisions = {view: view_labels(view, points, made.labels) for view in views}
        for kind in ("", *self.baselines):
            name = _BASELINES.get(kind) or model_name(points.provenance)
            tell = partial(_tell_of, name)
            vectors: Any = points.vectors_ND
            if kind == "random":
                _, vectors = self._embed(points, made.folder, at_random=True)
            elif kind:
                vectors = (one_hot if kind == "onehot" else kmer_frequencies)(points.sequences or [])
            layout = lay_out(vectors, **dataclasses.asdict(self.layout), tell=tell) if kind else made.layout
            tell("figures")
            found.append(measured(name, vectors, layout, divisions, fold_N=folds, seed=self.layout.seed))
        return found

    def _structures(self, points: AtlasPoints, path: Path) -> list[str]:
        """The dot-bracket string of each RNA, ``""`` where it cannot be folded; kept in a file."""
        from rnafm_cli.io.streams import open_output

        refused: list[InputError] = []
        structures = dict.fromkeys(points.ids, "")
        how: dict[str, Any] = {"batch_tokens": self.run.batch_tokens, "reject": refused.append, "warn": console.warn}
        with console.progress(len(points), "folding") as bar, open_output(path) as sink:
            for result in self.model.fold(points.records, **how):
                found = result.structure
                structures[found.id] = found.dot_bracket
                sink.write(f">{found.id}\n{found.sequence}\n{found.dot_bracket}\n")
                bar.advance()
        if refused:
            console.warn(f"{len(refused)} RNAs have no structure: {refused[0].message}")
        return list(structures.values())

    def map_onto(self, atlas: AtlasFile, folder: Path | None, table_format: Any) -> None:
        """Write where each sequence lies on the atlas and what it is, to stdout or into a folder with figures."""
        from rnafm_cli.atlas.placement import call_row, map_onto
        from rnafm_cli.io.columns import TABLES
        from rnafm_cli.io.streams import open_output
        from rnafm_cli.io.tables import TableWriter

        placed: list[tuple[SequenceRecord, int]] = []
        calls: list[TypeCall] = []
        target, far = folder / f"calls.{table_format}" if folder else "-", 0
        with open_output(target) as sink, console.progress(description="mapping") as bar:
            table = TableWriter(sink, list(TABLES["atlas --map-onto"]), format=table_format)
            for new, vectors in self._vectors(atlas):
                found = map_onto(atlas, vectors, seed=self.layout.seed)
                rows = zip(new, found, strict=True)
                table.write_all(call_row(record.id, length, call, table_format) for (record, length), call in rows)
                table.flush()
                bar.advance(len(found))
                far += sum(call.far for call in found)
                if folder:
                    placed += new
                    calls += found
            table.flush()
        if not len(atlas.share_P):
            console.warn("the atlas was made without sequences or with one label: its calls have no confidence")
        if far:
            console.warn(f"{far} sequences lie far from everything on the atlas: their type may not be on it")
        if folder:
            from rnafm_cli.atlas.results import write_mapped

            title, seed, page = self.asked.title, self.layout.seed, self.asked.page
            write_mapped(folder, atlas, placed, calls, title=title, seed=seed, page=page)
            console.info(f"wrote the calls of {len(placed):,} sequences to {folder}")

    def _vectors(self, atlas: AtlasFile) -> Iterator[tuple[list[tuple[SequenceRecord, int]], np.ndarray]]:
        """Records with their lengths, and vectors, some at a time, once they are known to be of the atlas's model."""
        import numpy as np

        from rnafm_cli.atlas.placement import check_vectors
        from rnafm_cli.atlas.points import embedded_points

        every: Iterable[tuple[SequenceRecord, int, np.ndarray]]
        if self.embedded:
            points = embedded_points(self.inputs, reject=self.intake.reject)
            check_vectors(atlas, points.provenance, points.vectors_ND.shape[1])
            every = zip(points.records, points.lengths_N.tolist(), points.vectors_ND, strict=True)
        else:
            check_vectors(atlas, self.provenance, self.model.encoder.config.width)
            found = self.model.embed(self.intake.records(), pool="mean", **self.embedding)
            every = ((record, len(record), vector_D) for record, vector_D in found)
        every = iter(every)
        while some := list(islice(every, _MAPPED_AT_ONCE)):
            yield [(record, length) for record, length, _ in some], np.stack([vector_D for _, _, vector_D in some])


def _tell_of(name: str, message: str) -> None:
    console.info(f"{name}: {message}")
