"""Figures of how well contacts and distances are predicted: predictor against predictor, and a score against length.

The paper's Figures 5 and 6 for any two predictors. Shapes: N chains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.bootstrap import mean_interval, paired_difference
from rnafm_cli.rna.fold_report import FEWEST
from rnafm_cli.rna.map_metrics import MapScore
from rnafm_cli.viz.axes import equal_bins, figure_and_axes, plain_lengths, points
from rnafm_cli.viz.palette import INK, MUTED, PREDICTORS
from rnafm_cli.viz.pictures import save_figure

__all__ = ["METRIC_NAMES", "draw_by_length", "draw_scatter"]

METRIC_NAMES = {
    "top_l10": "precision of the best L/10 long-range pairs",
    "top_l5": "precision of the best L/5 long-range pairs",
    "top_l2": "precision of the best L/2 long-range pairs",
    "top_l1": "precision of the best L long-range pairs",
    "mse": "mean squared error of distance / 20",
    "r2": "coefficient of determination",
    "pa": "share of pairs within 2 Å",
    "pmcc": "Pearson correlation",
}
_LOWER_IS_BETTER = frozenset({"mse"})


def draw_scatter(scores: Mapping[str, Sequence[MapScore]], metric: str, path: Path, *, seed: int = 0) -> None:
    """One score of two predictors chain by chain."""
    (name, ours), (other, theirs) = list(scores.items())[:2]
    y_N, x_N = _values(ours, metric), _values(theirs, metric)
    known = ~(np.isnan(y_N) | np.isnan(x_N))
    y_N, x_N = y_N[known], x_N[known]
    if not len(y_N):
        return
    low, high = _limits(np.concatenate([x_N, y_N]))
    figure, axes = figure_and_axes(4.6, 5.0)
    axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8, zorder=1)
    ahead = y_N < x_N if metric in _LOWER_IS_BETTER else y_N > x_N
    parts = [("equal", y_N == x_N, "#9ca3af"), (name, ahead & (y_N != x_N), PREDICTORS[0])]
    parts.append((other, ~ahead & (y_N != x_N), PREDICTORS[1]))
    for label, chosen_N, colour in parts:
        told = f"{label}{'' if label == 'equal' else ' better'}: {int(chosen_N.sum())}"
        points(axes, x_N[chosen_N], y_N[chosen_N], colour, label=told, zorder=2 if label == "equal" else 3)
    mean = _mean_difference(y_N, x_N, seed)
    count = f"{len(y_N)} chain{'s' if len(y_N) > 1 else ''}"
    axes.set_title(f"{METRIC_NAMES.get(metric, metric)}\n{count}, {mean}", fontsize=8, color=INK)
    axes.set(xlim=(low, high), ylim=(low, high), xlabel=other, ylabel=name, aspect="equal")
    figure.set_layout_engine("compressed")
    # Below the axes: the better predictor's points may lie in either corner.
    figure.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False, handletextpad=0.3)
    save_figure(figure, path)


def _mean_difference(y_N: NDArray[np.float64], x_N: NDArray[np.float64], seed: int) -> str:
    """In words, with an interval where there are enough chains for one."""
    if len(y_N) < FEWEST:
        return f"mean difference {float((y_N - x_N).mean()):+.3g}"
    gain = paired_difference(y_N, x_N, rng=np.random.default_rng(seed))
    return f"mean difference {gain.estimate:+.3g} [{gain.low:+.3g}, {gain.high:+.3g}]"


def draw_by_length(scores: Mapping[str, Sequence[MapScore]], metric: str, path: Path, *, seed: int = 0) -> None:
    """One score of each chain against its length, with means and 95 % intervals over bins of equal size."""
    figure, axes = figure_and_axes(6.4, 3.8)
    shift, every = 1.0, []
    for (name, rows), colour in zip(scores.items(), PREDICTORS, strict=False):
        value_N = _values(rows, metric)
        known = ~np.isnan(value_N)
        value_N, length_N = value_N[known], np.array([score.length for score in rows], dtype=np.float64)[known]
        if not len(value_N):
            continue
        points(axes, length_N, value_N, colour, faint=True)
        _mean_line(axes, length_N, value_N, colour, f"{name} (mean {value_N.mean():.3f})", shift, seed)
        every += [int(length) for length in length_N]
        # A second predictor's bars would hide the first's.
        shift = 1.025
    if not every:
        return
    axes.set_xscale("log")
    plain_lengths(axes, every)
    axes.set(xlabel="length (nt)", ylabel=METRIC_NAMES.get(metric, metric))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=2, fontsize=8, frameon=False)
    save_figure(figure, path)


def _mean_line(
    axes: Any,
    length_N: NDArray[np.float64],
    value_N: NDArray[np.float64],
    colour: str,
    label: str,
    shift: float,
    seed: int,
) -> None:
    bins = equal_bins(length_N)
    found = [mean_interval(value_N[chosen], rng=np.random.default_rng(seed)) for chosen in bins]
    middle = [float(np.exp(np.log(length_N[chosen]).mean())) * shift for chosen in bins]
    mean, low, high = (np.array([getattr(one, part) for one in found]) for part in ("estimate", "low", "high"))
    axes.errorbar(
        middle,
        mean,
        yerr=[np.maximum(mean - low, 0.0), np.maximum(high - mean, 0.0)],
        color=colour,
        marker="o",
        markersize=4.5,
        markeredgecolor="white",
        linewidth=1.6,
        elinewidth=1.2,
        capsize=2.5,
        label=label,
        zorder=4,
    )


def _values(rows: Sequence[MapScore], metric: str) -> NDArray[np.float64]:
    return np.array([score.values.get(metric, math.nan) for score in rows], dtype=np.float64)


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of both axes: 0 to 1 where all values lie there and use a good part of it."""
    low, high = float(values.min()), float(values.max())
    if low >= 0.0 and 0.4 < high <= 1.0:
        return -0.02, 1.02
    margin = 0.05 * (high - low) or 0.05
    return low - margin, high + margin
