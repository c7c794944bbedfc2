"""Maps of the same RNAs side by side, each with its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnafm_cli.viz.atlas_figures import draw_points, dress_map, name_groups, save_both, write_caption
from rnafm_cli.viz.map_colours import NO_GROUP, group_points, rgb
from rnafm_cli.viz.palette import INK

__all__ = ["MapPanel", "draw_panels"]

_MOST_NAMES = 14


@dataclass(frozen=True, eq=False)
class MapPanel:
    """One map and the lines below it."""

    title: str
    place_N2: np.ndarray
    lines: Sequence[str]


def draw_panels(
    panels: Sequence[MapPanel], labels: Sequence[str], stem: Path, *, caption: str = "", seed: int = 0
) -> list[Path]:
    """Panels in rows of two, as ``stem.png`` and ``stem.svg``; a label has the same colour in all of them."""
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.7 * columns, 4.1 * rows), facecolor="white", layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    first = group_points(panels[0].place_N2, labels)
    table = np.asarray([rgb(colour) for colour in (*first.colours, NO_GROUP)])
    for k, axes in enumerate(grid.flat):
        if k >= len(panels):
            axes.set_axis_off()
            continue
        panel = panels[k]
        dress_map(axes, panel.place_N2, square=True)
        axes.set_title(panel.title, fontsize=9, color=INK, loc="left")
        draw_points(axes, panel.place_N2, table[first.index_N], seed=seed, pixels=800, size=0.7)
        axes.set_xlabel("\n".join(panel.lines), fontsize=6.5, color=INK)
    write_caption(figure, caption)
    figure.draw_without_rendering()
    for panel, axes in zip(panels, grid.flat, strict=False):
        groups = group_points(panel.place_N2, labels)
        # The first map's colours, so that a label can be followed from panel to panel.
        same = type(groups)(groups.names, groups.sizes, groups.index_N, first.colours, groups.anchors_L2)
        name_groups(axes, same, size=5.0, most=_MOST_NAMES)
    return save_both(figure, stem)
