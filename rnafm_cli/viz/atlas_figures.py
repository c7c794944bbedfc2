"""Maps of RNA space as pictures for print.

Shape suffixes: N points.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnafm_cli.viz.halo import write_with_halo
from rnafm_cli.viz.map_colours import NO_GROUP, Groups, group_points, rgb
from rnafm_cli.viz.map_names import name_boxes, spread_names
from rnafm_cli.viz.palette import INK, MUTED
from rnafm_cli.viz.pictures import save_figure
from rnafm_cli.viz.shading import shade

__all__ = [
    "SCALE",
    "draw_groups",
    "draw_points",
    "draw_scale",
    "dress_map",
    "map_box",
    "name_groups",
    "plain_map",
    "save_both",
    "scale_colours",
    "write_caption",
]

SCALE = "cividis"
"""The colours of a quantity, even to colour-blind eyes."""

_MOST_NAMES = 60
_FEW = 6
_LETTERS_PER_INCH = 20
"""Of a caption."""
_VECTOR_POINTS = 4000
"""Up to this many points are discs of their own in an SVG; more are one shaded picture."""


def draw_groups(
    place_N2: np.ndarray, labels: Sequence[str], stem: Path, *, title: str = "", caption: str = "", seed: int = 0
) -> list[Path]:
    """A map coloured and named by label, as ``stem.png`` and ``stem.svg``; points without label are grey."""
    groups = group_points(place_N2, labels)
    figure, axes = plain_map(place_N2, title=title, caption=caption)
    draw_points(axes, place_N2, groups.colour_of_points(), seed=seed)
    name_groups(axes, groups, size=7.0)
    if 0 < len(groups.names) <= _FEW:
        _count_groups(axes, groups)
    return save_both(figure, stem)


def draw_scale(
    place_N2: np.ndarray,
    value_N: np.ndarray,
    stem: Path,
    *,
    quantity: str,
    logarithmic: bool = False,
    title: str = "",
    caption: str = "",
    seed: int = 0,
) -> list[Path]:
    """A map coloured by a quantity; points without it (NaN) are grey."""
    figure, axes = plain_map(place_N2, title=title, caption=caption)
    colour_N3, mappable = scale_colours(value_N, logarithmic=logarithmic)
    draw_points(axes, place_N2, colour_N3, seed=seed)
    bar = figure.colorbar(mappable, ax=axes, shrink=0.5, aspect=18, pad=0.02)
    bar.set_label(quantity, fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    return save_both(figure, stem)


def scale_colours(value_N: np.ndarray, *, logarithmic: bool = False) -> tuple[np.ndarray, Any]:
    """(N, 3) colours of a quantity, and matplotlib's mappable for its colour bar."""
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    known = np.isfinite(value_N) & ((value_N > 0) | (not logarithmic))
    low, high = np.quantile(value_N[known], (0.005, 0.995)) if known.any() else (0.0, 1.0)
    low, high = (float(low), float(high)) if high > low else (float(low) * 0.9, float(low) * 1.1 + 1e-9)
    norm = LogNorm(low, high, clip=True) if logarithmic else Normalize(low, high, clip=True)
    colour_N3 = np.tile(rgb(NO_GROUP), (len(value_N), 1))
    colour_N3[known] = matplotlib.colormaps[SCALE](norm(value_N[known]))[:, :3]
    return colour_N3, ScalarMappable(norm=norm, cmap=SCALE)


def plain_map(place_N2: np.ndarray, *, title: str, caption: str) -> tuple[Any, Any]:
    """A figure whose axes are the map, without ticks: directions on such a map mean nothing."""
    from matplotlib.figure import Figure

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


def map_box(place_N2: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a map with a margin; no side is shorter than a third of the other."""
    low, high = place_N2.min(axis=0).astype(float), place_N2.max(axis=0).astype(float)
    middle, span = (low + high) / 2, np.maximum(high - low, 1e-6)
    span = np.maximum(span, span.max() / 3) * 1.08
    (left, bottom), (right, top) = middle - span / 2, middle + span / 2
    return float(left), float(right), float(bottom), float(top)


def draw_points(
    axes: Any, place_N2: np.ndarray, colour_N3: np.ndarray, *, seed: int = 0, pixels: int = 1200, size: float = 1.0
) -> None:
    """All points, so that none hides another: few as discs in random order, many as a shaded picture.

    Args:
        size: of the points beside the usual.
    """
    count = len(place_N2)
    if count > _VECTOR_POINTS:
        box = map_box(place_N2)
        radius = size * pixels / 1200 * float(np.clip(260 / np.sqrt(count), 1.1, 4.0))
        picture = shade(place_N2, colour_N3, box, pixels=pixels, radius=radius)
        axes.imshow(picture, extent=box, interpolation="none", zorder=1, aspect="equal")
        return
    order = np.random.default_rng(seed).permutation(count)
    area = size * float(np.clip(6000 / count, 3.0, 30.0))
    axes.scatter(*place_N2[order].T, s=area, c=colour_N3[order], alpha=0.75, linewidths=0, zorder=1)


def name_groups(axes: Any, groups: Groups, *, size: float, most: int = _MOST_NAMES) -> None:
    """Write the names of the largest groups beside their densest parts, with a line where one had to move away."""
    names = groups.names[:most]
    if not names:
        return
    figure = axes.get_figure()
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    corner = np.asarray(axes.get_window_extent().p0) * scale
    frame = np.asarray(axes.get_window_extent().size) * scale
    anchors = axes.transData.transform(groups.anchors_L2[: len(names)]) * scale - corner
    places = spread_names(anchors, name_boxes(names, size), (float(frame[0]), float(frame[1])))
    shown = axes.transData.inverted().transform((places + corner) / scale)
    for k, name in enumerate(names):
        if np.linalg.norm(places[k] - anchors[k]) > 1.6 * size:
            ends = np.stack([groups.anchors_L2[k], shown[k]]).T
            axes.plot(*ends, color=INK, linewidth=0.5, alpha=0.6, zorder=3, scalex=False, scaley=False)
        write_with_halo(
            axes, shown[k], name.replace("_", " "), size=size, colour=_darker(groups.colours[k]), bold=True, zorder=4
        )


def _count_groups(axes: Any, groups: Groups) -> None:
    for k, (name, count, colour) in enumerate(zip(groups.names, groups.sizes, groups.colours, strict=True)):
        words = f"{name.replace('_', ' ')}  {count:,}"
        axes.text(0.0, 1.0 - 0.028 * k, words, transform=axes.transAxes, fontsize=7, color=_darker(colour), va="top")


def _darker(colour: str) -> tuple[float, float, float]:
    red, green, blue = rgb(colour)
    return 0.72 * red, 0.72 * green, 0.72 * blue


def save_both(figure: Any, stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``."""
    paths = [stem.with_name(stem.name + suffix) for suffix in (".png", ".svg")]
    for path in paths:
        save_figure(figure, path)
    return paths
