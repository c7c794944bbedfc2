"""Maps of RNA space as pictures for print.

Lengths are in points (1/72 inch) from the lower left corner.

Shape suffixes: N points, L labels, M new ones, C clusters, T terminal clusters, G cells along one side of a grid.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import Stroke
from scipy.ndimage import gaussian_filter

from rnafm_cli.atlas.comparison import Panel
from rnafm_cli.atlas.trajectory import Trajectory
from rnafm_cli.viz.canvas import plain_frame, save_figure
from rnafm_cli.viz.palette import INK, MUTED

GROUP_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    *("#332288", "#882255", "#999933"),
)
"""Apart for colour-blind readers (after Okabe & Ito 2008, and Tol's muted scheme)."""
NO_GROUP = "#c3c7ce"
SCALE = "cividis"
"""The colours of a quantity, even to colour-blind eyes."""

_CELLS = 64
_FAR = 3.0
"""Widths of the middle half beyond it from which a value is an outlier."""
_LETTER = 0.56
"""Mean width of a letter, as a share of the font size."""
_RING = 3.0
_TURNS = 24
"""Places tried for a name: so many directions at distances that grow by so many points."""
_LETTERS_PER_INCH = 20
"""Of a caption."""
_VECTOR_POINTS = 4000
"""Up to this many points are shapes of their own in an SVG; more are one picture."""
_MOST_NAMES = 60
_MOST_PANEL_NAMES = 14
_FEW = 6
_WASH = 0.62
"""How much of an atlas point's colour gives way to white where new RNAs are shown."""
_MOST_VIOLINS = 40
_WEAKEST = 0.05
"""Connectivity of clusters from which a line is drawn."""
_SMOOTHED = 2.0
"""Standard deviation of a cell's neighbourhood in the field of streams, in cells."""
_LEAST = 0.15
"""Density, as a share of the 95th percentile over cells with points, below which a cell has no stream."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Labels as groups, the largest first."""

    names: list[str]
    sizes: list[int]
    index_N: np.ndarray
    """Group of each point; -1 for points without label."""
    colours: list[str]
    """Of each group; beyond nine groups colours repeat, as far from each other on the map as can be."""
    anchors_L2: np.ndarray
    """The middle of the densest part of each group."""

    def colour_of_points(self) -> np.ndarray:
        """(N, 3) red, green, blue from 0 to 1."""
        return np.asarray([to_rgb(colour) for colour in (*self.colours, NO_GROUP)])[self.index_N]


def group_points(place_N2: np.ndarray, labels: Sequence[str], known: Mapping[str, int] | None = None) -> Groups:
    """Groups of a map's points by label, with a colour and a place for the name of each.

    Args:
        known: how many RNAs have each label where the map shows some of each; of groups of one size the most frequent
            comes first.
    """
    counts = Counter(label for label in labels if label)
    names = sorted(counts, key=lambda name: (-counts[name], -(known or {}).get(name, 0), name))
    number = {name: k for k, name in enumerate(names)}
    index_N = np.asarray([number.get(label, -1) for label in labels], dtype=np.int64)
    anchors_L2 = np.asarray([_densest(place_N2[index_N == k], place_N2) for k in range(len(names))]).reshape(-1, 2)
    return Groups(names, [counts[name] for name in names], index_N, _colours(anchors_L2), anchors_L2)


def _densest(member_M2: np.ndarray, all_N2: np.ndarray) -> np.ndarray:
    """The mean of a group's points around its densest spot."""
    low, high = all_N2.min(axis=0), all_N2.max(axis=0)
    cell_M2 = np.minimum((member_M2 - low) / np.maximum(high - low, 1e-9) * _CELLS, _CELLS - 1).astype(np.int64)
    count = np.zeros((_CELLS, _CELLS))
    np.add.at(count, tuple(cell_M2.T), 1.0)
    peak = np.unravel_index(gaussian_filter(count, 1.5, mode="constant").argmax(), count.shape)
    near = np.abs(cell_M2 - np.asarray(peak)).max(axis=1) <= 2
    return member_M2[near].mean(axis=0) if near.any() else np.median(member_M2, axis=0)


def _colours(anchors_L2: np.ndarray) -> list[str]:
    """A colour for each group in turn: an unused one, else the one whose bearers are farthest away."""
    chosen = list(range(min(len(anchors_L2), len(GROUP_COLOURS))))
    for k in range(len(chosen), len(anchors_L2)):
        far = np.linalg.norm(anchors_L2[:k] - anchors_L2[k], axis=1)
        closest = [far[np.asarray(chosen) == colour].min() for colour in range(len(GROUP_COLOURS))]
        chosen.append(int(np.argmax(closest)))
    return [GROUP_COLOURS[k] for k in chosen]


def scale_limits(value_N: np.ndarray, *, logarithmic: bool = False) -> tuple[float, float]:
    """Where the colours of a quantity begin and end: values far from the middle half do not squeeze the others."""
    known = value_N[np.isfinite(value_N) & ((value_N > 0) | (not logarithmic))]
    if not len(known):
        return 0.0, 1.0
    scaled = np.log(known) if logarithmic else known
    first, last = np.quantile(scaled, (0.25, 0.75))
    reach = _FAR * (last - first) or np.inf
    near = known[(scaled >= first - reach) & (scaled <= last + reach)]
    low, high = float(near.min()), float(near.max())
    return (low, high) if high > low else (low * 0.9, low * 1.1 + 1e-9)


def scale_colours(value_N: np.ndarray) -> tuple[np.ndarray, ScalarMappable]:
    """(N, 3) colours of a quantity, grey where it is unknown (NaN), and the mappable for its colour bar."""
    mappable = ScalarMappable(norm=Normalize(*scale_limits(value_N), clip=True), cmap=SCALE)
    return _coloured(mappable, value_N), mappable


def _coloured(mappable: ScalarMappable, value_N: np.ndarray) -> np.ndarray:
    """(N, 3) colours of values on a scale, grey for those that are unknown (NaN)."""
    return np.where(np.isfinite(value_N)[:, None], mappable.to_rgba(np.nan_to_num(value_N))[:, :3], to_rgb(NO_GROUP))


def closed_up(place_N2: np.ndarray) -> np.ndarray:
    """The places with wide empty stripes narrowed: far islands do not squeeze the rest.

    Along each axis no gap is wider than about a tenth of the whole. The distance between far parts of a map means
    little; order and the shape of what hangs together stay.
    """
    shown = place_N2.astype(np.float64)
    if len(shown) < 10:
        return shown
    for axis in (0, 1):
        order = np.argsort(shown[:, axis])
        first, gaps = shown[order[0], axis], np.diff(shown[order, axis])
        widest = gaps.sum()
        for _ in range(4):
            widest = 0.1 * np.minimum(gaps, widest).sum()
        shown[order, axis] = first + np.append(0.0, np.minimum(gaps, widest).cumsum())
    return shown


def map_box(place_N2: np.ndarray, *, least: float = 1 / 3) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a map with a margin; no side is shorter than a share of the other."""
    low, high = place_N2.min(axis=0).astype(float), place_N2.max(axis=0).astype(float)
    middle, span = (low + high) / 2, np.maximum(high - low, 1e-6)
    span = np.maximum(span, span.max() * least) * 1.08
    (left, bottom), (right, top) = middle - span / 2, middle + span / 2
    return float(left), float(right), float(bottom), float(top)


@contextmanager
def _picture(stem: Path, width: float, height: float, caption: str, grid: tuple[int, int] = (1, 1)) -> Iterator[Any]:
    """The axes, in rows and columns, of a figure of so many inches, saved as ``stem.png`` and ``stem.svg`` in the end.

    Args:
        caption: small words below, in as many lines as the width asks for.
    """
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    axes = figure.subplots(*grid, squeeze=False)
    if caption:
        words = textwrap.fill(caption, width=round(_LETTERS_PER_INCH * width))
        figure.supxlabel(words, fontsize=6.5, color=MUTED, x=0.01, ha="left")
    yield axes.ravel()
    for suffix in (".png", ".svg"):
        save_figure(figure, stem.with_name(stem.name + suffix))


@contextmanager
def _map_picture(place_N2: np.ndarray, stem: Path, *, title: str = "", caption: str = "") -> Iterator[Any]:
    """A picture whose axes are the map."""
    left, right, bottom, top = map_box(place_N2)
    height = float(np.clip(6.6 * (top - bottom) / (right - left) + 0.7, 3.4, 7.6))
    with _picture(stem, 6.8, height, caption) as (axes,):
        _set_limits(axes, (left, right, bottom, top))
        if title:
            axes.set_title(title, fontsize=10, color=INK, loc="left")
        yield axes


def _set_limits(axes: Any, box: tuple[float, float, float, float]) -> None:
    """Units of one length in both directions, and neither frame nor ticks: directions on a map mean nothing."""
    axes.set(xlim=box[:2], ylim=box[2:], aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _draw_points(axes: Any, place_N2: np.ndarray, colour_N3: np.ndarray, *, seed: int = 0, size: float = 1.0) -> None:
    """All points as translucent discs in random order, so that no group hides another.

    Args:
        size: of the points beside the usual.
    """
    count = len(place_N2)
    order = np.random.default_rng(seed).permutation(count)
    is_crowd = count > _VECTOR_POINTS
    style = {"s": size * float(np.clip(6000 / count, 1.0, 30.0)), "alpha": 0.6 if is_crowd else 0.75}
    axes.scatter(*place_N2[order].T, c=colour_N3[order], linewidths=0, zorder=1, rasterized=is_crowd, **style)


def _write_with_halo(
    axes: Any, place_2: np.ndarray, words: str, *, size: float, colour: Any, bold: bool = True, above: float = 0.0
) -> None:
    """Write words at a place of the plot, or so many points above it."""
    style: dict[str, Any] = {"xytext": (0.0, above), "textcoords": "offset points", "annotation_clip": False}
    style |= {"fontsize": size, "fontweight": "bold" if bold else "normal", "ha": "center", "va": "center"}
    # Words with path effects become outlines in an SVG, so the edge is drawn on its own, below plain text.
    edge = [Stroke(linewidth=2.2, foreground="white")]
    axes.annotate(words, place_2, color="white", path_effects=edge, zorder=7, **style)
    axes.annotate(words, place_2, color=colour, zorder=7.1, **style)


def _write_names(
    axes: Any,
    names: Sequence[str],
    anchors_L2: np.ndarray,
    colours: Sequence[Any],
    *,
    size: float,
    shift: Any = 0.0,
    bold: int = 0,
) -> None:
    """Write names near places of the plot and apart from each other, with a line where one had to move away.

    Args:
        shift: from the places to where the names would like to be, in points.
        bold: how many of the names, from the first, are bold.
    """
    if not len(names):
        return
    figure = axes.get_figure()
    figure.draw_without_rendering()
    scale, box = 72 / figure.dpi, axes.get_window_extent()
    wanted = (axes.transData.transform(anchors_L2) - box.p0) * scale + shift
    places = spread_names(wanted, name_boxes(names, size), (float(box.width * scale), float(box.height * scale)))
    shown = axes.transData.inverted().transform(places / scale + box.p0)
    moved = np.linalg.norm(places - wanted, axis=1) > 1.6 * size
    for k, name in enumerate(names):
        if moved[k]:
            ends = np.stack([anchors_L2[k], shown[k]]).T
            axes.plot(*ends, color=INK, linewidth=0.5, alpha=0.6, zorder=3, scalex=False, scaley=False)
        _write_with_halo(axes, shown[k], name, size=size, colour=colours[k], bold=k < bold)


def name_boxes(names: Sequence[str], size: float) -> np.ndarray:
    """(L, 2) width and height of names in a font of this size, with a little room around."""
    return np.asarray([(max(1, len(name)) * _LETTER * size + 4, 1.25 * size + 1) for name in names])


def spread_names(anchors_L2: np.ndarray, boxes_L2: np.ndarray, frame: tuple[float, float]) -> np.ndarray:
    """(L, 2) middles of the names: each in turn at the free place nearest to its anchor, inside the frame.

    Args:
        frame: width and height of the map; where it is full, names lie on each other.
    """
    radius_R, turn_A = np.arange(0.0, max(frame), _RING), np.linspace(0, 2 * np.pi, _TURNS, endpoint=False)
    ways_K2 = (radius_R[:, None, None] * np.stack([np.cos(turn_A), np.sin(turn_A)], axis=1)).reshape(-1, 2)
    found = np.zeros((0, 2))
    for anchor, box in zip(anchors_L2, boxes_L2, strict=True):
        candidates_K2 = np.clip(anchor + ways_K2, box / 2, np.maximum(np.asarray(frame) - box / 2, box / 2))
        gap = np.abs(candidates_K2[:, None] - found[None]) - (box + boxes_L2[: len(found)]) / 2
        is_free = ~(gap < 0).all(axis=2).any(axis=1)
        away = np.linalg.norm(candidates_K2 - anchor, axis=1) + np.where(is_free, 0.0, 1e6)
        found = np.vstack([found, candidates_K2[away.argmin()]])
    return found


def _name_groups(
    axes: Any,
    groups: Groups,
    *,
    size: float,
    most: int = _MOST_NAMES,
    new_M2: np.ndarray | None = None,
    ids: Sequence[str] = (),
) -> None:
    """Write the names of the largest groups beside their densest parts, and ids beside new points."""
    names = _plain_words(groups.names[:most])
    colours = [*map(_darker, groups.colours[:most]), *["black"] * len(ids)]
    anchors = np.concatenate([groups.anchors_L2[:most], *([] if new_M2 is None else [new_M2[: len(ids)]])])
    # Ids begin up and right of their rings.
    shift = np.concatenate([np.zeros((len(names), 2)), np.tile((12, 7), (len(ids), 1))])
    _write_names(axes, [*names, *ids], anchors, colours, size=size, shift=shift, bold=len(names))


def _plain_words(names: Sequence[str]) -> list[str]:
    """Names with spaces as people write them."""
    return [name.replace("_", " ") for name in names]


def _darker(colour: str) -> tuple[float, ...]:
    return tuple(0.72 * part for part in to_rgb(colour))


def draw_groups(
    place_N2: np.ndarray,
    labels: Sequence[str],
    stem: Path,
    *,
    seed: int = 0,
    counts: Mapping[str, int] | None = None,
    **words: str,
) -> None:
    """A map coloured and named by label; points without label are grey.

    Args:
        counts: see :func:`group_points`.
        words: ``title`` and ``caption``.
    """
    place_N2 = closed_up(place_N2)
    groups = group_points(place_N2, labels, counts)
    with _map_picture(place_N2, stem, **words) as axes:
        _draw_points(axes, place_N2, groups.colour_of_points(), seed=seed)
        _name_groups(axes, groups, size=7.0)
        few = zip(_plain_words(groups.names), groups.sizes, groups.colours, strict=True)
        for k, (name, count, colour) in enumerate(few if len(groups.names) <= _FEW else ()):
            style = {"transform": axes.transAxes, "fontsize": 7, "color": _darker(colour), "va": "top"}
            axes.text(0.0, 1.0 - 0.028 * k, f"{name}  {count:,}", **style)


def draw_panels(
    panels: Sequence[Panel],
    labels: Sequence[str],
    stem: Path,
    *,
    caption: str = "",
    seed: int = 0,
    counts: Mapping[str, int] | None = None,
) -> None:
    """Maps of several vectors in rows of two; a label has the colour of the first map in all of them.

    Args:
        counts: see :func:`group_points`.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    places = [closed_up(panel.layout.place_N2) for panel in panels]
    first = group_points(places[0], labels, counts)
    with _picture(stem, 3.7 * columns, 4.1 * rows, caption, (rows, columns)) as every:
        for axes in every[len(panels) :]:
            axes.set_axis_off()
        for axes, panel, place_N2 in zip(every, panels, places, strict=False):
            _set_limits(axes, map_box(place_N2, least=1.0))
            axes.set_title(panel.name, fontsize=9, color=INK, loc="left")
            _draw_points(axes, place_N2, first.colour_of_points(), seed=seed, size=0.35)
            axes.set_xlabel("\n".join(map(str, panel.separations)), fontsize=6.5, color=INK)
        for axes, place_N2 in zip(every, places, strict=False):
            groups = replace(group_points(place_N2, labels, counts), colours=first.colours)
            _name_groups(axes, groups, size=5.0, most=_MOST_PANEL_NAMES)


def draw_mapped(
    place_N2: np.ndarray,
    labels: Sequence[str],
    new_M2: np.ndarray,
    ids: Sequence[str],
    stem: Path,
    *,
    seed: int = 0,
    **words: str,
) -> None:
    """The atlas in pale colours with its labels, the new RNAs as rings on top.

    Args:
        ids: of the new RNAs; more than 60 are not written, as the page tells them.
        words: ``title`` and ``caption``.
    """
    every = closed_up(np.concatenate([place_N2, new_M2]))
    place_N2, new_M2 = every[: len(place_N2)], every[len(place_N2) :]
    groups = group_points(place_N2, labels)
    with _map_picture(every, stem, **words) as axes:
        _draw_points(axes, place_N2, 1 - (1 - groups.colour_of_points()) * (1 - _WASH), seed=seed)
        area = float(np.clip(4000 / max(1, len(new_M2)), 8, 42))
        axes.scatter(*new_M2.T, s=area, facecolors="none", edgecolors=INK, linewidths=1.1, zorder=5)
        _name_groups(axes, groups, size=6.0, new_M2=new_M2, ids=ids if len(ids) <= _MOST_NAMES else ())


def draw_stream(
    place_N2: np.ndarray, found: Trajectory, cluster_N: np.ndarray, names: Sequence[str], stem: Path, **words: str
) -> None:
    """Streams along growing pseudotime over the map; a star marks the root, crosses the terminal clusters.

    Args:
        names: of the clusters.
        words: ``title`` and ``caption``.
    """
    place_N2 = closed_up(place_N2)
    colour_N3, mappable = scale_colours(found.time_N)
    with _map_picture(place_N2, stem, **words) as axes:
        _draw_points(axes, place_N2, colour_N3)
        x_G, y_G, along_GG, up_GG = flow_field(place_N2, found.time_N)
        speed_GG = np.hypot(along_GG, up_GG)
        if (top := np.max(speed_GG, initial=0.0, where=np.isfinite(speed_GG))) > 0:
            # Log speed: flat and steep stretches both keep lines that can be seen.
            width = 0.4 + 1.0 * np.nan_to_num(np.log1p(9 * speed_GG / top) / np.log(10))
            flow = np.ma.masked_invalid(along_GG), np.ma.masked_invalid(up_GG)
            axes.streamplot(x_G, y_G, *flow, color=INK, density=1.5, linewidth=width, arrowsize=0.8, zorder=3)
        _mark(axes, np.median(place_N2[found.root_points], axis=0), "root", "*", 150)
        for k in found.terminal_T:
            _mark(axes, np.median(place_N2[cluster_N == k], axis=0), names[k], "X", 55)
        _time_bar(axes, mappable)


def flow_field(
    place_N2: np.ndarray, value_N: np.ndarray, *, cells: int = 60
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
    density_GG = gaussian_filter(count_GG, _SMOOTHED, mode="constant")
    value_GG = gaussian_filter(sum_GG, _SMOOTHED, mode="constant") / np.maximum(density_GG, 1e-12)
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
    with _map_picture(place_N2, stem, **words) as axes:
        _draw_points(axes, place_N2, np.tile((0.87, 0.88, 0.9), (len(place_N2), 1)))
        for a, b in np.argwhere(np.tril(found.connectivity_CC >= _WEAKEST)):
            style = {"linewidth": 3.0 * found.connectivity_CC[a, b], "alpha": 0.5, "zorder": 2}
            axes.plot(*centre_C2[[a, b]].T, color=MUTED, **style)
        for child in np.flatnonzero(found.parent_C >= 0):
            arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.1, "shrinkA": 5, "shrinkB": 6}
            ends = {"xy": centre_C2[child], "xytext": centre_C2[found.parent_C[child]]}
            axes.annotate("", **ends, arrowprops=arrow, zorder=3)
        sizes = np.bincount(cluster_N, minlength=count)
        edge = [INK if k in found.terminal_T else "white" for k in range(count)]
        discs = {"s": 30 + 320 * np.sqrt(sizes / sizes.max()), "c": _coloured(mappable, found.time_C)}
        axes.scatter(*centre_C2.T, **discs, edgecolors=edge, linewidths=1.4, zorder=4)
        _time_bar(axes, mappable)
        _write_names(axes, names, centre_C2, [INK] * count, size=5.5, shift=(0, -12))


def draw_violins(time_N: np.ndarray, labels: Sequence[str], order: Sequence[str], stem: Path, **words: str) -> None:
    """How pseudotime is spread within each label, the first of an order at the top; lines at quartiles and median."""
    shown, label_N = order[:_MOST_VIOLINS], np.asarray(labels)
    values = [time_N[(label_N == name) & np.isfinite(time_N)] for name in shown]
    with _picture(stem, 6.0, 1.2 + 0.26 * len(shown), words["caption"]) as (axes,):
        place_L, quartiles = np.arange(len(shown))[::-1], [(0.25, 0.5, 0.75)] * len(shown)
        drawn = axes.violinplot(
            values, place_L, orientation="horizontal", widths=0.85, showextrema=False, quantiles=quartiles
        )
        colours = scale_colours(time_N)[1].to_rgba(np.asarray([value.mean() for value in values]))
        for body, colour in zip(drawn["bodies"], colours, strict=True):
            body.set(facecolor=colour, edgecolor=INK, linewidth=0.4, alpha=0.6)
        drawn["cquantiles"].set(color=INK, linewidth=0.9)
        names = [f"{name}  ({len(value):,})" for name, value in zip(_plain_words(shown), values, strict=True)]
        axes.set_yticks(place_L, names, fontsize=7)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.7, len(shown) - 0.3), xlabel="pseudotime")
        axes.set_title(words["title"], fontsize=9, color=INK, loc="left")
        plain_frame(axes)


