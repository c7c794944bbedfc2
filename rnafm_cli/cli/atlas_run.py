"""What ``rnafm atlas`` does: sequences or embeddings in; a folder with tables, figures and page, or type calls, out."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rnafm_cli.cli import console
from rnafm_cli.cli.options import Intake, LongChoice, OnErrorChoice
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from rnafm_cli.atlas.comparison import Panel
    from rnafm_cli.atlas.layout import AtlasLayout, LayoutOptions
    from rnafm_cli.atlas.points import AtlasPoints
    from rnafm_cli.atlas.trajectory import Trajectory
    from rnafm_cli.model import Model
    from rnafm_cli.rna.records import SequenceRecord

CALIBRATED = 10_000
"""Points on which the calls of an atlas are calibrated, if no comparison needs the folds of all."""
_BASELINES = {"random": "random weights", "onehot": "one-hot", "kmer": "4-mer counts"}
_OTHER_LETTERS = {ord(letter): "N" for letter in "BDEFHIJKLMOPQRSVWXYZ"}
_MAPPED_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asked for."""

    inputs: list[Path]
    on_error: OnErrorChoice
    rename_duplicates: bool
    model: str | None
    weights_dir: Path | None
    device: str
    precision: Any
    threads: int | None
    layer: int
    batch_tokens: int
    long: LongChoice
    folder: Path | None
    cache: Path | None
    force: bool
    layout: LayoutOptions
    label_by: str | None
    labels: Path | None
    per_label: int | None
    views: list[Any]
    baselines: list[Any]
    root: str | None
    measure: Literal["diffusion", "walk"]
    times: Path | None
    fold: bool
    page: bool
    title: str


