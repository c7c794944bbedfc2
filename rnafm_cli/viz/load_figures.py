"""Measured against predicted ribosome load, coloured by upstream start codons.

Shape suffix: N UTRs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.regression import regress
from rnafm_cli.rna.upstream_starts import CONTEXTS
from rnafm_cli.viz.axes import figure_and_axes, points
from rnafm_cli.viz.palette import INK, MUTED
from rnafm_cli.viz.pictures import save_figure

__all__ = ["draw_loads"]

_COLOURS = {"none": "#0072b2", "in-frame": "#009e73", "out-of-frame": "#d55e00", "uORF": "#cc79a7"}
_LABELS = {"none": "no uAUG", "in-frame": "in-frame uAUG", "out-of-frame": "out-of-frame uAUG", "uORF": "uORF"}


def draw_loads(
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
