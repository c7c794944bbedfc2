"""Figures of how well structures, contacts and distances are predicted, and heat maps of contacts and distances.

The paper's Figures 5 and 6 for any two predictors.

Shape suffixes: N records, K bins, L bases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.rna.bootstrap import FEWEST, Interval, Resampling, mean_interval, paired_difference
from rnafm_cli.rna.calibration import Calibration
from rnafm_cli.rna.chains import FARTHEST, Chain
from rnafm_cli.rna.metrics import Score
from rnafm_cli.viz.canvas import labelled_positions, plain_frame, save_figure, tick_step
from rnafm_cli.viz.palette import INK, MUTED, PALE, PREDICTORS

_MEMBERS_PER_BIN = 40
_MOST_BINS = 10
_RASTER_FROM = 5000
"""Points beyond which an SVG holds them as a picture instead of one by one."""


def draw_calibration(calibration: Calibration, path: Path, *, name: str = "") -> None:
    """Share of true pairs against predicted probability, and how many pairs each bin holds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 5.2), facecolor="white", layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    ece, filled_K = calibration.ece, calibration.counts > 0
    above.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
    observed = [one for one, filled in zip(calibration.observed, filled_K, strict=True) if filled]
    _intervals(above, calibration.predicted[filled_K], observed, color=PREDICTORS[0], markersize=5)
    title = f"calibration error {ece.estimate:.3f} [{ece.low:.3f}, {ece.high:.3f}]"
    above.set_title(f"{name}: {title}" if name else title, fontsize=9, color=INK)
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of true pairs")
    starts, widths = calibration.edges[:-1], np.diff(calibration.edges)
    below.bar(starts, calibration.counts, width=widths, align="edge", color=PALE, edgecolor="white")
    below.set(
        yscale="log",
        xlabel="predicted pair probability",
        ylabel="pairs",
        ylim=(0.5 * calibration.counts[filled_K].min(initial=10**9), None),
    )
    for axes in (above, below):
        plain_frame(axes)
    save_figure(figure, path)


METRIC_NAMES = {
    "f1": "F1",
    "top_l10": "precision of the best L/10 long-range pairs",
    "top_l5": "precision of the best L/5 long-range pairs",
    "top_l2": "precision of the best L/2 long-range pairs",
    "top_l1": "precision of the best L long-range pairs",
    "trace_correlation": "correlation of distances of the points in space",
    "trace_rmsd": "RMSD of the points in space (Å)",
    "mse": "mean squared error of distance / 20",
    "r2": "coefficient of determination",
    "pa": "share of pairs within 2 Å",
    "pmcc": "Pearson correlation",
}
_LOWER_IS_BETTER = frozenset({"mse", "trace_rmsd"})


def draw_scatter(scores: Mapping[str, Sequence[Score]], metric: str, path: Path, *, seed: int = 0) -> None:
    """One score of two predictors RNA by RNA; points above the diagonal are those that the first does better."""
    (name, ours), (other, theirs) = list(scores.items())[:2]
    y_N, x_N = _values(ours, metric), _values(theirs, metric)
    known = ~(np.isnan(y_N) | np.isnan(x_N))
    y_N, x_N = y_N[known], x_N[known]
    if not len(y_N):
        return
    low, high = _limits(np.concatenate([x_N, y_N]))
    figure, axes = _figure_and_axes(4.6, 5.0)
    axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8, zorder=1)
    ahead = y_N < x_N if metric in _LOWER_IS_BETTER else y_N > x_N
    parts = [("equal", y_N == x_N, "#9ca3af"), (name, ahead & (y_N != x_N), PREDICTORS[0])]
    parts.append((other, ~ahead & (y_N != x_N), PREDICTORS[1]))
    for label, chosen_N, colour in parts:
        told = f"{label}{'' if label == 'equal' else ' better'}: {int(chosen_N.sum())}"
        _add_points(axes, x_N[chosen_N], y_N[chosen_N], colour, label=told, zorder=2 if label == "equal" else 3)
    gain = paired_difference(y_N, x_N, Resampling(seed=seed))
    told = f"{len(y_N)} RNA{'s' if len(y_N) > 1 else ''}, mean difference {gain.estimate:+.3g}"
    if len(y_N) >= FEWEST:
        told += f" [{gain.low:+.3g}, {gain.high:+.3g}]"
    axes.set_title(f"{METRIC_NAMES.get(metric, metric)}\n{told}", fontsize=8, color=INK)
    axes.set(xlim=(low, high), ylim=(low, high), xlabel=other, ylabel=name, aspect="equal")
    figure.set_layout_engine("compressed")
    # Below the axes: the better predictor's points may lie in either corner.
    figure.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False, handletextpad=0.3)
    save_figure(figure, path)