class AtlasRun:
    """One run; what is known by then is in the attributes.

    Args:
        onto: the atlas to place sequences on, by file, folder or name; None to make one.
    """

    points: AtlasPoints
    layout: AtlasLayout
    labels: list[str]
    label_counts: Counter[str]
    """How many sequences had each label before some of each were chosen."""
    caption: str

    def __init__(self, wishes: Wishes, *, onto: str | None = None) -> None:
        self.wishes = wishes
        self.intake = Intake(wishes.inputs, wishes.on_error)
        self.summary: dict[str, Any] = {}
        if onto is not None:
            from rnafm_cli.atlas.placement import find_atlas

            self.target = find_atlas(onto, weights_dir=wishes.weights_dir)
        self.embedded = self._embedded()
        if self.embedded and (wishes.baselines or wishes.fold):
            raise UsageError(
                f"{'--compare' if wishes.baselines else '--fold'} needs the sequences",
                hint="give the FASTA, and the embeddings with --h5 to reuse them",
            )

    @property
    def folder(self) -> Path:
        """Where results go."""
        assert self.wishes.folder is not None
        return self.wishes.folder

    @cached_property
    def model(self) -> Model:
        """The model, read from disk when first used: the one asked for, else the map's if at hand, else the default.

        Raises:
            UsageError: for a codon model.
        """
        from rnafm_cli.model import load_model
        from rnafm_cli.weights.registry import MODELS

        wishes = self.wishes
        made_by = str(self.target.settings.get("model", "")) if hasattr(self, "target") else ""
        name = wishes.model or (made_by if made_by in MODELS or Path(made_by).is_file() else "rnafm-mini")
        model = load_model(
            name,
            weights_dir=wishes.weights_dir,
            device=wishes.device,
            precision=wishes.precision,
            threads=wishes.threads,
        )
        model.check_nucleotides()
        return model

    @property
    def provenance(self) -> dict[str, Any]:
        """What files of this run's embeddings say about themselves."""
        from rnafm_cli.encoder.embed import embedding_provenance

        command = " ".join(["rnafm", *sys.argv[1:]])
        return embedding_provenance(self.model, layer=self.wishes.layer, pool="mean", command=command)

    def make(self) -> None:
        """Read, embed, lay out, measure, write."""
        from rnafm_cli.atlas.files import write_atlas_file, write_points
        from rnafm_cli.atlas.layout import lay_out
        from rnafm_cli.atlas.placement import atlas_file_of
        from rnafm_cli.atlas.points import clusters_as_labels, read_times, view_labels
        from rnafm_cli.io.streams import open_output

        wishes = self.wishes
        self._check_folder("atlas.tsv")
        times = read_times(wishes.times) if wishes.times else None
        labels = self._gather(times)
        points = self.points
        with console.progress(len(points), "neighbours") as bar:
            self.layout = layout = lay_out(
                points.vectors_ND, wishes.layout, tell=console.info, warn=console.warn, advance=bar.advance
            )
        if labels is None:
            console.info("the sequences have no labels: clusters are the labels")
        self.labels = labels or clusters_as_labels(layout.cluster_N)
        self._describe(labels is not None)
        folds = self._folds()
        panels = self._compare(folds) if wishes.baselines else []
        trajectory = self._trajectory()
        structures = self._structures(self.folder / "structures.dbn") if wishes.fold else None
        time_N = None if trajectory is None else trajectory.time_N
        write_points(
            self.folder / "atlas.tsv",
            points.ids,
            layout.place_N2,
            self.labels,
            layout.cluster_N,
            points.lengths_N,
            time_N,
        )
        roles = view_labels("role", points, self.labels)
        write_atlas_file(self.folder / "atlas.h5", atlas_file_of(points, layout, self.labels, roles, fold_N=folds))
        self._draw_maps()
        if panels:
            self.summary["comparison"] = self._draw_comparison(panels)
        if trajectory is not None:
            self.summary["trajectory"] = self._draw_trajectory(trajectory, times)
        if wishes.page:
            self._write_page(trajectory, structures)
        with open_output(self.folder / "atlas.json") as sink:
            sink.write(json.dumps(self.summary, indent=1, default=str) + "\n")
        console.info(f"wrote the atlas of {len(points):,} sequences to {self.folder}")

    def _embedded(self) -> bool:
        kinds = []
        for path in self.wishes.inputs:
            if str(path) == "-":
                kinds.append(False)
                continue
            from rnafm_cli.atlas.points import is_embeddings

            kinds.append(is_embeddings(path))
        if any(kinds) and not all(kinds):
            raise UsageError("FASTA and embeddings cannot be mixed", hint="embed the FASTA first: rnafm embed")
        return any(kinds)

    def _check_folder(self, result: str) -> None:
        """Make the folder of results, and keep the results that are there unless told otherwise."""
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is not a folder")
        if (folder / result).exists() and not self.wishes.force:
            raise UsageError(
                f"{folder / result}: exists", hint="--force replaces the results; embeddings that fit are kept"
            )
        folder.mkdir(parents=True, exist_ok=True)

    def _gather(self, times: Mapping[str, float] | None) -> list[str] | None:
        """Find the points, at most ``--per-label`` of each label; their labels, None when no point has one."""
        from rnafm_cli.atlas.points import chosen_per_label, embedded_points, labels_of, points_of, read_label_table

        wishes = self.wishes
        known = read_label_table(wishes.labels, key=wishes.label_by or "label") if wishes.labels else None
        records: list[SequenceRecord] = []
        if self.embedded:
            points = embedded_points(wishes.inputs, reject=self.intake.reject)
        else:
            records = self._records()
            points = points_of(records, self.provenance)
        labels = labels_of(points, wishes.label_by, table=known, tell=console.info)
        self.label_counts = Counter(labels or ())
        if wishes.per_label is not None:
            if labels is None:
                raise UsageError("--per-label needs labels, and no sequence has one", hint="give --labels TSV")
            rows = chosen_per_label(labels, wishes.per_label, seed=wishes.layout.seed)
            points, labels = points.chosen(rows), [labels[k] for k in rows]
            records = [records[k] for k in rows] if records else records
        self._check(points.ids, labels, times)
        if records:
            cache = wishes.cache or self.folder / "embeddings.h5"
            kept, vectors = self._embed(records, cache, self.provenance)
            points = dataclasses.replace(points.chosen(kept), vectors_ND=vectors)
            labels = [labels[k] for k in kept] if labels is not None else None
        self.points = points
        return labels

    def _records(self) -> list[SequenceRecord]:
        """All sequences, with ids that stay apart."""
        from rnafm_cli.io.names import DistinctNames, rename_duplicates

        source: Iterable[SequenceRecord] = self.intake.records()
        if self.wishes.rename_duplicates:
            source = rename_duplicates(source)
        names = DistinctNames(str, kind="id")
        records = []
        for record in source:
            try:
                names.claim(record)
            except InputError as error:
                self.intake.reject(error)
            else:
                records.append(record)
        return records

    def _check(self, ids: list[str], labels: list[str] | None, times: Mapping[str, float] | None) -> None:
        """Refuse, before anything is embedded, what these sequences cannot give."""
        wishes = self.wishes
        if labels is None:
            # Clusters will be the labels, and their names are not known yet.
            if wishes.baselines:
                raise UsageError("--compare measures labels, and the sequences have none", hint="give --labels TSV")
            return
        from rnafm_cli.atlas.trajectory import labels_with_times, roots_named

        if wishes.root is not None:
            roots_named(wishes.root, ids, labels)
        if times is not None:
            labels_with_times(labels, times)

    def _embed(
        self,
        records: list[SequenceRecord],
        cache: Path,
        provenance: dict[str, Any],
        *,
        encoder: Any = None,
        description: str = "embedding",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the records that have vectors, and the vectors, by way of the file that keeps them."""
        from rnafm_cli.atlas.points import pooled_vectors

        try:
            with console.progress(len(records), description) as bar:
                return pooled_vectors(
                    records,
                    encoder or self.model.encoder,
                    self.model.runtime,
                    cache=cache,
                    provenance=provenance,
                    layer=self.wishes.layer,
                    batch_tokens=self.wishes.batch_tokens,
                    long=self.wishes.long.value,
                    reject=self._reject_long,
                    # Embeddings of a run may be replaced where they do not fit, a file of the user's own never.
                    replace=self.wishes.force and self.wishes.cache is None,
                    advance=bar.advance,
                )
        except KeyboardInterrupt:
            console.warn("interrupted; what is embedded is kept, run the command again to go on from there")
            raise

    @property
    def _reject_long(self) -> Any:
        return self.intake.skip if self.wishes.long is LongChoice.skip else self.intake.reject

    def _describe(self, labelled: bool) -> None:
        points, layout, options = self.points, self.layout, self.wishes.layout
        made = points.provenance
        self.summary |= {
            "sequences": len(points),
            "labels": len(set(self.labels) - {""}) if labelled else 0,
            "clusters": int(layout.cluster_N.max()) + 1,
            "variance_kept": round(float(layout.pca.share_K.sum()), 4),
            **{key: made.get(key) for key in ("model", "weights_sha256", "layer", "pooling")},
            "layout": dataclasses.asdict(options) | {"method": layout.method},
        }
        vectors = f"{_model_name(made)}, layer {made['layer']}" if "layer" in made else _model_name(made)
        how = {"umap": "UMAP", "pca": "principal axes", "tsne": "t-SNE"}[layout.method]
        detail = "" if layout.method == "pca" else f" of {layout.pca}"
        detail += f", {layout.neighbours.index_NK.shape[1]} neighbours" if layout.method == "umap" else ""
        self.caption = f"{len(points):,} RNAs; {vectors}, mean over nucleotides; {how}{detail}; seed {options.seed}"

    def _folds(self) -> np.ndarray | None:
        """Folds without near copies between them, by which calls are calibrated and vectors compared.

        A comparison takes all points; else a sample is enough, and -1 stands for the others.
        """
        sequences = self.points.sequences
        if len(set(self.labels) - {""}) < 2:
            return None
        if sequences is None:
            console.warn(
                "embeddings do not tell which RNAs are near copies: --map-onto will give no confidence on this map; "
                "for that, make it from sequences"
            )
            return None
        import numpy as np

        from rnafm_cli.rna.kmers import separate_folds

        console.info("near copies among the sequences")
        seed, count = self.wishes.layout.seed, len(sequences)
        if self.wishes.baselines or count <= CALIBRATED:
            return separate_folds(sequences, seed=seed)
        rows = np.random.default_rng(seed).permutation(count)[:CALIBRATED]
        folds = np.full(count, -1, dtype=np.int64)
        folds[rows] = separate_folds([sequences[k] for k in rows], seed=seed)
        return folds

    def _compare(self, folds: np.ndarray | None) -> list[Panel]:
        from rnafm_cli.atlas.comparison import baseline_vectors, compare_layouts
        from rnafm_cli.atlas.points import view_labels

        points, wishes = self.points, self.wishes
        sequences = points.sequences or []
        if len(set(self.labels) - {""}) < 2:
            console.warn("one label only: the maps are drawn without figures")
        name = _model_name(points.provenance)
        kinds: dict[str, Any] = {name: lambda: points.vectors_ND}
        for kind in wishes.baselines:
            kinds[_BASELINES[kind]] = (
                self._random_vectors if kind == "random" else lambda kind=kind: baseline_vectors(kind, sequences)
            )
        views = {view: view_labels(view, points, self.labels) for view in dict.fromkeys(["type", *wishes.views])}
        return compare_layouts(kinds, views, wishes.layout, fold_N=folds, ready={name: self.layout}, tell=console.info)

    def _random_vectors(self) -> np.ndarray:
        """The same sequences through the same network with random weights, kept beside the embeddings."""
        from rnafm_cli.encoder.network import untrained
        from rnafm_cli.rna.records import SequenceRecord

        seed, made = self.wishes.layout.seed, self.provenance
        made |= {"model": f"{made['model']} with random weights, seed {seed}", "weights_sha256": f"random {seed}"}
        records = [SequenceRecord(*one) for one in zip(self.points.ids, self.points.sequences or [], strict=True)]
        cache = self.wishes.cache or self.folder / "embeddings.h5"
        encoder = untrained(self.model.encoder, seed=seed).to(self.model.runtime.dtype)
        return self._embed(
            records,
            cache.with_name(f"{cache.stem}.random.h5"),
            made,
            encoder=encoder,
            description="embedding, random weights",
        )[1]

    def _trajectory(self) -> Trajectory | None:
        root = self.wishes.root
        if root is None:
            return None
        from rnafm_cli.atlas.trajectory import find_trajectory, roots_named

        console.info(f"pseudotime from {root}")
        roots = roots_named(root, self.points.ids, self.labels)
        return find_trajectory(
            self.layout, root, roots, measure=self.wishes.measure, seed=self.wishes.layout.seed, warn=console.warn
        )

    def _structures(self, path: Path) -> list[str]:
        """The dot-bracket string of each RNA, ``""`` where it cannot be folded; those in the file are taken from it."""
        from rnafm_cli.io.streams import open_output
        from rnafm_cli.io.structures import read_structures
        from rnafm_cli.rna.records import SequenceRecord

        known: dict[tuple[str, str], str] = {}
        if path.exists():
            try:
                known = {(record.id, record.sequence): record.dot_bracket for record in read_structures(path)}
            except InputError as error:
                console.warn(f"{error.message}: structures are predicted anew")
        plain = [sequence.translate(_OTHER_LETTERS) for sequence in self.points.sequences or []]
        keys = list(zip(self.points.ids, plain, strict=True))
        missing = [SequenceRecord(*key) for key in keys if key not in known]
        refused: list[InputError] = []
        with console.progress(len(missing), "folding") as bar, open_output(path) as sink:
            for key, brackets in known.items():
                sink.write(f">{key[0]}\n{key[1]}\n{brackets}\n")
            folds = self.model.fold(
                missing, batch_tokens=self.wishes.batch_tokens, reject=refused.append, warn=console.warn
            )
            for result in folds if missing else ():
                structure = result.structure
                known[structure.id, structure.sequence] = structure.dot_bracket
                sink.write(f">{structure.id}\n{structure.sequence}\n{structure.dot_bracket}\n")
                bar.advance()
        if refused:
            console.warn(f"{len(refused)} RNAs have no structure: {refused[0].message}")
        return [known.get(key, "") for key in keys]

    def _draw_maps(self) -> None:
        """``atlas.png`` and ``.svg`` by label, and one more for each view."""
        from rnafm_cli.atlas.figures import draw_groups
        from rnafm_cli.atlas.points import view_labels

        for view in dict.fromkeys(["type", *self.wishes.views]):
            labels = view_labels(view, self.points, self.labels)
            if not any(labels):
                console.warn(f"no sequence has a {view}: no map by {view}")
                continue
            by_type = view == "type"
            draw_groups(
                self.layout.place_N2,
                labels,
                self.folder / ("atlas" if by_type else f"atlas_{view}"),
                title=self.wishes.title if by_type else f"{self.wishes.title}, by {view}",
                caption=self.caption,
                seed=self.wishes.layout.seed,
                counts=self.label_counts if by_type else None,
            )

    def _draw_comparison(self, panels: list[Panel]) -> list[dict[str, Any]]:
        """``comparison.png``, ``.svg`` and ``.tsv``; returns the figures."""
        from rnafm_cli.atlas.figures import MapPanel, draw_panels
        from rnafm_cli.atlas.files import write_rows

        stem, rows, drawn = self.folder / "comparison", [], []
        for panel in panels:
            lines = []
            for found in panel.separations:
                known = "" if found.accuracy != found.accuracy else f"kNN {found.accuracy:.3f}, "
                rest = f"purity {found.purity:.3f}, silhouette {found.silhouette:+.3f}, ARI {found.adjusted_rand:.3f}"
                lines.append(f"{found.view}: {known}{rest}")
                console.info(f"{panel.name}, {lines[-1]}")
                rows.append({"vectors": panel.name, **dataclasses.asdict(found)})
            drawn.append(MapPanel(panel.name, panel.layout.place_N2, lines))
        axes = panels[0].layout.pca
        words = f"kNN: types called by 10 nearest neighbours, near copies hidden; purity, silhouette: {axes}"
        caption = f"{len(self.points):,} RNAs. {words}; ARI: Leiden clusters"
        draw_panels(drawn, self.labels, stem, caption=caption, counts=self.label_counts)
        columns = ("vectors", "view", "labels", "points", "accuracy", "purity", "silhouette", "adjusted_rand")
        write_rows(stem.with_suffix(".tsv"), columns, rows)
        return rows

    def _draw_trajectory(self, found: Trajectory, times: Mapping[str, float] | None) -> dict[str, Any]:
        """Stream plot, graph of clusters, violins and tables; returns the figures."""
        import numpy as np

        from rnafm_cli.atlas.files import write_rows
        from rnafm_cli.atlas.trajectory import compare_times, mean_times
        from rnafm_cli.atlas.trajectory_figures import draw_cluster_graph, draw_stream, draw_time_scatter, draw_violins

        folder, place, cluster_N = self.folder, self.layout.place_N2, self.layout.cluster_N
        time_N, lineages = found.time_N, found.lineages
        label_N = np.asarray(self.labels)
        usual = [Counter(label_N[cluster_N == k].tolist()).most_common(1)[0] for k in range(len(lineages.time_C))]
        names = [f"{k + 1} {label}".strip() for k, (label, _) in enumerate(usual)]
        ends = {names[k]: np.median(place[cluster_N == k], axis=0) for k in lineages.terminal_T}
        how = {"diffusion": "diffusion pseudotime", "walk": "hitting times of a lazy random walk with teleportation"}
        words = {
            "title": f"{self.wishes.title}: pseudotime from {found.root}",
            "caption": f"{self.caption}; {how[found.measure]} from {found.root}",
        }
        draw_stream(place, time_N, found.root_points, ends, folder / "trajectory", **words)
        draw_cluster_graph(place, time_N, cluster_N, lineages, names, folder / "trajectory_graph", **words)
        means = mean_times(time_N, self.labels)
        draw_violins(time_N, self.labels, list(means), folder / "trajectory_violins", **words)
        rows = []
        for k, time in enumerate(lineages.time_C):
            size = int((cluster_N == k).sum())
            row = {
                "cluster": k + 1,
                "sequences": size,
                "label": usual[k][0],
                "label_share": usual[k][1] / size,
                "pseudotime": float(time),
                "before": int(lineages.parent_C[k]) + 1 or None,
                "state": "root" if k == found.root_cluster else "terminal" if k in lineages.terminal_T else "",
            }
            fates = {f"to {names[end]}": float(lineages.fate_CT[k, t]) for t, end in enumerate(lineages.terminal_T)}
            rows.append(row | fates)
        write_rows(folder / "trajectory.tsv", list(rows[0]), rows)
        by_label = [
            {"label": name, "sequences": count, "mean_pseudotime": mean, "time": (times or {}).get(name)}
            for name, (mean, count) in means.items()
        ]
        write_rows(folder / "trajectory_labels.tsv", list(by_label[0]), by_label)
        summary: dict[str, Any] = {
            "root": found.root,
            "pseudotime": found.measure,
            "without_pseudotime": int((~np.isfinite(time_N)).sum()),
            "terminal_states": [names[k] for k in lineages.terminal_T],
        }
        console.info(f"terminal states: {', '.join(summary['terminal_states']) or 'none'}")
        if times is not None:
            try:
                link = compare_times(means, times, seed=self.wishes.layout.seed)
            except InputError as error:
                console.warn(error.message)
                return summary
            draw_time_scatter(means, times, link, folder / "trajectory_times")
            summary["times"] = dataclasses.asdict(link)
            console.info(
                f"mean pseudotime of {link.values} labels against their times: Spearman {link.spearman:+.3f}, "
                f"permutation p = {link.p_value:.4g}"
            )
        return summary

    def _write_page(self, trajectory: Trajectory | None, structures: list[str] | None) -> None:
        """``atlas.html``."""
        import numpy as np

        from rnafm_cli.atlas.page import STARTS, GroupView, PagePoints, ScaleView, write_page
        from rnafm_cli.atlas.points import clusters_as_labels, view_labels

        points, lengths_N = self.points, self.points.lengths_N
        clusters = clusters_as_labels(self.layout.cluster_N)
        views: list[Any] = []
        if self.labels != clusters:
            views.append(GroupView(self.wishes.label_by or "type", self.labels))
        if "role" in self.wishes.views or any(attributes.get("role") for attributes in points.attributes):
            views.append(GroupView("role", view_labels("role", points, self.labels)))
        views.append(GroupView("cluster", clusters))
        if (lengths_N > 0).any():
            views.append(ScaleView("length", np.where(lengths_N > 0, lengths_N, np.nan), logarithmic=True))
        if trajectory is not None:
            views.append(ScaleView("pseudotime", trajectory.time_N))
        sequences = points.sequences or [""] * len(points)
        shown = PagePoints(
            ids=points.ids,
            place_N2=self.layout.place_N2,
            lengths_N=lengths_N,
            starts=sequences if structures else [sequence[:STARTS] for sequence in sequences],
            structures=structures,
        )
        write_page(self.folder / "atlas.html", shown, views, title=self.wishes.title, caption=self.caption)

    def map(self, *, table_format: Any) -> None:
        """Write where each sequence lies on the atlas and what it is, to stdout or into a folder with figures."""
        from rnafm_cli.atlas.files import CALL_COLUMNS, call_row
        from rnafm_cli.atlas.placement import TypeCall, map_onto
        from rnafm_cli.io.streams import open_output
        from rnafm_cli.io.tables import TableWriter

        atlas, output = self.target, self.wishes.folder
        table_name = f"calls.{table_format}"
        if output is not None:
            self._check_folder(table_name)
        named: list[tuple[str, int, str]] = []
        calls: list[TypeCall] = []
        far = 0
        with ExitStack() as stack:
            sink = stack.enter_context(open_output(output / table_name if output else "-"))
            table = TableWriter(sink, CALL_COLUMNS, format=table_format)
            bar = stack.enter_context(console.progress(description="mapping"))
            for names, vectors in self._vectors():
                found = map_onto(atlas, vectors, seed=self.wishes.layout.seed)
                for (identifier, length, _), call in zip(names, found, strict=True):
                    table.write(call_row(identifier, length, call, format=table_format))
                table.flush()
                bar.advance(len(found))
                far += sum(call.far for call in found)
                if output is not None:
                    named += names
                    calls += found
            table.flush()
        if not len(atlas.share_P):
            console.warn("the atlas was made without sequences or with one label: its calls have no confidence")
        if far:
            console.warn(f"{far} sequences lie far from everything on the atlas: their type may not be on it")
        if output is not None:
            self._draw_mapped(named, calls)
            console.info(f"wrote the calls of {len(calls):,} sequences to {output}")

    def _vectors(self) -> Iterator[tuple[list[tuple[str, int, str]], np.ndarray]]:
        """(Id, length, first bases) and vectors, some at a time, once they are known to be of the atlas's model."""
        import numpy as np

        from rnafm_cli.atlas.placement import STARTS, check_vectors
        from rnafm_cli.atlas.points import embedded_points

        wishes = self.wishes
        if self.embedded:
            points = embedded_points(wishes.inputs, reject=self.intake.reject)
            check_vectors(self.target, points.provenance, points.vectors_ND.shape[1])
            names = [(name, int(length), "") for name, length in zip(points.ids, points.lengths_N, strict=True)]
            for start in range(0, len(points), _MAPPED_AT_ONCE):
                rows = slice(start, start + _MAPPED_AT_ONCE)
                yield names[rows], points.vectors_ND[rows]
            return
        check_vectors(self.target, self.provenance, self.model.encoder.config.width)
        results = self.model.embed(
            self.intake.records(),
            layer=wishes.layer,
            pool="mean",
            batch_tokens=wishes.batch_tokens,
            long=wishes.long.value,
            reject=self._reject_long,
        )
        names, vectors = [], []
        for record, vector_D in results:
            names.append((record.id, len(record), record.sequence[:STARTS]))
            vectors.append(vector_D)
            if len(names) == _MAPPED_AT_ONCE:
                yield names, np.stack(vectors)
                names, vectors = [], []
        if names:
            yield names, np.stack(vectors)

    def _draw_mapped(self, named: list[tuple[str, int, str]], calls: list[Any]) -> None:
        """The new sequences over the atlas, as picture and page."""
        import numpy as np

        from rnafm_cli.atlas.figures import draw_mapped
        from rnafm_cli.atlas.page import GroupView, PagePoints, ScaleView, write_page

        atlas, title = self.target, self.wishes.title
        place_M2 = np.asarray([(call.x, call.y) for call in calls], dtype=np.float32).reshape(-1, 2)
        caption = f"{len(calls):,} sequences on the atlas of {len(atlas.ids):,} ({_model_name(atlas.settings)})"
        ids = [name for name, _, _ in named]
        words: dict[str, str] = {"title": title, "caption": caption}
        seed = self.wishes.layout.seed
        draw_mapped(atlas.place_N2, atlas.labels, place_M2, ids, self.folder / "mapped", seed=seed, **words)
        if not self.wishes.page:
            return
        points = PagePoints(
            ids=ids + atlas.ids,
            place_N2=np.concatenate([place_M2, atlas.place_N2]),
            lengths_N=np.concatenate([np.asarray([n for _, n, _ in named], dtype=np.int64), atlas.lengths_N]),
            starts=[start for _, _, start in named] + atlas.starts,
        )
        kinds = ["new"] * len(named) + ["atlas"] * len(atlas.ids)
        views: list[Any] = [
            GroupView("type", [call.label for call in calls] + atlas.labels),
            GroupView("new or atlas", kinds),
        ]
        if len(atlas.share_P):
            sure = np.concatenate([[call.confidence for call in calls], np.full(len(atlas.ids), np.nan)])
            views.append(ScaleView("confidence", sure))
        write_page(self.folder / "mapped.html", points, views, **words)


def _model_name(provenance: Mapping[str, Any]) -> str:
    """What to call the model in figures: its name, or that of its file without folder and suffix."""
    return Path(str(provenance.get("model", "embeddings"))).name.removesuffix(".safetensors")
