"""The folder of an atlas: tables, pictures and page of a finished map, and of new sequences placed on one.

Shape suffixes: N points, M new ones.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnafm_cli.atlas.comparison import Panel
from rnafm_cli.atlas.figures import draw_groups, draw_mapped, draw_panels
from rnafm_cli.atlas.layout import AtlasLayout
from rnafm_cli.atlas.page import STARTS, PagePoints, View, write_page
from rnafm_cli.atlas.placement import AtlasFile, Newcomer
from rnafm_cli.atlas.points import AtlasPoints, clusters_as_labels, view_labels
from rnafm_cli.atlas.trajectory import Trajectory, compare_times, mean_times
from rnafm_cli.atlas.trajectory_figures import draw_cluster_graph, draw_stream, draw_time_scatter, draw_violins
from rnafm_cli.errors import InputError, RnafmWarning
from rnafm_cli.io.columns import TABLES
from rnafm_cli.io.streams import open_output
from rnafm_cli.io.tables import TableWriter

Tell = Callable[[str], None]

_METHODS = {"umap": "UMAP", "pca": "principal axes", "tsne": "t-SNE"}
_MEASURES = {"diffusion": "diffusion pseudotime", "walk": "hitting times of a lazy random walk with teleportation"}


def model_name(provenance: Mapping[str, Any]) -> str:
    """What to call the model in figures: its name, or that of its file without folder and suffix."""
    return Path(str(provenance.get("model", "embeddings"))).name.removesuffix(".safetensors")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], table: str) -> None:
    """A TSV; a number that is none (NaN) is an empty cell.

    Args:
        table: whose columns it has, of ``io.columns.TABLES``, if there are no rows to name them.
    """
    with open_output(path) as sink:
        writer = TableWriter(sink, list(rows[0]) if rows else list(TABLES[table]))
        writer.write_all({name: None if value != value else value for name, value in row.items()} for row in rows)
        writer.flush()


@dataclass(frozen=True, eq=False, kw_only=True)
class AtlasFolder:
    """A finished map on its way into a folder."""

    folder: Path
    points: AtlasPoints
    layout: AtlasLayout
    labels: list[str]
    label_counts: Counter[str]
    """How many sequences had each label before some of each were chosen."""
    title: str
    seed: int

    @property
    def caption(self) -> str:
        """What was drawn, and how."""
        made, layout = self.points.provenance, self.layout
        vectors = f"{model_name(made)}, layer {made['layer']}" if "layer" in made else model_name(made)
        how = _METHODS[layout.method] + ("" if layout.method == "pca" else f" of {layout.pca}")
        how += f", {layout.neighbours.index_NK.shape[1]} neighbours" if layout.method == "umap" else ""
        return f"{len(self.points):,} RNAs; {vectors}, mean over nucleotides; {how}; seed {self.seed}"

    def write_points(self, time_N: np.ndarray | None = None) -> None:
        """``atlas.tsv``: a row for each sequence in input order; clusters count from 1, unknown values are empty."""
        points, layout = self.points, self.layout
        rows = [
            {
                "id": identifier,
                "x": float(layout.place_N2[k, 0]),
                "y": float(layout.place_N2[k, 1]),
                "label": self.labels[k],
                "cluster": int(layout.cluster_N[k]) + 1,
                "pseudotime": None if time_N is None else float(time_N[k]),
                "length": int(points.lengths_N[k]) or None,
            }
            for k, identifier in enumerate(points.ids)
        ]
        write_rows(self.folder / "atlas.tsv", rows, "atlas")

    def draw_maps(self, views: Sequence[Any]) -> None:
        """``atlas.png`` and ``.svg`` by label, and one more for each other view."""
        for view in dict.fromkeys(["type", *views]):
            labels, by_type = view_labels(view, self.points, self.labels), view == "type"
            if not any(labels):
                warnings.warn(f"no sequence has a {view}: no map by {view}", RnafmWarning, stacklevel=2)
                continue
            draw_groups(
                self.layout.place_N2,
                labels,
                self.folder / ("atlas" if by_type else f"atlas_{view}"),
                title=self.title if by_type else f"{self.title}, by {view}",
                caption=self.caption,
                seed=self.seed,
                counts=self.label_counts if by_type else None,
            )

    def write_comparison(self, panels: Sequence[Panel], *, tell: Tell) -> list[dict[str, Any]]:
        """``comparison.png``, ``.svg`` and ``.tsv``; returns the figures."""
        stem = self.folder / "comparison"
        axes = panels[0].layout.pca
        words = f"kNN: types called by 10 nearest neighbours, near copies hidden; purity, silhouette: {axes}"
        caption = f"{len(self.points):,} RNAs. {words}; ARI: Leiden clusters"
        draw_panels(panels, self.labels, stem, caption=caption, counts=self.label_counts)
        rows = [{"vectors": panel.name, **dataclasses.asdict(found)} for panel in panels for found in panel.separations]
        for panel in panels:
            for found in panel.separations:
                tell(f"{panel.name}, {found}")
        write_rows(stem.with_suffix(".tsv"), rows, "atlas --compare")
        return rows

    def write_trajectory(self, found: Trajectory, times: Mapping[str, float] | None, *, tell: Tell) -> dict[str, Any]:
        """Stream plot, graph of clusters, violins and tables; returns the figures."""
        folder, place, cluster_N = self.folder, self.layout.place_N2, self.layout.cluster_N
        time_N, lineages = found.time_N, found.lineages
        label_N = np.asarray(self.labels)
        usual = [Counter(label_N[cluster_N == k].tolist()).most_common(1)[0] for k in range(len(lineages.time_C))]
        names = [f"{k + 1} {label}".strip() for k, (label, _) in enumerate(usual)]
        ends = {names[k]: np.median(place[cluster_N == k], axis=0) for k in lineages.terminal_T}
        words = {
            "title": f"{self.title}: pseudotime from {found.root}",
            "caption": f"{self.caption}; {_MEASURES[found.measure]} from {found.root}",
        }
        means = mean_times(time_N, self.labels)
        draw_stream(place, time_N, found.root_points, ends, folder / "trajectory", **words)
        draw_cluster_graph(place, time_N, cluster_N, lineages, names, folder / "trajectory_graph", **words)
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
        write_rows(folder / "trajectory.tsv", rows, "atlas --trajectory")
        by_label = [
            {"label": name, "sequences": count, "mean_pseudotime": mean, "time": (times or {}).get(name)}
            for name, (mean, count) in means.items()
        ]
        write_rows(folder / "trajectory_labels.tsv", by_label, "atlas --trajectory --times")
        terminal = [names[k] for k in lineages.terminal_T]
        tell(f"terminal states: {', '.join(terminal) or 'none'}")
        summary: dict[str, Any] = {
            "root": found.root,
            "pseudotime": found.measure,
            "without_pseudotime": int((~np.isfinite(time_N)).sum()),
            "terminal_states": terminal,
        }
        if times is not None:
            try:
                link = compare_times(means, times, seed=self.seed)
            except InputError as error:
                warnings.warn(error.message, RnafmWarning, stacklevel=2)
                return summary
            draw_time_scatter(means, times, link, folder / "trajectory_times")
            summary["times"] = dataclasses.asdict(link)
            tell(
                f"mean pseudotime of {link.values} labels against their times: Spearman {link.spearman:+.3f}, "
                f"permutation p = {link.p_value:.4g}"
            )
        return summary

    def write_page(
        self, label_name: str, trajectory: Trajectory | None, structures: list[str] | None, *, by_role: bool
    ) -> None:
        """``atlas.html``.

        Args:
            label_name: what the labels are.
            structures: dot-bracket strings, drawn when an RNA is clicked.
            by_role: offer a view by role even if no header tells one.
        """
        points, lengths_N = self.points, self.points.lengths_N
        clusters = clusters_as_labels(self.layout.cluster_N)
        views: dict[str, View] = {}
        if self.labels != clusters:
            views[label_name] = self.labels
        if by_role or any(attributes.get("role") for attributes in points.attributes):
            views["role"] = view_labels("role", points, self.labels)
        views["cluster"] = clusters
        if (lengths_N > 0).any():
            views["length"] = np.where(lengths_N > 0, lengths_N, np.nan)
        if trajectory is not None:
            views["pseudotime"] = trajectory.time_N
        sequences = points.sequences or [""] * len(points)
        shown = PagePoints(
            ids=points.ids,
            place_N2=self.layout.place_N2,
            lengths_N=lengths_N,
            starts=sequences if structures else [sequence[:STARTS] for sequence in sequences],
            structures=structures,
        )
        write_page(self.folder / "atlas.html", shown, views, title=self.title, caption=self.caption)


def write_mapped(
    folder: Path, atlas: AtlasFile, new: Sequence[Newcomer], *, title: str, seed: int = 0, page: bool = True
) -> None:
    """New sequences over the atlas, as picture and page."""
    place_M2 = np.asarray([(one.call.x, one.call.y) for one in new], dtype=np.float32).reshape(-1, 2)
    caption = f"{len(new):,} sequences on the atlas of {len(atlas.ids):,} ({model_name(atlas.settings)})"
    ids = [one.id for one in new]
    draw_mapped(atlas.place_N2, atlas.labels, place_M2, ids, folder / "mapped", title=title, caption=caption, seed=seed)
    if not page:
        return
    points = PagePoints(
        ids=ids + atlas.ids,
        place_N2=np.concatenate([place_M2, atlas.place_N2]),
        lengths_N=np.concatenate([np.asarray([one.length for one in new], dtype=np.int64), atlas.lengths_N]),
        starts=[one.start for one in new] + atlas.starts,
    )
    views: dict[str, View] = {
        "type": [one.call.label for one in new] + atlas.labels,
        "new or atlas": ["new"] * len(new) + ["atlas"] * len(atlas.ids),
    }
    if len(atlas.share_P):
        views["confidence"] = np.asarray([one.call.confidence for one in new] + [np.nan] * len(atlas.ids))
    write_page(folder / "mapped.html", points, views, title=title, caption=caption)