def draw_times(given_L: np.ndarray, reached_L: np.ndarray, names: Sequence[str], stem: Path, *, title: str) -> None:
    """Mean pseudotime of labels against given times."""
    with _picture(stem, 5.6, 4.2, "") as (axes,):
        axes.scatter(given_L, reached_L, s=22, color=GROUP_COLOURS[0], zorder=3)
        axes.margins(0.12, 0.1)
        axes.set(xlabel="time from the root, as given", ylabel="mean pseudotime")
        axes.set_title(title, fontsize=9, color=INK, loc="left")
        plain_frame(axes)
        place_L2 = np.stack([given_L, reached_L], axis=1)
        _write_names(axes, _plain_words(names), place_L2, [INK] * len(names), size=6.0, shift=(0, 7))


def _mark(axes: Any, place_2: np.ndarray, name: str, marker: str, area: float) -> None:
    axes.scatter(*place_2, marker=marker, s=area, color="#d55e00", edgecolors="white", linewidths=0.9, zorder=6)
    _write_with_halo(axes, place_2, *_plain_words([name]), size=7, colour=INK, above=10)


def _time_bar(axes: Any, mappable: Any) -> None:
    bar = axes.get_figure().colorbar(mappable, ax=axes, shrink=0.5, aspect=18, pad=0.02, extend="max")
    bar.set_label("pseudotime", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
