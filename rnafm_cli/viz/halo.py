"""Words on top of points: a white edge keeps them readable, and in an SVG they stay text."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["write_with_halo"]


def write_with_halo(
    axes: Any,
    place: np.ndarray | tuple[float, float],
    words: str,
    *,
    size: float,
    colour: Any,
    bold: bool = False,
    shift: tuple[float, float] = (0.0, 0.0),
    align: str = "center",
    zorder: float = 4,
) -> None:
    """Write words at a place of the plot.

    Args:
        size: of the font, and the unit of ``shift``: points.
        align: ``center`` or ``left`` of the words stands at the place.
    """
    from matplotlib.patheffects import Stroke

    style = {
        "xytext": shift,
        "textcoords": "offset points",
        "fontsize": size,
        "fontweight": "bold" if bold else "normal",
        "ha": align,
        "va": "center",
        "annotation_clip": False,
    }
    # Words with path effects become outlines in an SVG, so the edge is drawn on its own, below plain text.
    edge = [Stroke(linewidth=2.2, foreground="white")]
    axes.annotate(words, place, color="white", path_effects=edge, zorder=zorder, **style)
    axes.annotate(words, place, color=colour, zorder=zorder + 0.1, **style)
