"""Pictures of a path through the map: streams, the graph of clusters, pseudotime by label and against dates.

Shape suffixes: N points, C clusters, T terminal clusters, L labels, G cells along one side of a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from rnafm_cli.atlas.figures import (
    closed_up,
    coloured,
    draw_points,
    map_picture,
    picture,
    plain_words,
    scale_colours,
    write_names,
    write_with_halo,
)
from rnafm_cli.atlas.trajectory import Association, Trajectory
from rnafm_cli.viz.axes import plain_frame
from rnafm_cli.viz.palette import INK, MUTED, PALE

_MOST_LABELS = 40
_WEAKEST = 0.05
"""Connectivity from which a line is drawn."""
_CELLS = 60
_WIDTH = 2.0
"""Standard deviation of a cell's neighbourhood, in cells."""
_LEAST = 0.15
"""Density, as a share of the 95th percentile over cells with points, below which a cell is empty."""


def draw_stream(
    place_N2: np.ndarray, found: Trajectory, cluster_N: np.ndarray, names: Sequence[str], stem: Path, **words: str
) -> None:
    """Streams along growing pseudotime over the map; a star marks the root, crosses the terminal clusters.

    Args:
        names: of the clusters.
        words: ``title`` and ``caption``.
    """
    ends = {names[k]: np.median(place_N2[cluster_N == k], axis=0) for k in found.terminal_T}
    ends = {name: closed_up(place_N2, place_2[None])[0] for name, place_2 in ends.items()}
    place_N2 = closed_up(place_N2)
    colour_N3, mappable = scale_colours(found.time_N)
    with map_picture(place_N2, stem, **words) as axes:
        draw_points(axes, place_N2, colour_N3)
        x_G, y_G, along_GG, up_GG = flow_field(place_N2, found.time_N)
        speed_GG = np.hypot(along_GG, up_GG)
        if (top := np.max(speed_GG, initial=0.0, where=np.isfinite(speed_GG))) > 0:
            # Log speed: flat and steep stretches both keep lines that can be seen.
            width = 0.4 + 1.0 * np.nan_to_num(np.log1p(9 * speed_GG / top) / np.log(10))
            flow = np.ma.masked_invalid(along_GG), np.ma.masked_invalid(up_GG)
            axes.streamplot(x_G, y_G, *flow, color=INK, density=1.5, linewidth=width, arrowsize=0.8, zorder=3)
        _mark(axes, np.median(place_N2[found.root_points], axis=0), "root", "*", 150)
        for name, place_2 in ends.items():
            _mark(axes, place_2, name, "X", 55)
        _time_bar(axes, mappable)


