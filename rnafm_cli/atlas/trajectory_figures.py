"""Pictures of a path through the map: streams, the graph of clusters, pseudotime by label and against dates.

Shape suffixes: N points, C clusters, T terminal clusters, G cells along one side of a grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from rnafm_cli.atlas.figures import (
    NO_GROUP,
    closed_up,
    draw_points,
    plain_map,
    save_both,
    scale_colours,
    write_caption,
    write_names,
    write_with_halo,
)
from rnafm_cli.atlas.trajectory import Association, Lineages
from rnafm_cli.viz.axes import plain_frame
from rnafm_cli.viz.palette import INK, MUTED, PALE


def flow_field(
    place_N2: np.ndarray, value_N: np.ndarray, *, cells: int = 60, width: float = 2.0, least: float = 0.15
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Average the value over the neighbourhood on the map, and take the gradient.

    Returns:
        (G,) x and y of a square grid, and (G, G) its values, gradients along x and gradients along y, a row for each
        y; NaN where there are no points.

    Args:
        value_N: NaN values are left out.
        cells: G.
        width: standard deviation of the neighbourhood, in cells.
        least: density, as a share of the 95th percentile over cells with points, below which a cell is empty.
    """
    known = np.isfinite(value_N)
    place, value = place_N2[known], value_N[known]
    low, high = place.min(axis=0), place.max(axis=0)
    middle, span = (low + high) / 2, max(float((high - low).max()), 1e-9) * 1.1
    edges = np.linspace(-span / 2, span / 2, cells + 1)
    edges_x, edges_y = middle[0] + edges, middle[1] + edges
    count_GG, _, _ = np.histogram2d(place[:, 1], place[:, 0], bins=(edges_y, edges_x))
    sum_GG, _, _ = np.histogram2d(place[:, 1], place[:, 0], bins=(edges_y, edges_x), weights=value)
    density_GG = gaussian_filter(count_GG, width, mode="constant")
    total_GG = gaussian_filter(sum_GG, width, mode="constant")
    value_GG = total_GG / np.maximum(density_GG, 1e-12)
    step = span / cells
    up_GG, along_GG = np.gradient(value_GG, step, step)
    empty = density_GG < least * np.quantile(density_GG[count_GG > 0], 0.95)
    for grid in (value_GG, along_GG, up_GG):
        grid[empty] = np.nan
    return (edges_x[:-1] + edges_x[1:]) / 2, (edges_y[:-1] + edges_y[1:]) / 2, value_GG, along_GG, up_GG


_MOST_LABELS = 40
_WEAKEST = 0.05
"""Connectivity from which a line is drawn."""


def draw_stream(
    place_N2: np.ndarray,
    time_N: np.ndarray,
    roots: np.ndarray,
    ends: Mapping[str, np.ndarray],
    stem: Path,
    *,
    title: str = "",
    caption: str = "",
) -> list[Path]:
    """Streams along growing pseudotime over the map.

    Args:
        roots: (R,) numbers of the points at time zero; a star marks the middle of them.
        ends: the place of each terminal state by its name.
    """
    ends = {name: closed_up(place_N2, place[None])[0] for name, place in ends.items()}
    place_N2 = closed_up(place_N2)
    figure, axes = plain_map(place_N2, title=title, caption=caption)
    colour_N3, mappable = scale_colours(time_N)
    draw_points(axes, place_N2, colour_N3)
    x_G, y_G, _, along_GG, up_GG = flow_field(place_N2, time_N)
    speed = np.hypot(along_GG, up_GG)
    # Log speed: flat and steep stretches both keep lines that can be seen.
    top = np.nanmax(speed) if np.isfinite(speed).any() else 0.0
    if top > 0:
        width = 0.4 + 1.0 * np.nan_to_num(np.log1p(9 * speed / top) / np.log(10))
        flow = np.ma.masked_invalid(along_GG), np.ma.masked_invalid(up_GG)
        axes.streamplot(x_G, y_G, *flow, color=INK, density=1.5, linewidth=width, arrowsize=0.8, zorder=3)
    _mark(axes, np.median(place_N2[roots], axis=0), "root", "*", 150)
    for name, place in ends.items():
        _mark(axes, place, name, "X", 55)
    _time_bar(figure, axes, mappable)
    return save_both(figure, stem)


