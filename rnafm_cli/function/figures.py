"""Figures of function: measured against predicted ribosome load, and saliency as logos and a table.

Shape suffixes: N UTRs, L letters.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.function.metrics import regress
from rnafm_cli.function.rbp import Binding
from rnafm_cli.io.columns import TABLES
from rnafm_cli.io.tables import RowSink, table_output
from rnafm_cli.rna.upstream_starts import CONTEXTS
from rnafm_cli.viz.axes import figure_and_axes, points
from rnafm_cli.viz.canvas import save_figure
from rnafm_cli.viz.palette import INK, MUTED, OTHER_BASE
from rnafm_cli.viz.structure import Gallery

_COLOURS = {"none": "#0072b2", "in-frame": "#009e73", "out-of-frame": "#d55e00", "uORF": "#cc79a7"}
_LABELS = {"none": "no uAUG", "in-frame": "in-frame uAUG", "out-of-frame": "out-of-frame uAUG", "uORF": "uORF"}


def draw_mrl(
    truth_N: NDArray[np.floating],
    predicted_N: NDArray[np.floating],
    contexts: Sequence[str],
    path: Path,
    *,
    title: str,
) -> None:
    """Write a scatter plot whose diagonal is a perfect prediction."""
    figure, axes = figure_and_axes(4.6, 4.75)
    of_row = np.asarray(contexts)
    low = float(min(truth_N.min(), predicted_N.min())) - 0.2
    high = float(max(truth_N.max(), predicted_N.max())) + 0.2
    axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8, zorder=1)
    for context in CONTEXTS:
        chosen = of_row == context
        if not chosen.any():
            continue
        label = f"{_LABELS[context]} ({int(chosen.sum())})"
        points(axes, predicted_N[chosen], truth_N[chosen], _COLOURS[context], label=label)
    found = regress(truth_N, predicted_N)
    axes.set_title(f"{title}\nR2 {found.r2.estimate:.3f}, MAE {found.mae:.2f}", fontsize=8, color=INK)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set(xlabel="predicted ribosome load", ylabel="measured ribosome load")
    axes.legend(fontsize=7, frameon=False, loc="upper left", handletextpad=0.2)
    save_figure(figure, path)


LETTER_COLOURS = {"A": "#009e73", "C": "#0072b2", "G": "#e69f00", "U": "#d55e00"}
_PER_ROW = 101
_LEAST_RANGE = 0.5
"""Log odds that a row shows at least, so that noise does not fill the picture."""


def draw_logo(sequence: str, importance_L: NDArray[np.floating], path: Path, *, title: str) -> None:
    """Write a picture; letters above the line speak for binding, those below against it.

    Rows hold up to 101 letters and share one scale.

    Args:
        importance_L: height of each letter, in log odds.
        path: SVG, PNG or PDF.
    """
    from matplotlib.figure import Figure

    starts = range(0, len(sequence), _PER_ROW)
    wide = max(min(len(sequence), _PER_ROW), 20)
    figure = Figure(figsize=(0.9 + 0.115 * wide, 0.5 + 1.5 * len(starts)), facecolor="white", layout="constrained")
    top = max(float(importance_L.max(initial=0.0)), _LEAST_RANGE)
    bottom = min(float(importance_L.min(initial=0.0)), -0.1 * top)
    for axes, start in zip(np.atleast_1d(figure.subplots(len(starts), 1)), starts, strict=True):
        end = min(start + _PER_ROW, len(sequence))
        axes.axhline(0.0, color=MUTED, linewidth=0.6, zorder=1)
        for place in range(start, end):
            _letter(axes, sequence[place], place + 1, float(importance_L[place]))
        axes.set(xlim=(start + 0.4, start + wide + 0.6), ylim=(bottom * 1.08, top * 1.08))
        ticks = [k for k in range(start + 1, end + 1) if k % 10 == 0 or k == start + 1]
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
        axes.set_ylabel("log odds lost", fontsize=7)
    figure.suptitle(title, fontsize=9, color=INK)
    save_figure(figure, path)


def _letter(axes: Any, letter: str, place: int, height: float) -> None:
    """A letter's outline stretched to its height; one below the line hangs upside down."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    if abs(height) < 1e-3:
        return
    # The font comes with matplotlib, so that the outline is the same everywhere.
    outline = TextPath((0.0, 0.0), letter, size=1.0, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = outline.get_extents()
    stretch = Affine2D().translate(-box.x0, -box.y0).scale(0.9 / box.width, height / box.height)
    stretch = stretch.translate(place - 0.45, 0.0)
    colour = LETTER_COLOURS.get(letter, OTHER_BASE)
    patch = PathPatch(stretch.transform_path(outline), facecolor=colour, linewidth=0, zorder=2)
    patch.set_alpha(1.0 if height > 0 else 0.45)
    axes.add_patch(patch)


class SaliencyGallery(ExitStack):
    """Writes ``saliency.tsv`` and ``ID.PROTEIN.svg`` files, for the time of a ``with`` block.

    Args:
        folder: made if it does not exist.
        force: replace what an earlier run left.

    Raises:
        UsageError: when the folder is a file, or holds a table.
    """

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        super().__init__()
        self._pictures, columns = Gallery(folder), TABLES["rbp --saliency"]
        table = table_output(folder / "saliency.tsv", columns, format="tsv", force=force)
        self._table: RowSink = self.enter_context(table)

    def add(self, found: Binding, chosen: Sequence[int], drawn: Container[int]) -> None:
        """Add the nucleotides of one RNA for some of the proteins, and a logo for those that are to be drawn.

        Args:
            found: with what substitutions do.
            chosen, drawn: numbers of proteins.
        """
        name, sequence = found.record.id, found.record.sequence
        assert found.effects_PL4 is not None
        for k in chosen:
            protein, importance_L = found.proteins[k], found.importance_PL[k]
            rows = zip(sequence, importance_L, found.effects_PL4[k].tolist(), strict=True)
            for place, (base, importance, effects) in enumerate(rows, start=1):
                known = [None if math.isnan(effect) else effect for effect in effects]
                self._table.write([name, protein, place, base, float(importance), *known])
            if k in drawn:
                path = self._pictures.place(f"{name}.{protein}")
                title = f"{name}: {protein}, probability {found.probabilities_P[k]:.2f}"
                draw_logo(sequence, importance_L, path, title=title)
        self._table.flush()