def flow_field(
    place_N2: np.ndarray, value_N: np.ndarray, *, cells: int = _CELLS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Average the value over the neighbourhood on the map, and take the gradient.

    Returns:
        (G,) x and y of a square grid, and (G, G) gradients along x and along y, a row for each y; NaN where there are
        no points.

    Args:
        value_N: NaN values are left out.
        cells: G.
    """
    known = np.isfinite(value_N)
    (x_N, y_N), value_N = place_N2[known].T, value_N[known]
    low, high = place_N2[known].min(axis=0), place_N2[known].max(axis=0)
    middle, span = (low + high) / 2, max(float((high - low).max()), 1e-9) * 1.1
    edges_x, edges_y = middle[:, None] + np.linspace(-span / 2, span / 2, cells + 1)
    count_GG, sum_GG = (
        np.histogram2d(y_N, x_N, bins=(edges_y, edges_x), weights=weights)[0] for weights in (None, value_N)
    )
    density_GG = gaussian_filter(count_GG, _WIDTH, mode="constant")
    value_GG = gaussian_filter(sum_GG, _WIDTH, mode="constant") / np.maximum(density_GG, 1e-12)
    up_GG, along_GG = np.gradient(value_GG, span / cells)
    empty_GG = density_GG < _LEAST * np.quantile(density_GG[count_GG > 0], 0.95)
    along_GG[empty_GG] = up_GG[empty_GG] = np.nan
    return (edges_x[:-1] + edges_x[1:]) / 2, (edges_y[:-1] + edges_y[1:]) / 2, along_GG, up_GG


def draw_cluster_graph(
    place_N2: np.ndarray, found: Trajectory, cluster_N: np.ndarray, names: Sequence[str], stem: Path, **words: str
) -> None:
    """Clusters as discs where they lie, lines as strong as their connectivity, arrows along the tree from the root."""
    place_N2 = closed_up(place_N2)
    count = len(found.time_C)
    centre_C2 = np.asarray([np.median(place_N2[cluster_N == k], axis=0) for k in range(count)])
    _, mappable = scale_colours(found.time_N)
    with map_picture(place_N2, stem, **words) as axes:
        draw_points(axes, place_N2, np.tile((0.87, 0.88, 0.9), (len(place_N2), 1)))
        for a, b in np.argwhere(np.tril(found.connectivity_CC >= _WEAKEST)):
            style = {"linewidth": 3.0 * found.connectivity_CC[a, b], "alpha": 0.5, "zorder": 2}
            axes.plot(*centre_C2[[a, b]].T, color=MUTED, **style)
        for child in np.flatnonzero(found.parent_C >= 0):
            arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.1, "shrinkA": 5, "shrinkB": 6}
            ends = {"xy": centre_C2[child], "xytext": centre_C2[found.parent_C[child]]}
            axes.annotate("", **ends, arrowprops=arrow, zorder=3)
        sizes = np.bincount(cluster_N, minlength=count)
        edge = [INK if k in found.terminal_T else "white" for k in range(count)]
        discs = {"s": 30 + 320 * np.sqrt(sizes / sizes.max()), "c": coloured(mappable, found.time_C)}
        axes.scatter(*centre_C2.T, **discs, edgecolors=edge, linewidths=1.4, zorder=4)
        _time_bar(axes, mappable)
        write_names(axes, names, centre_C2, [INK] * count, size=5.5, shift=(0, -12))


def draw_violins(time_N: np.ndarray, labels: Sequence[str], order: Sequence[str], stem: Path, **words: str) -> None:
    """How pseudotime is spread within each label, the labels from early to late."""
    label_N, shown = np.asarray(labels), list(order)[:_MOST_LABELS]
    values = [time_N[(label_N == name) & np.isfinite(time_N)] for name in shown]
    place = np.arange(len(shown))[::-1]
    colours = scale_colours(time_N)[1].to_rgba(np.asarray([value.mean() for value in values]))
    with picture(stem, 6.0, 1.2 + 0.26 * len(shown), **words) as axes:  # type: ignore[arg-type]
        for value, at, colour in zip(values, place, colours, strict=True):
            # A density needs two different values.
            if np.ptp(value) > 1e-9:
                drawn = axes.violinplot(value, [at], orientation="horizontal", widths=0.85, showextrema=False)
                drawn["bodies"][0].set(facecolor=colour, edgecolor=INK, linewidth=0.4, alpha=0.95)
            low, middle, high = np.quantile(value, (0.25, 0.5, 0.75))
            axes.plot([low, high], [at, at], color=INK, linewidth=1.6, solid_capstyle="butt", zorder=3)
            axes.plot(middle, at, "o", color="white", markeredgecolor=INK, markersize=3.6, zorder=4)
        ticks = [f"{name}  ({len(value):,})" for name, value in zip(plain_words(shown), values, strict=True)]
        axes.set_yticks(place, ticks, fontsize=7)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.7, len(shown) - 0.3), xlabel="pseudotime", axisbelow=True)
        plain_frame(axes)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", color=PALE, linewidth=0.4)


def draw_time_scatter(
    labels: Sequence[str], given_L: np.ndarray, reached_L: np.ndarray, found: Association, stem: Path
) -> None:
    """Mean pseudotime of labels against given times, with the rank correlation."""
    title = f"Spearman {found.spearman:+.2f}, permutation p = {found.p_value:.3g}, {found.values} labels"
    spots_L2 = np.stack([given_L, reached_L], axis=1)
    with picture(stem, 5.6, 4.2, title=title) as axes:
        axes.scatter(*spots_L2.T, s=22, color="#0072b2", zorder=3)
        axes.margins(0.12, 0.1)
        axes.set(xlabel="time from the root, as given", ylabel="mean pseudotime")
        plain_frame(axes)
        write_names(axes, plain_words(labels), spots_L2, [INK] * len(labels), size=6.0, shift=(0, 7))


def _mark(axes: Any, place_2: np.ndarray, name: str, marker: str, area: float) -> None:
    axes.scatter(*place_2, marker=marker, s=area, color="#d55e00", edgecolors="white", linewidths=0.9, zorder=6)
    write_with_halo(axes, place_2, *plain_words([name]), size=7, colour=INK, above=10)


def _time_bar(axes: Any, mappable: Any) -> None:
    bar = axes.get_figure().colorbar(mappable, ax=axes, shrink=0.5, aspect=18, pad=0.02, extend="max")
    bar.set_label("pseudotime", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
