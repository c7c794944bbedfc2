"""New RNAs drawn over an atlas.

Shape suffixes: N points of the atlas, M new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rnafm_cli.viz.atlas_figures import draw_points, name_groups, plain_map, save_both
from rnafm_cli.viz.halo import write_with_halo
from rnafm_cli.viz.map_colours import group_points
from rnafm_cli.viz.palette import INK

__all__ = ["draw_mapped"]

_NAMED = 12
"""Up to this many new RNAs are named."""
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
    groups = group_points(place_N2, labels)
    figure, axes = plain_map(np.concatenate([place_N2, new_M2]), title=title, caption=caption)
    draw_points(axes, place_N2, 1 - (1 - groups.colour_of_points()) * (1 - _WASH), seed=seed)
    area = float(np.clip(4000 / max(1, len(new_M2)), 8, 42))
    axes.scatter(*new_M2.T, s=area, facecolors="none", edgecolors=INK, linewidths=1.1, zorder=5)
    name_groups(axes, groups, size=6.0)
    for name, place in zip(names, new_M2, strict=True) if len(names) <= _NAMED else ():
        write_with_halo(axes, place, name, size=6.5, colour="black", shift=(5, 6), align="left", zorder=6)
    return save_both(figure, stem)
