"""What substitutions do to binding, as logos and a table.

Shape suffixes: L letters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.function.rbp import Binding
from rnafm_cli.io.columns import TABLES
from rnafm_cli.io.tables import table_output
from rnafm_cli.viz.canvas import save_figure
from rnafm_cli.viz.palette import INK, MUTED, OTHER_BASE
from rnafm_cli.viz.structure import Gallery

LETTER_COLOURS = {"A": "#009e73", "C": "#0072b2", "G": "#e69f00", "U": "#d55e00"}
_PER_ROW = 101
_LEAST_RANGE = 0.5
"""Log odds that a row shows at least, so that noise does not fill the picture."""


def draw_logo(sequence: str, importance_L: NDArray[np.floating], path: Path, *, title: str) -> None:
    """Write a picture (SVG, PNG or PDF) of letters as tall as their log odds; those above the line speak for binding.

    Rows hold up to 101 letters and share one scale.
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


@contextmanager
def saliency_gallery(
    folder: Path, *, force: bool = False
) -> Iterator[Callable[[Binding, Sequence[int], Container[int]], None]]:
    """What adds RNAs to ``saliency.tsv`` and the ``ID.PROTEIN.svg`` files of a folder, in a ``with`` block.

    It takes a binding with what substitutions do, the numbers of the proteins to tell of, and of those to draw.

    Raises:
        UsageError: when the folder is a file, or holds a table and ``force`` is off.
    """
    pictures = Gallery(folder)
    with table_output(folder / "saliency.tsv", TABLES["rbp --saliency"], format="tsv", force=force) as table:

        def add(found: Binding, chosen: Sequence[int], drawn: Container[int]) -> None:
            name, sequence = found.record.id, found.record.sequence
            assert found.effects_PL4 is not None
            for k in chosen:
                protein, importance_L = found.proteins[k], found.importance_PL[k]
                rows = zip(sequence, importance_L, found.effects_PL4[k].tolist(), strict=True)
                for place, (base, importance, effects) in enumerate(rows, start=1):
                    known = [None if math.isnan(effect) else effect for effect in effects]
                    table.write([name, protein, place, base, float(importance), *known])
                if k in drawn:
                    title = f"{name}: {protein}, probability {found.probabilities_P[k]:.2f}"
                    draw_logo(sequence, importance_L, pictures.place(f"{name}.{protein}"), title=title)
            table.flush()

        yield add