def draw_by_length(scores: Mapping[str, Sequence[Score]], metric: str, path: Path, *, seed: int = 0) -> None:
    """One score of each RNA against its length, with means and 95 % intervals over bins of equal size."""
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

    figure, axes = _figure_and_axes(6.4, 3.8)
    shift, every = 1.0, []
    for (name, rows), colour in zip(scores.items(), PREDICTORS, strict=False):
        value_N = _values(rows, metric)
        known = ~np.isnan(value_N)
        value_N, length_N = value_N[known], np.array([score.length for score in rows], dtype=np.float64)[known]
        if not len(value_N):
            continue
        _add_points(axes, length_N, value_N, colour, faint=True)
        bins = _equal_bins(length_N)
        found = [mean_interval(value_N[chosen], Resampling(seed=seed)) for chosen in bins]
        middle = [float(np.exp(np.log(length_N[chosen]).mean())) * shift for chosen in bins]
        label = f"{name} (mean {value_N.mean():.3f})"
        style = {"color": colour, "markersize": 4.5, "markeredgecolor": "white", "elinewidth": 1.2}
        _intervals(axes, middle, found, label=label, zorder=4, **style)
        every += [int(length) for length in length_N]
        # A second predictor's bars would hide the first's.
        shift = 1.025
    if not every:
        return
    # A logarithmic axis with round lengths as ticks instead of powers of ten.
    axes.set_xscale("log")
    axes.set_xlim(min(every) / 1.08, max(every) * 1.08)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="length (nt)", ylabel=METRIC_NAMES.get(metric, metric))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=2, fontsize=8, frameon=False)
    save_figure(figure, path)


