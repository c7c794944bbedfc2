"""Maps of RNA space as pictures for print.

Lengths are in points (1/72 inch) from the lower left corner.

Shape suffixes: N points, L labels, M new ones.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
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
from rnafm_cli.viz.canvas import save_figure
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
        table = np.asarray([to_rgb(colour) for colour in (*self.colours, NO_GROUP)])
        return table[self.index_N]


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
    chosen: list[int] = []
    for k, anchor in enumerate(anchors_L2):
        if k < len(GROUP_COLOURS):
            chosen.append(k)
            continue
        far = np.linalg.norm(anchors_L2[:k] - anchor, axis=1)
        closest = [far[np.asarray(chosen) == c].min() for c in range(len(GROUP_COLOURS))]
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
    colour_N3 = mappable.to_rgba(np.nan_to_num(value_N))[:, :3]
    colour_N3[~np.isfinite(value_N)] = to_rgb(NO_GROUP)
    return colour_N3, mappable


def closed_up(place_N2: np.ndarray, also_M2: np.ndarray | None = None) -> np.ndarray:
    """The places, or others on the same map, with wide empty stripes narrowed: far islands do not squeeze the rest.

    Along each axis no gap is wider than about a tenth of the whole. The distance between far parts of a map means
    little; order and the shape of what hangs together stay.
    """
    shown = (place_N2 if also_M2 is None else also_M2).astype(np.float64)
    if len(place_N2) < 10:
        return shown
    for axis in (0, 1):
        ordered = np.sort(place_N2[:, axis].astype(np.float64))
        gaps = np.diff(ordered)
        widest = gaps.sum()
        for _ in range(4):
            widest = 0.1 * np.minimum(gaps, widest).sum()
        closed = ordered[0] + np.append(0.0, np.minimum(gaps, widest).cumsum())
        shown[:, axis] = np.interp(shown[:, axis], ordered, closed)
    return shown


def map_box(place_N2: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a map with a margin; no side is shorter than a third of the other."""
    low, high = place_N2.min(axis=0).astype(float), place_N2.max(axis=0).astype(float)
    middle, span = (low + high) / 2, np.maximum(high - low, 1e-6)
    span = np.maximum(span, span.max() / 3) * 1.08
    (left, bottom), (right, top) = middle - span / 2, middle + span / 2
    return float(left), float(right), float(bottom), float(top)


_LETTER = 0.56
"""Mean width of a letter, as a share of the font size."""
_RING = 3.0
_TURNS = 24
"""Places tried for a name: so many directions at distances that grow by so many points."""


def name_boxes(names: Sequence[str], size: float) -> np.ndarray:
    """(L, 2) width and height of names in a font of this size, with a little room around."""
    return np.asarray([(max(1, len(name)) * _LETTER * size + 4, 1.25 * size + 1) for name in names]).reshape(-1, 2)


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


_LETTERS_PER_INCH = 20
"""Of a caption."""
_VECTOR_POINTS = 4000
"""Up to this many points are shapes of their own in an SVG; more are one picture."""


def plain_map(place_N2: np.ndarray, *, title: str, caption: str) -> tuple[Figure, Any]:
    """A figure whose axes are the map, without ticks: directions on such a map mean nothing."""
    left, right, bottom, top = map_box(place_N2)
    height = float(np.clip(6.6 * (top - bottom) / (right - left) + 0.7, 3.4, 7.6))
    figure = Figure(figsize=(6.8, height), facecolor="white", layout="constrained")
    axes = figure.subplots()
    dress_map(axes, place_N2)
    if title:
        axes.set_title(title, fontsize=10, color=INK, loc="left")
    write_caption(figure, caption)
    return figure, axes


def write_caption(figure: Any, caption: str) -> None:
    """Small words below a figure, in as many lines as its width asks for."""
    if caption:
        words = textwrap.fill(caption, width=round(_LETTERS_PER_INCH * figure.get_figwidth()))
        figure.supxlabel(words, fontsize=6.5, color=MUTED, x=0.01, ha="left")


def dress_map(axes: Any, place_N2: np.ndarray, *, square: bool = False) -> None:
    """Set the limits of a map, with units of one length in both directions, and take its frame away."""
    left, right, bottom, top = map_box(place_N2)
    if square:
        half = max(right - left, top - bottom) / 2
        left, right = (left + right) / 2 - half, (left + right) / 2 + half
        bottom, top = (bottom + top) / 2 - half, (bottom + top) / 2 + half
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def draw_points(axes: Any, place_N2: np.ndarray, colour_N3: np.ndarray, *, seed: int = 0, size: float = 1.0) -> None:
    """All points as translucent discs in random order, so that no group hides another.

    Args:
        size: of the points beside the usual.
    """
    count = len(place_N2)
    order = np.random.default_rng(seed).permutation(count)
    is_crowd = count > _VECTOR_POINTS
    style = {"s": size * float(np.clip(6000 / count, 1.0, 30.0)), "alpha": 0.6 if is_crowd else 0.75}
    axes.scatter(*place_N2[order].T, c=colour_N3[order], linewidths=0, zorder=1, rasterized=is_crowd, **style)


def write_with_halo(
    axes: Any,
    place: np.ndarray | tuple[float, float],
    words: str,
    *,
    size: float,
    colour: Any,
    bold: bool = True,
    above: float = 0.0,
) -> None:
    """Write words at a place of the plot, or so many points above it."""
    style: dict[str, Any] = {"xytext": (0.0, above), "textcoords": "offset points", "annotation_clip": False}
    style |= {"fontsize": size, "fontweight": "bold" if bold else "normal", "ha": "center", "va": "center"}
    # Words with path effects become outlines in an SVG, so the edge is drawn on its own, below plain text.
    edge = [Stroke(linewidth=2.2, foreground="white")]
    axes.annotate(words, place, color="white", path_effects=edge, zorder=7, **style)
    axes.annotate(words, place, color=colour, zorder=7.1, **style)


