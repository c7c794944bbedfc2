"""One run of ``rnafm atlas`` that makes a map: from sequences to a folder of results, with its figures, tables and
page.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rnafm_cli.cli import console
from rnafm_cli.cli.atlas_intake import AtlasIntake, Gathered, ModelChoice
from rnafm_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from rnafm_cli.atlas.comparison import Panel, Separation
    from rnafm_cli.atlas.layout import Layout, LayoutOptions
    from rnafm_cli.atlas.points import AtlasPoints
    from rnafm_cli.atlas.trajectory import Trajectory

__all__ = ["AtlasDrawing", "AtlasRun", "Wishes", "check_folder", "model_name", "structures_of"]


def structures_of(model: ModelChoice, points: AtlasPoints, path: Path) -> list[str]:
    """The dot-bracket string of each RNA, ``""`` where it cannot be folded; those in the file are not predicted again.

    The file, dot-bracket with all of them, is written anew.
    """
    from rnafm_cli.errors import InputError
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.io.structures import read_structures
    from rnafm_cli.rna.records import SequenceRecord

    known: dict[tuple[str, str], str] = {}
    if path.exists():
        try:
            known = {(record.id, record.sequence): record.dot_bracket for record in read_structures(path)}
        except InputError as error:
            console.warn(f"{error.message}: structures are predicted anew")
    plain = [sequence.translate(_OTHER_LETTERS) for sequence in points.sequences or []]
    missing = [SequenceRecord(*key) for key in zip(points.ids, plain, strict=True) if key not in known]
    refused: list[str] = []
    with console.progress(len(missing), "folding") as bar, open_output(path) as sink:
        for key, brackets in known.items():
            sink.write(f">{key[0]}\n{key[1]}\n{brackets}\n")
        folds = model.loaded.fold(
            missing,
            batch_tokens=model.batch_tokens,
            reject=lambda error: refused.append(error.message),
            warn=console.warn,
        )
        for result in folds if missing else ():
            structure = result.structure
            known[structure.id, structure.sequence] = structure.dot_bracket
            sink.write(f">{structure.id}\n{structure.sequence}\n{structure.dot_bracket}\n")
            bar.advance()
    if refused:
        console.warn(f"{len(refused)} RNAs have no structure: {refused[0]}")
    return [known.get(key, "") for key in zip(points.ids, plain, strict=True)]


_OTHER_LETTERS = {ord(letter): "N" for letter in "BDEFHIJKLMOPQRSVWXYZ"}


class AtlasDrawing:
    """Writes pictures and page into the folder of a run."""

    def __init__(self, wishes: Wishes, caption: str, points: AtlasPoints, layout: Layout, labels: list[str]) -> None:
        self.wishes, self.caption = wishes, caption
        self.points, self.layout, self.labels = points, layout, labels

    def maps(self) -> None:
        """``atlas.png`` and ``.svg`` by label, and one more for each view."""
        from rnafm_cli.atlas.figures import draw_groups
        from rnafm_cli.atlas.points import view_labels

        wishes, place = self.wishes, self.layout.place_N2
        for view in dict.fromkeys(["type", *wishes.views]):
            labels = view_labels(view, self.points, self.labels)
            if not any(labels):
                console.warn(f"no sequence has a {view}: no map by {view}")
                continue
            stem = wishes.folder / ("atlas" if view == "type" else f"atlas_{view}")
            title = wishes.title if view == "type" else f"{wishes.title}, by {view}"
            draw_groups(place, labels, stem, title=title, caption=self.caption, seed=wishes.layout.seed)

    def comparison(self, panels: list[Panel]) -> list[dict[str, Any]]:
        """``comparison.png``, ``.svg`` and ``.tsv``; returns the figures."""
        from rnafm_cli.atlas.figures import MapPanel, draw_panels
        from rnafm_cli.atlas.files import write_rows

        stem = self.wishes.folder / "comparison"
        drawn = [
            MapPanel(panel.name, panel.layout.place_N2, [_sentence(found) for found in panel.separations])
            for panel in panels
        ]
        axes = panels[0].layout.pca
        words = f"kNN: types called by 10 nearest neighbours, near copies hidden; purity, silhouette: {axes}"
        draw_panels(drawn, self.labels, stem, caption=f"{len(self.points):,} RNAs. {words}; ARI: Leiden clusters")
        rows = [{"vectors": panel.name, **dataclasses.asdict(found)} for panel in panels for found in panel.separations]
        columns = ("vectors", "view", "labels", "points", "accuracy", "purity", "silhouette", "adjusted_rand")
        write_rows(stem.with_suffix(".tsv"), columns, rows)
        for row in rows:
            console.info(f"{row['vectors']}, {row['view']}: {_figures(row)}")
        return rows

    def trajectory(self, found: Trajectory, times: Mapping[str, float] | None) -> dict[str, Any]:
        """Stream plot, graph of clusters, violins and tables; returns the figures."""
        from collections import Counter

        import numpy as np

        from rnafm_cli.atlas.files import write_rows
        from rnafm_cli.atlas.trajectory import compare_times, mean_times
        from rnafm_cli.atlas.trajectory_figures import draw_cluster_graph, draw_stream, draw_time_scatter, draw_violins

        folder, place, cluster_N = self.wishes.folder, self.layout.place_N2, self.layout.cluster_N
        lineages = found.lineages
        label_N = np.asarray(self.labels)
        usual = [Counter(label_N[cluster_N == k].tolist()).most_common(1)[0] for k in range(len(lineages.time_C))]
        names = [f"{k + 1} {label}".strip() for k, (label, _) in enumerate(usual)]
        ends = {names[k]: np.median(place[cluster_N == k], axis=0) for k in lineages.terminal_T}
        how = {"diffusion": "diffusion pseudotime", "walk": "hitting times of a lazy random walk with teleportation"}
        caption = f"{self.caption}; {how[found.measure]} from {found.root}"
        title = f"{self.wishes.title}: pseudotime from {found.root}"
        draw_stream(place, found.time_N, found.root_points, ends, folder / "trajectory", title=title, caption=caption)
        draw_cluster_graph(
            place, found.time_N, cluster_N, lineages, names, folder / "trajectory_graph", title=title, caption=caption
        )
        means = mean_times(found.time_N, self.labels)
        draw_violins(
            found.time_N, self.labels, list(means), folder / "trajectory_violins", title=title, caption=caption
        )
        rows = self._cluster_rows(found, usual, names)
        write_rows(folder / "trajectory.tsv", list(rows[0]), rows)
        by_label = [
            {"label": name, "sequences": count, "mean_pseudotime": mean, "time": (times or {}).get(name)}
            for name, (mean, count) in means.items()
        ]
        write_rows(folder / "trajectory_labels.tsv", list(by_label[0]), by_label)
        summary: dict[str, Any] = {
            "root": found.root,
            "pseudotime": found.measure,
            "without_pseudotime": int((~np.isfinite(found.time_N)).sum()),
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

    def _cluster_rows(self, found: Trajectory, usual: list[tuple[str, int]], names: list[str]) -> list[dict[str, Any]]:
        import numpy as np

        lineages, cluster_N = found.lineages, self.layout.cluster_N
        rows = []
        for k, time in enumerate(lineages.time_C):
            size = int((cluster_N == k).sum())
            row = {
                "cluster": k + 1,
                "sequences": size,
                "label": usual[k][0],
                "label_share": usual[k][1] / size,
                "pseudotime": float(time) if np.isfinite(time) else None,
                "before": int(lineages.parent_C[k]) + 1 or None,
                "state": "root" if k == found.root_cluster else "terminal" if k in lineages.terminal_T else "",
            }
            fates = {f"to {names[end]}": float(lineages.fate_CT[k, t]) for t, end in enumerate(lineages.terminal_T)}
            rows.append(row | fates)
        return rows

    def page(self, trajectory: Trajectory | None, structures: list[str] | None) -> None:
        """``atlas.html``."""
        from rnafm_cli.atlas.page import STARTS, GroupView, PagePoints, ScaleView, write_page
        from rnafm_cli.atlas.points import clusters_as_labels, view_labels

        points, layout = self.points, self.layout
        clusters = clusters_as_labels(layout.cluster_N)
        views: list[Any] = []
        if self.labels != clusters:
            views.append(GroupView(self.wishes.label_by or "type", self.labels))
        roles = view_labels("role", points, self.labels)
        if "role" in self.wishes.views or any(attributes.get("role") for attributes in points.attributes):
            views.append(GroupView("role", roles))
        views.append(GroupView("cluster", clusters))
        if (points.lengths_N > 0).any():
            views.append(ScaleView("length", _positive(points.lengths_N), logarithmic=True))
        if trajectory is not None:
            views.append(ScaleView("pseudotime", trajectory.time_N))
        sequences = points.sequences or [""] * len(points)
        shown = sequences if structures else [sequence[:STARTS] for sequence in sequences]
        write_page(
            self.wishes.folder / "atlas.html",
            PagePoints(
                ids=points.ids,
                place_N2=layout.place_N2,
                lengths_N=points.lengths_N,
                starts=shown,
                structures=structures,
            ),
            views,
            title=self.wishes.title,
            caption=self.caption,
        )


def _positive(lengths_N: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.where(lengths_N > 0, lengths_N, np.nan)


def _figures(row: dict[str, Any]) -> str:
    accuracy = "" if row["accuracy"] != row["accuracy"] else f"kNN {row['accuracy']:.3f}, "
    rest = f"purity {row['purity']:.3f}, silhouette {row['silhouette']:+.3f}, ARI {row['adjusted_rand']:.3f}"
    return accuracy + rest


def _sentence(found: Separation) -> str:
    return f"{found.view}: {_figures(dataclasses.asdict(found))}"


CALIBRATED = 10_000
"""Points on which the calls of an atlas are calibrated, if no comparison needs the folds of all."""
NAMES = {"random": "random weights", "onehot": "one-hot", "kmer": "4-mer counts"}


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asked for."""

    folder: Path
    cache: Path
    force: bool
    replace_cache: bool
    """Whether embeddings that do not fit may be replaced: those of a run, never a file of the user's own."""
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