def _figure_and_axes(width: float, height: float) -> tuple[Any, Any]:
    """An empty white figure of so many inches, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    axes = figure.subplots()
    plain_frame(axes)
    return figure, axes


def _add_points(
    axes: Any, x_N: NDArray[Any], y_N: NDArray[Any], colour: str, *, faint: bool = False, **more: Any
) -> None:
    """Dots that darken where they lie on each other."""
    size, alpha = (9, 0.24) if faint else (14, 0.45)
    rasterized = len(x_N) > _RASTER_FROM
    axes.scatter(
        x_N, y_N, s=size, alpha=alpha, color=colour, linewidths=0, rasterized=rasterized, **{"zorder": 2} | more
    )


def _equal_bins(length_N: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Row numbers of bins from short to long with about equally many records; equal lengths stay together."""
    count = int(np.clip(len(length_N) // _MEMBERS_PER_BIN, 1, _MOST_BINS))
    edges = np.unique(np.quantile(length_N, np.linspace(0, 1, count + 1)[1:-1]))
    bin_N = np.searchsorted(edges, length_N, side="right")
    return [np.flatnonzero(bin_N == k) for k in np.unique(bin_N)]


def _intervals(axes: Any, x: Sequence[float] | NDArray[np.float64], found: Sequence[Interval], **style: Any) -> None:
    mean, low, high = (np.array([getattr(one, part) for one in found]) for part in ("estimate", "low", "high"))
    around = [np.maximum(mean - low, 0.0), np.maximum(high - mean, 0.0)]
    axes.errorbar(x, mean, yerr=around, marker="o", linewidth=1.6, capsize=2.5, **style)


def _values(rows: Sequence[Score], metric: str) -> NDArray[np.float64]:
    return np.array([score[metric] for score in rows], dtype=np.float64)


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of both axes: 0 to 1 where all values lie there and use a good part of it."""
    low, high = float(values.min()), float(values.max())
    if low >= 0.0 and 0.4 < high <= 1.0:
        return -0.02, 1.02
    margin = 0.05 * (high - low) or 0.05
    return low - margin, high + margin


_EDGE = 0.12
"""Inches around what is drawn; with less, long numbers touch the edge of the picture."""
_SIDE_UNITS = 430.0
"""Width of the map in the units in which ticks need room."""


_SCALES = {
    "contact": ("Blues", 1.0, "probability of a contact (< 8 Å)"),
    "distance": ("cividis_r", FARTHEST, "distance of the nearest atoms (Å)"),
}
"""Colours, highest value and what is shown."""


def draw_map(
    name: str,
    task: str,
    map_LL: NDArray[np.floating],
    path: Path,
    *,
    truth: Chain | None = None,
    relatives: Sequence[str] | None = None,
) -> None:
    """Contact probabilities, or distances up to 20 Å; below the diagonal what is known, unknown pairs grey.

    Args:
        task: ``contact`` or ``distance``.
        truth: the known chain, if there is one.
        relatives: families of which a 3D structure was known; None to say nothing of that.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    length, (scale, highest, label) = len(map_LL), _SCALES[task]
    shown_LL = np.array(map_LL, dtype=np.float64)
    known_LL = None
    if truth is not None:
        known_LL = truth.contacts().astype(np.float32) if task == "contact" else truth.clipped_distances()
    if known_LL is not None:
        lower = np.tril_indices(length, k=-1)
        shown_LL[lower] = np.where(known_LL < 0, np.nan, known_LL)[lower]
    layout = ConstrainedLayoutEngine(compress=True, w_pad=_EDGE, h_pad=_EDGE)
    figure = Figure(figsize=(6.0, 5.4), facecolor="white", layout=layout)
    axes = figure.subplots()
    colours = colormaps[scale].with_extremes(bad=PALE)
    edge = (0.5, length + 0.5, length + 0.5, 0.5)
    image = axes.imshow(shown_LL, cmap=colours, vmin=0.0, vmax=highest, extent=edge, interpolation="nearest")
    axes.plot([0.5, length + 0.5], [0.5, length + 0.5], color=MUTED, linewidth=0.6)
    positions = labelled_positions(length, tick_step(_SIDE_UNITS / max(1, length)))
    axes.set_xticks(positions)
    axes.set_yticks(positions)
    axes.tick_params(labelsize=8, length=2.5)
    what = "above: predicted, below: known" if known_LL is not None else "predicted"
    known = "" if relatives is None else f"\nknown 3D structure of a relative: {', '.join(relatives) or 'none'}"
    axes.set_title(f"{name} ({length} nt); {what}{known}", fontsize=9, color=INK)
    axes.set(xlabel="base", ylabel="base")
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    save_figure(figure, path)


def draw_trace(name: str, found_KX: NDArray[np.floating], known_KX: NDArray[np.floating], path: Path) -> None:
    """Points of predicted distances over those of the known ones, (K, 3) Å, one laid on the other, from two sides."""
    from matplotlib.figure import Figure

    # Seen along the thinnest and the middle axis of the known points.
    turn_XX = np.linalg.svd(known_KX, full_matrices=False)[2].T
    figure = Figure(figsize=(8.0, 4.2), facecolor="white", layout="constrained")
    for axes, second in zip(figure.subplots(1, 2), (1, 2), strict=True):
        for label, points_KX, colour in (("known", known_KX, MUTED), ("predicted", found_KX, PREDICTORS[0])):
            seen = (points_KX @ turn_XX)[:, [0, second]].T
            axes.plot(*seen, color=colour, linewidth=1.2, marker="o", markersize=2.5, label=label)
        axes.set(xlabel="first axis (Å)", ylabel=f"{('second', 'third')[second - 1]} axis (Å)", aspect="equal")
        axes.set_adjustable("datalim")
        plain_frame(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.suptitle(f"{name}: one point a residue, by distances; 5' to 3' along the line", fontsize=9, color=INK)
    save_figure(figure, path)