def draw_cluster_graph(
    place_N2: np.ndarray,
    time_N: np.ndarray,
    cluster_N: np.ndarray,
    lineages: Lineages,
    names: Sequence[str],
    stem: Path,
    *,
    title: str = "",
    caption: str = "",
) -> list[Path]:
    """Clusters as discs where they lie, lines as strong as their connectivity, arrows along the tree from the root."""
    place_N2 = closed_up(place_N2)
    figure, axes = plain_map(place_N2, title=title, caption=caption)
    grey_N3 = np.tile((0.87, 0.88, 0.9), (len(place_N2), 1))
    draw_points(axes, place_N2, grey_N3)
    count = len(lineages.time_C)
    centre = np.asarray([np.median(place_N2[cluster_N == k], axis=0) for k in range(count)])
    strong = lineages.connectivity_CC
    for a in range(count):
        for b in range(a):
            if strong[a, b] >= _WEAKEST:
                axes.plot(*centre[[a, b]].T, color=MUTED, linewidth=3.0 * strong[a, b], alpha=0.5, zorder=2)
    for child, parent in enumerate(lineages.parent_C):
        if parent >= 0:
            arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.1, "shrinkA": 5, "shrinkB": 6}
            axes.annotate("", xy=centre[child], xytext=centre[parent], arrowprops=arrow, zorder=3)
    colour_N3, mappable = scale_colours(time_N)
    sizes = np.bincount(cluster_N, minlength=count)
    discs = mappable.to_rgba(np.nan_to_num(lineages.time_C))
    discs[~np.isfinite(lineages.time_C), :3] = to_rgb(NO_GROUP)
    edge = [INK if k in lineages.terminal_T else "white" for k in range(count)]
    area = 30 + 320 * np.sqrt(sizes / sizes.max())
    axes.scatter(*centre.T, s=area, c=discs, edgecolors=edge, linewidths=1.4, zorder=4)
    _time_bar(figure, axes, mappable)
    write_names(axes, names, centre, [INK] * count, size=5.5, shift=(0, -12))
    return save_both(figure, stem)


def draw_violins(
    time_N: np.ndarray, labels: Sequence[str], order: Sequence[str], stem: Path, *, title: str = "", caption: str = ""
) -> list[Path]:
    """How pseudotime is spread within each label, the labels from early to late."""
    label_N = np.asarray(labels)
    shown = list(order)[:_MOST_LABELS]
    values = [time_N[(label_N == name) & np.isfinite(time_N)] for name in shown]
    figure = Figure(figsize=(6.0, 1.2 + 0.26 * len(shown)), facecolor="white", layout="constrained")
    axes: Any = figure.subplots()
    place = np.arange(len(shown))[::-1]
    colours = scale_colours(time_N)[1].to_rgba(np.asarray([value.mean() for value in values]))
    for value, at, colour in zip(values, place, colours, strict=True):
        # A density needs two different values.
        if np.ptp(value) > 1e-9:
            drawn = axes.violinplot(value, [at], orientation="horizontal", widths=0.85, showextrema=False)
            drawn["bodies"][0].set(facecolor=colour, edgecolor=INK, linewidth=0.4, alpha=0.95)
        low, middle, high = np.quantile(value, (0.25, 0.5, 0.75))
        axes.plot([low, high], [at, at], color=INK, linewidth=1.6, solid_capstyle="butt", zorder=3)
        axes.plot(middle, at, "o", color="white", markeredgecolor=INK, markersize=3.6, zorder=4)
    words = [f"{name.replace('_', ' ')}  ({len(value):,})" for name, value in zip(shown, values, strict=True)]
    axes.set_yticks(place, words, fontsize=7)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.7, len(shown) - 0.3))
    axes.set_xlabel("pseudotime")
    plain_frame(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=PALE, linewidth=0.4)
    if title:
        axes.set_title(title, fontsize=9, color=INK, loc="left")
    write_caption(figure, caption)
    return save_both(figure, stem)


def draw_time_scatter(
    means: Mapping[str, tuple[float, int]], times: Mapping[str, float], found: Association, stem: Path
) -> list[Path]:
    """Mean pseudotime of labels against given times, with the rank correlation."""
    both = [name for name in means if name in times]
    figure = Figure(figsize=(5.6, 4.2), facecolor="white", layout="constrained")
    axes: Any = figure.subplots()
    spots = np.asarray([(times[name], means[name][0]) for name in both])
    axes.scatter(*spots.T, s=22, color="#0072b2", zorder=3)
    axes.margins(0.12, 0.1)
    axes.set(xlabel="time from the root, as given", ylabel="mean pseudotime")
    plain_frame(axes)
    words = f"Spearman {found.spearman:+.2f}, permutation p = {found.p_value:.3g}, {found.values} labels"
    axes.set_title(words, fontsize=9, color=INK, loc="left")
    write_names(axes, [name.replace("_", " ") for name in both], spots, [INK] * len(both), size=6.0, shift=(0, 7))
    return save_both(figure, stem)


def _mark(axes: Any, place: np.ndarray, name: str, marker: str, area: float) -> None:
    axes.scatter(*place, marker=marker, s=area, color="#d55e00", edgecolors="white", linewidths=0.9, zorder=6)
    words = name.replace("_", " ")
    write_with_halo(axes, place, words, size=7, colour=INK, above=10)


def _time_bar(figure: Any, axes: Any, mappable: Any) -> None:
    bar = figure.colorbar(mappable, ax=axes, shrink=0.5, aspect=18, pad=0.02, extend="max")
    bar.set_label("pseudotime", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
