"""Heat maps of contacts and distances: what is predicted above the diagonal, what is true below.

Shape suffix: L bases.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.chains import FARTHEST, Chain
from rnafm_cli.viz.palette import INK, MUTED, PALE
from rnafm_cli.viz.pictures import save_figure
from rnafm_cli.viz.ticks import labelled_positions, tick_step

__all__ = ["draw_contacts", "draw_distances"]

_EDGE = 0.12
"""Inches around what is drawn; with less, long numbers touch the edge of the picture."""
_SIDE_UNITS = 430.0
"""Width of the map in the units in which ticks need room."""


@dataclass(frozen=True)
class _Scale:
    """Colours of a map: matplotlib's name, the ends of the values, and what they are."""

    colours: str
    low: float
    high: float
    label: str


_CONTACT = _Scale("Blues", 0.0, 1.0, "probability of a contact (< 8 Å)")
_DISTANCE = _Scale("cividis_r", 0.0, FARTHEST, "distance of the nearest atoms (Å)")


def draw_contacts(name: str, contact_LL: NDArray[np.floating], path: Path, *, truth: Chain | None = None) -> None:
    """Contact probabilities; known contacts below the diagonal where a chain is given, unknown pairs grey."""
    below_LL: NDArray[np.floating] | None = None
    if truth is not None:
        labels_LL = truth.contacts().astype(np.float32)
        below_LL = np.where(labels_LL < 0, np.nan, labels_LL)
    _draw(name, contact_LL, below_LL, _CONTACT, path)


def draw_distances(name: str, distance_LL: NDArray[np.floating], path: Path, *, truth: Chain | None = None) -> None:
    """Distances up to 20 Å; known ones below the diagonal where a chain is given, unknown pairs grey."""
    below_LL = truth.clipped_distances() if truth is not None else None
    _draw(name, distance_LL, below_LL, _DISTANCE, path)


def _draw(
    name: str, above_LL: NDArray[np.floating], below_LL: NDArray[np.floating] | None, scale: _Scale, path: Path
) -> None:
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    length = len(above_LL)
    shown_LL = np.array(above_LL, dtype=np.float64)
    if below_LL is not None:
        lower = np.tril_indices(length, k=-1)
        shown_LL[lower] = below_LL[lower]
    layout = ConstrainedLayoutEngine(compress=True, w_pad=_EDGE, h_pad=_EDGE)
    figure = Figure(figsize=(6.0, 5.4), facecolor="white", layout=layout)
    axes = figure.subplots()
    colours = colormaps[scale.colours].with_extremes(bad=PALE)
    edge = (0.5, length + 0.5, length + 0.5, 0.5)
    image = axes.imshow(shown_LL, cmap=colours, vmin=scale.low, vmax=scale.high, extent=edge, interpolation="nearest")
    axes.plot([0.5, length + 0.5], [0.5, length + 0.5], color=MUTED, linewidth=0.6)
    positions = labelled_positions(length, tick_step(_SIDE_UNITS / max(1, length)))
    axes.set_xticks(positions)
    axes.set_yticks(positions)
    axes.tick_params(labelsize=8, length=2.5)
    _caption(axes, name, length, truth=below_LL is not None)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label(scale.label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    save_figure(figure, path)


def _caption(axes: Any, name: str, length: int, *, truth: bool) -> None:
    what = "above: predicted, below: known" if truth else "predicted"
    axes.set_title(f"{name} ({length} nt); {what}", fontsize=9, color=INK)
