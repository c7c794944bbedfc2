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
from rnafm_cli.atlas.figures import (
    draw_cluster_graph,
    draw_groups,
    draw_mapped,
    draw_panels,
    draw_stream,
    draw_times,
    draw_violins,
)
from rnafm_cli.atlas.layout import AtlasLayout
from rnafm_cli.atlas.page import Colouring, write_page
from rnafm_cli.atlas.placement import STARTS, AtlasFile, TypeCall
from rnafm_cli.atlas.points import AtlasPoints, clusters_as_labels, view_labels
from rnafm_cli.atlas.trajectory import Trajectory, associate, labels_with_times, mean_times
from rnafm_cli.errors import InputError, RnafmWarning
from rnafm_cli.io.columns import TABLES
from rnafm_cli.io.streams import open_output
from rnafm_cli.io.tables import TableWriter
from rnafm_cli.rna.records import SequenceRecord

_METHODS = {"umap": "UMAP", "pca": "principal axes", "tsne": "t-SNE"}
_PAGE_STARTS = 48
"""First bases that the page holds of each RNA."""


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
    tell: Callable[[str], None]

    @property
    def caption(self) -> str:
        """What was drawn, and how."""
        made, layout = self.points.provenance, self.layout
        vectors = f"{model_name(made)}, layer {made['layer']}" if "layer" in made else model_name(made)
        how = _METHODS[layout.method] + ("" if layout.method == "pca" else f" of {layout.pca}")
        how += f", {layout.neighbours.index_NK.shape[1]} neighbours" if layout.method == "umap" else ""
        return f"{len(self.points):,} RNAs; {vectors}, mean over nucleotides; {how}; seed {self.seed}"

    def write_points(self, time_N: np.ndarray | None) -> None:
        """``atlas.tsv``: a row for each sequence in input order; clusters count from 1, unknown values are empty."""
        count = len(self.points)
        columns = {
            "id": self.points.ids,
            "x": self.layout.place_N2[:, 0],
            "y": self.layout.place_N2[:, 1],
            "label": self.labels,
            "cluster": self.layout.cluster_N + 1,
            "pseudotime": [None] * count if time_N is None else time_N,
            "length": [length or None for length in self.points.lengths_N.tolist()],
        }
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
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

    def write_comparison(self, panels: Sequence[Panel]) -> list[dict[str, Any]]:
        """``comparison.png``, ``.svg`` and ``.tsv``; returns the figures."""
        stem = self.folder / "comparison"
        axes = panels[0].layout.pca
        words = f"kNN: types called by 10 nearest neighbours, near copies hidden; purity, silhouette: {axes}"
        caption = f"{len(self.points):,} RNAs. {words}; ARI: Leiden clusters"
        draw_panels(panels, self.labels, stem, caption=caption, counts=self.label_counts)
        rows = []
        for panel in panels:
            for found in panel.separations:
                rows.append({"vectors": panel.name, **dataclasses.asdict(found)})
                self.tell(f"{panel.name}, {found}")
        write_rows(stem.with_suffix(".tsv"), rows, "atlas --compare")
        return rows

    def write_trajectory(self, found: Trajectory, times: Mapping[str, float] | None) -> dict[str, Any]:
        """Stream plot, graph of clusters and tables; returns the figures."""
        folder, cluster_N, time_N, label_N = self.folder, self.layout.cluster_N, found.time_N, np.asarray(self.labels)
        rows, names = [], []
        for k, time in enumerate(found.time_C.tolist()):
            members = label_N[cluster_N == k].tolist()
            label, count = Counter(members).most_common(1)[0]
            names.append(f"{k + 1} {label}".strip())
            row = {
                "cluster": k + 1,
                "sequences": len(members),
                "label": label,
                "label_share": count / len(members),
                "pseudotime": time,
                "before": int(found.parent_C[k]) + 1 or None,
                "state": "root" if k == found.root_cluster else "terminal" if k in found.terminal_T else "",
            }
            rows.append(row)
        terminal = [names[k] for k in found.terminal_T]
        for row, fate_T in zip(rows, found.fate_CT.tolist(), strict=True):
            row |= {f"to {name}": chance for name, chance in zip(terminal, fate_T, strict=True)}
        write_rows(folder / "trajectory.tsv", rows, "atlas --trajectory")
        means = mean_times(time_N, self.labels)
        by_label = [
            {"label": name, "sequences": count, "mean_pseudotime": mean, "time": (times or {}).get(name)}
            for name, (mean, count) in means.items()
        ]
        write_rows(folder / "trajectory_labels.tsv", by_label, "atlas --trajectory --times")
        words = {
            "title": f"{self.title}: pseudotime from {found.root}",
            "caption": f"{self.caption}; diffusion pseudotime from {found.root}",
        }
        place_N2 = self.layout.place_N2
        draw_stream(place_N2, found, cluster_N, names, folder / "trajectory", **words)
        draw_cluster_graph(place_N2, found, cluster_N, names, folder / "trajectory_graph", **words)
        if means:
            draw_violins(time_N, self.labels, list(means), folder / "trajectory_violins", **words)
        self.tell(f"terminal states: {', '.join(terminal) or 'none'}")
        summary: dict[str, Any] = {
            "root": found.root,
            "pseudotime": "diffusion",
            "without_pseudotime": int((~np.isfinite(time_N)).sum()),
            "terminal_states": terminal,
        }
        if times is not None:
            try:
                both = labels_with_times(means, times)
            except InputError as error:
                warnings.warn(error.message, RnafmWarning, stacklevel=2)
                return summary
            given, reached = np.asarray([(times[name], means[name][0]) for name in both]).T
            link = associate(reached, given, seed=self.seed)
            summary["times"] = dataclasses.asdict(link)
            told = f"Spearman {link.spearman:+.3f}, permutation p = {link.p_value:.4g}"
            self.tell(f"mean pseudotime of {link.values} labels against their times: {told}")
            title = f"{told}, {link.values} labels"
            draw_times(given, reached, both, folder / "trajectory_times", title=title)
        return summary

    def write_page(
        self, label_name: str, time_N: np.ndarray | None, structures: list[str] | None, *, by_role: bool
    ) -> None:
        """``atlas.html``.

        Args:
            label_name: what the labels are.
            structures: dot-bracket strings, drawn when an RNA is clicked.
            by_role: offer a view by role even if no header tells one.
        """
        points, lengths_N = self.points, self.points.lengths_N
        clusters = clusters_as_labels(self.layout.cluster_N)
        views: dict[str, Colouring] = {}
        if self.labels != clusters:
            views[label_name] = self.labels
        if by_role or any(attributes.get("role") for attributes in points.attributes):
            views["role"] = view_labels("role", points, self.labels)
        views["cluster"] = clusters
        if (lengths_N > 0).any():
            views["length"] = np.where(lengths_N > 0, lengths_N, np.nan)
        if time_N is not None:
            views["pseudotime"] = time_N
        write_page(
            self.folder / "atlas.html",
            points.ids,
            self.layout.place_N2,
            lengths_N,
            [record.sequence[: None if structures else _PAGE_STARTS] for record in points.records],
            views,
            structures=structures,
            title=self.title,
            caption=self.caption,
        )