def write_names(
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
        write_with_halo(axes, shown[k], name, size=size, colour=colours[k], bold=k < bold)


def _darker(colour: str) -> tuple[float, ...]:
    return tuple(0.72 * part for part in to_rgb(colour))


_MOST_NAMES = 60
_MOST_PANEL_NAMES = 14
_FEW = 6


def name_groups(axes: Any, groups: Groups, *, size: float, most: int = _MOST_NAMES) -> None:
    """Write the names of the largest groups beside their densest parts."""
    names, colours = [_shown(name) for name in groups.names[:most]], [_darker(c) for c in groups.colours[:most]]
    write_names(axes, names, groups.anchors_L2[:most], colours, size=size, bold=len(names))


def _shown(name: str) -> str:
    return name.replace("_", " ")


def draw_groups(
    place_N2: np.ndarray,
    labels: Sequence[str],
    stem: Path,
    *,
    title: str = "",
    caption: str = "",
    seed: int = 0,
    counts: Mapping[str, int] | None = None,
) -> list[Path]:
    """A map coloured and named by label, as ``stem.png`` and ``stem.svg``; points without label are grey.

    Args:
        counts: see ``group_points``.
    """
    place_N2 = closed_up(place_N2)
    groups = group_points(place_N2, labels, counts)
    figure, axes = plain_map(place_N2, title=title, caption=caption)
    draw_points(axes, place_N2, groups.colour_of_points(), seed=seed)
    name_groups(axes, groups, size=7.0)
    if 0 < len(groups.names) <= _FEW:
        for k, (name, count, colour) in enumerate(zip(groups.names, groups.sizes, groups.colours, strict=True)):
            style = {"transform": axes.transAxes, "fontsize": 7, "color": _darker(colour), "va": "top"}
            axes.text(0.0, 1.0 - 0.028 * k, f"{_shown(name)}  {count:,}", **style)
    return save_both(figure, stem)


def draw_panels(
    panels: Sequence[Panel],
    labels: Sequence[str],
    stem: Path,
    *,
    caption: str = "",
    seed: int = 0,
    counts: Mapping[str, int] | None = None,
) -> list[Path]:
    """Panels in rows of two, as ``stem.png`` and ``stem.svg``; a label has the same colour in all of them.

    Args:
        counts: see ``group_points``.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.7 * columns, 4.1 * rows), facecolor="white", layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    places = [closed_up(panel.layout.place_N2) for panel in panels]
    first = group_points(places[0], labels, counts)
    colour_N3 = first.colour_of_points()
    for k, axes in enumerate(grid.flat):
        if k >= len(panels):
            axes.set_axis_off()
            continue
        panel = panels[k]
        dress_map(axes, places[k], square=True)
        axes.set_title(panel.name, fontsize=9, color=INK, loc="left")
        draw_points(axes, places[k], colour_N3, seed=seed, size=0.35)
        axes.set_xlabel("\n".join(map(str, panel.separations)), fontsize=6.5, color=INK)
    write_caption(figure, caption)
    figure.draw_without_rendering()
    for place_N2, axes in zip(places, grid.flat, strict=False):
        # The first map's colours, so that a label can be followed from panel to panel.
        groups = replace(group_points(place_N2, labels, counts), colours=first.colours)
        name_groups(axes, groups, size=5.0, most=_MOST_PANEL_NAMES)
    return save_both(figure, stem)


_NAMED = 60
"""Up to this many new RNAs bear their ids; the page tells those of any number."""
_WASH = 0.62
"""How much of an atlas point's colour gives way to white."""


def draw_mapped(
    place_N2: np.ndarray,
    labels: Sequence[str],
    new_M2: np.ndarray,
    names: Sequence[str],
    stem: Path,
    *,
    title: str = "",
    caption: str = "",
    seed: int = 0,
) -> list[Path]:
    """The atlas in pale colours with its labels, the new RNAs as rings on top, as ``stem.png`` and ``stem.svg``."""
    every = closed_up(np.concatenate([place_N2, new_M2]))
    place_N2, new_M2 = every[: len(place_N2)], every[len(place_N2) :]
    groups = group_points(place_N2, labels)
    figure, axes = plain_map(every, title=title, caption=caption)
    draw_points(axes, place_N2, 1 - (1 - groups.colour_of_points()) * (1 - _WASH), seed=seed)
    area = float(np.clip(4000 / max(1, len(new_M2)), 8, 42))
    axes.scatter(*new_M2.T, s=area, facecolors="none", edgecolors=INK, linewidths=1.1, zorder=5)
    ids = list(names) if len(names) <= _NAMED else []
    labels = [_shown(name) for name in groups.names[:_MOST_NAMES]]
    colours: list[Any] = [_darker(colour) for colour in groups.colours[:_MOST_NAMES]] + ["#000000"] * len(ids)
    # Ids begin up and right of their rings.
    shift = np.concatenate([np.zeros((len(labels), 2)), np.tile((12, 7), (len(ids), 1))])
    anchors = np.concatenate([groups.anchors_L2[:_MOST_NAMES], new_M2[: len(ids)]])
    write_names(axes, [*labels, *ids], anchors, colours, size=6.0, shift=shift, bold=len(labels))
    return save_both(figure, stem)


def save_both(figure: Any, stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``."""
    paths = [stem.with_name(stem.name + suffix) for suffix in (".png", ".svg")]
    for path in paths:
        save_figure(figure, path)
    return paths