def check_folder(folder: Path, result: str, *, force: bool) -> None:
    """Make the folder of results, and keep the results that are there unless told otherwise."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is no folder")
    if (folder / result).exists() and not force:
        raise UsageError(
            f"{folder / result}: exists", hint="--force replaces the results; embeddings that fit are kept"
        )
    folder.mkdir(parents=True, exist_ok=True)


def model_name(provenance: Mapping[str, Any]) -> str:
    """What to call the model in figures: its name, or that of its file without folder and suffix."""
    return Path(str(provenance.get("model", "embeddings"))).name.removesuffix(".safetensors")


class AtlasRun:
    """The steps of a run; what is known by then is in the attributes."""

    def __init__(self, intake: AtlasIntake, model: ModelChoice, wishes: Wishes) -> None:
        self.intake, self.model, self.wishes = intake, model, wishes
        self.summary: dict[str, Any] = {}

    def run(self) -> None:
        """Read, embed, lay out, measure, write."""
        from rnafm_cli.atlas.points import clusters_as_labels, read_times

        wishes = self.wishes
        check_folder(wishes.folder, "atlas.tsv", force=wishes.force)
        times = read_times(wishes.times) if wishes.times else None
        gathered = self.intake.gather(
            wishes.cache,
            label_by=wishes.label_by,
            table=wishes.labels,
            per_label=wishes.per_label,
            seed=wishes.layout.seed,
            replace=wishes.replace_cache,
            check=lambda ids, labels: self._check(ids, labels, times),
        )
        points = gathered.points
        layout = self._lay_out(points)
        if gathered.labels is None:
            console.info("the sequences have no labels: clusters are the labels")
        labels = gathered.labels or clusters_as_labels(layout.cluster_N)
        self._describe(points, layout, labels, gathered)
        folds = self._folds(points, labels)
        panels = self._compare(points, layout, labels, folds)
        trajectory = self._trajectory(layout, points, labels)
        structures = self._structures(points) if wishes.fold else None
        self._write(points, layout, labels, folds, trajectory)

        drawing = AtlasDrawing(wishes, self.caption(points, layout), points, layout, labels)
        drawing.maps()
        if panels:
            self.summary["comparison"] = drawing.comparison(panels)
        if trajectory is not None:
            self.summary["trajectory"] = drawing.trajectory(trajectory, times)
        if wishes.page:
            drawing.page(trajectory, structures)
        self._write_summary()
        console.info(f"wrote the atlas of {len(points):,} sequences to {wishes.folder}")

    def _check(self, ids: list[str], labels: list[str] | None, times: Mapping[str, float] | None) -> None:
        """Refuse what these sequences cannot give; where clusters will be the labels, their names are not known yet."""
        wishes = self.wishes
        if labels is None:
            if wishes.baselines:
                raise UsageError("--compare measures labels, and the sequences have none", hint="give --labels TSV")
            return
        from rnafm_cli.atlas.trajectory import labels_with_times, roots_named

        if wishes.root is not None:
            roots_named(wishes.root, ids, labels)
        if times is not None:
            labels_with_times(labels, times)

    def caption(self, points: AtlasPoints, layout: Layout) -> str:
        """What stands below the figures: what was drawn and how."""
        made = points.provenance
        vectors = f"{model_name(made)}, layer {made['layer']}" if "layer" in made else model_name(made)
        how = {"umap": "UMAP", "pca": "principal axes", "tsne": "t-SNE"}[layout.method]
        near = layout.neighbours.index_NK.shape[1]
        detail = "" if layout.method == "pca" else f" of {layout.pca}"
        detail += f", {near} neighbours" if layout.method == "umap" else ""
        return f"{len(points):,} RNAs; {vectors}, mean over nucleotides; {how}{detail}; seed {self.wishes.layout.seed}"

    def _lay_out(self, points: AtlasPoints) -> Layout:
        from rnafm_cli.atlas.layout import lay_out

        with console.progress(len(points), "neighbours") as bar:
            return lay_out(
                points.vectors_ND, self.wishes.layout, tell=console.info, warn=console.warn, advance=bar.advance
            )

    def _describe(self, points: AtlasPoints, layout: Layout, labels: list[str], gathered: Gathered) -> None:
        import dataclasses

        made = {key: points.provenance.get(key) for key in ("model", "weights_sha256", "layer", "pooling")}
        self.summary |= {
            "sequences": len(points),
            "labels": len(set(labels) - {""}) if gathered.labels else 0,
            "clusters": int(layout.cluster_N.max()) + 1,
            "variance_kept": round(float(layout.pca.share_K.sum()), 4),
            **made,
            "layout": dataclasses.asdict(self.wishes.layout) | {"method": layout.method},
        }

    def _folds(self, points: AtlasPoints, labels: list[str]) -> np.ndarray | None:
        """Folds without near copies between them, by which calls are calibrated and vectors compared.

        A comparison takes all points; else a sample is enough, and -1 stands for the others.
        """
        if len(set(labels) - {""}) < 2:
            return None
        if points.sequences is None:
            console.warn(
                "embeddings tell no near copies apart: --map-onto will give no confidence on this map; for that, make "
                "it from sequences"
            )
            return None
        import numpy as np

        from rnafm_cli.rna.kmers import separate_folds

        console.info("near copies among the sequences")
        seed, count = self.wishes.layout.seed, len(points)
        if self.wishes.baselines or count <= CALIBRATED:
            return separate_folds(points.sequences, seed=seed)
        rows = np.random.default_rng(seed).permutation(count)[:CALIBRATED]
        folds = np.full(count, -1, dtype=np.int64)
        folds[rows] = separate_folds([points.sequences[k] for k in rows], seed=seed)
        return folds

    def _compare(self, points: AtlasPoints, layout: Layout, labels: list[str], folds: np.ndarray | None) -> list[Panel]:
        wishes = self.wishes
        if not wishes.baselines:
            return []
        from rnafm_cli.atlas.comparison import baseline_vectors, compare_layouts
        from rnafm_cli.atlas.points import view_labels

        sequences = points.sequences
        assert sequences is not None
        if len(set(labels) - {""}) < 2:
            console.warn("one label only: the maps are drawn without figures")
        name = model_name(points.provenance)
        kinds: dict[str, Any] = {name: lambda: points.vectors_ND}
        for kind in wishes.baselines:
            if kind == "random":
                kinds[NAMES[kind]] = lambda: self._random_vectors(points)
            else:
                kinds[NAMES[kind]] = lambda kind=kind: baseline_vectors(kind, sequences)
        views = {view: view_labels(view, points, labels) for view in dict.fromkeys(["type", *wishes.views])}
        return compare_layouts(kinds, views, wishes.layout, fold_N=folds, ready={name: layout}, tell=console.info)

    def _random_vectors(self, points: AtlasPoints) -> np.ndarray:
        """The same sequences through the same network with random weights, kept beside the embeddings."""
        from rnafm_cli.encoder.network import untrained
        from rnafm_cli.rna.records import SequenceRecord

        seed = self.wishes.layout.seed
        made = self.model.provenance
        made |= {"model": f"{made['model']} with random weights, seed {seed}", "weights_sha256": f"random {seed}"}
        records = [SequenceRecord(name, s) for name, s in zip(points.ids, points.sequences or [], strict=True)]
        cache = self.wishes.cache.with_name(f"{self.wishes.cache.stem}.random.h5")
        encoder = untrained(self.model.loaded.encoder, seed=seed).to(self.model.loaded.runtime.dtype)
        _, vectors = self.intake.embed(
            records,
            cache,
            made,
            replace=self.wishes.replace_cache,
            encoder=encoder,
            description="embedding, random weights",
        )
        return vectors

    def _trajectory(self, layout: Layout, points: AtlasPoints, labels: list[str]) -> Trajectory | None:
        wishes = self.wishes
        if wishes.root is None:
            return None
        from rnafm_cli.atlas.trajectory import find_trajectory, roots_named

        console.info(f"pseudotime from {wishes.root}")
        roots = roots_named(wishes.root, points.ids, labels)
        return find_trajectory(
            layout, wishes.root, roots, measure=wishes.measure, seed=wishes.layout.seed, warn=console.warn
        )

    def _structures(self, points: AtlasPoints) -> list[str]:

        return structures_of(self.model, points, self.wishes.folder / "structures.dbn")

    def _write(
        self,
        points: AtlasPoints,
        layout: Layout,
        labels: list[str],
        folds: np.ndarray | None,
        trajectory: Trajectory | None,
    ) -> None:
        from rnafm_cli.atlas.files import write_atlas_file, write_points
        from rnafm_cli.atlas.placement import atlas_file_of
        from rnafm_cli.atlas.points import view_labels

        folder = self.wishes.folder
        time_N = None if trajectory is None else trajectory.time_N
        write_points(
            folder / "atlas.tsv", points.ids, layout.place_N2, labels, layout.cluster_N, points.lengths_N, time_N
        )
        roles = view_labels("role", points, labels)
        write_atlas_file(folder / "atlas.h5", atlas_file_of(points, layout, labels, roles, fold_N=folds))

    def _write_summary(self) -> None:
        from rnafm_cli.io.streams import open_output

        with open_output(self.wishes.folder / "atlas.json") as sink:
            sink.write(json.dumps(self.summary, indent=1, default=str) + "\n")