def write_mapped(
    folder: Path,
    atlas: AtlasFile,
    new: Sequence[tuple[SequenceRecord, int]],
    calls: Sequence[TypeCall],
    *,
    title: str,
    seed: int = 0,
    page: bool = True,
) -> None:
    """New sequences, with their lengths, over the atlas, as picture and page."""
    place_M2 = np.asarray([(call.x, call.y) for call in calls], dtype=np.float32).reshape(-1, 2)
    caption = f"{len(new):,} sequences on the atlas of {len(atlas.ids):,} ({model_name(atlas.settings)})"
    ids, starts = [record.id for record, _ in new], [record.sequence[:STARTS] for record, _ in new]
    lengths = np.asarray([length for _, length in new], dtype=np.int64)
    draw_mapped(atlas.place_N2, atlas.labels, place_M2, ids, folder / "mapped", title=title, caption=caption, seed=seed)
    if not page:
        return
    old = len(atlas.ids)
    views: dict[str, Colouring] = {
        "type": [call.label for call in calls] + atlas.labels,
        "new or atlas": ["new"] * len(new) + ["atlas"] * old,
    }
    if len(atlas.share_P):
        views["confidence"] = np.asarray([call.confidence for call in calls] + [np.nan] * old)
    write_page(
        folder / "mapped.html",
        ids + atlas.ids,
        np.concatenate([place_M2, atlas.place_N2]),
        np.concatenate([lengths, atlas.lengths_N]),
        starts + atlas.starts,
        views,
        title=title,
        caption=caption,
    )
