"""The figures, tables of figures, and page of an atlas run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from rnafm_cli.cli import console
from rnafm_cli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from rnafm_cli.cli.atlas_run import Wishes
    from rnafm_cli.tasks.atlas_comparison import Panel, Separation
    from rnafm_cli.tasks.atlas_layout import Layout
    from rnafm_cli.tasks.atlas_points import AtlasPoints
    from rnafm_cli.tasks.atlas_trajectory import Trajectory

__all__ = ["AtlasDrawing"]


class AtlasDrawing:
    """Writes pictures and page into the folder of a run."""

    def __init__(self, wishes: Wishes, caption: str, points: AtlasPoints, layout: Layout, labels: list[str]) -> None:
        self.wishes, self.caption = wishes, caption
        self.points, self.layout, self.labels = points, layout, labels

    def maps(self) -> None:
        """``atlas.png`` and ``.svg`` by label, and one more for each view."""
        from rnafm_cli.tasks.atlas_labels import view_labels
        from rnafm_cli.viz.atlas_figures import draw_groups

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
        from rnafm_cli.io.atlas_tables import write_rows
        from rnafm_cli.viz.atlas_panels import MapPanel, draw_panels

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

        from rnafm_cli.io.atlas_tables import write_rows
        from rnafm_cli.tasks.atlas_trajectory import compare_times, mean_times
        from rnafm_cli.viz.trajectory_figures import draw_cluster_graph, draw_stream, draw_time_scatter, draw_violins

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
        from rnafm_cli.tasks.atlas_labels import clusters_as_labels, view_labels
        from rnafm_cli.viz.atlas_page import STARTS, GroupView, PagePoints, ScaleView, write_page

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
