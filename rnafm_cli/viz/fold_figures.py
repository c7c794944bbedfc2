"""Figures of how well structures are predicted: predictor against predictor, F1 against length, calibration.

Shapes: N records, K bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rnafm_cli.rna.bootstrap import mean_interval, paired_difference
from rnafm_cli.rna.calibration import Calibration
from rnafm_cli.rna.metrics import FoldScore
from rnafm_cli.viz.axes import equal_bins, figure_and_axes, plain_frame, plain_lengths, points
from rnafm_cli.viz.palette import INK, MUTED, PALE, PREDICTORS
from rnafm_cli.viz.pictures import save_figure

__all__ = ["draw_calibration", "draw_f1_by_length", "draw_f1_scatter"]


def draw_f1_scatter(scores: Mapping[str, Sequence[FoldScore]], path: Path, *, seed: int = 0) -> None:
    """Strict F1 of two predictors record by record; points above the diagonal are RNAs that the first does better."""
    (name, ours), (other, theirs) = list(scores.items())[:2]
    y_N, x_N = _f1(ours), _f1(theirs)
    figure, axes = figure_and_axes(4.6, 4.75)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, zorder=1)
    better = [("equal", y_N == x_N, "#9ca3af"), (name, y_N > x_N, PREDICTORS[0]), (other, y_N < x_N, PREDICTORS[1])]
    for label, chosen_N, colour in better:
        share = f"{label}{'' if label == 'equal' else ' better'}: {int(chosen_N.sum())}"
        points(axes, x_N[chosen_N], y_N[chosen_N], colour, label=share, zorder=2 if label == "equal" else 3)
    gain = paired_difference(y_N, x_N, rng=np.random.default_rng(seed))
    mean = f"mean difference {gain.estimate:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    axes.set_title(f"{len(y_N)} RNAs, {mean}", fontsize=8, color=INK)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=f"F1, {other}", ylabel=f"F1, {name}", aspect="equal")
    axes.legend(loc="lower right", fontsize=7, frameon=True, framealpha=0.85, edgecolor="none", handletextpad=0.3)
    save_figure(figure, path)


def draw_f1_by_length(scores: Mapping[str, Sequence[FoldScore]], path: Path, *, seed: int = 0) -> None:
    """Strict F1 of each record against its length, with means and 95 % intervals over bins of equal size."""
    figure, axes = figure_and_axes(6.4, 3.8)
    shift = 1.0
    for (name, rows), colour in zip(scores.items(), PREDICTORS, strict=False):
        length_N, f1_N = np.array([score.length for score in rows], dtype=np.float64), _f1(rows)
        points(axes, length_N, f1_N, colour, faint=True)
        bins = equal_bins(length_N)
        found = [mean_interval(f1_N[chosen], rng=np.random.default_rng(seed)) for chosen in bins]
        middle_K = np.array([np.exp(np.log(length_N[chosen]).mean()) for chosen in bins]) * shift
        mean_K, low_K, high_K = (
            np.array([getattr(one, part) for one in found]) for part in ("estimate", "low", "high")
        )
        axes.errorbar(
            middle_K,
            mean_K,
            yerr=[np.maximum(mean_K - low_K, 0.0), np.maximum(high_K - mean_K, 0.0)],
            color=colour,
            marker="o",
            markersize=4.5,
            markeredgecolor="white",
            linewidth=1.6,
            elinewidth=1.2,
            capsize=2.5,
            label=f"{name} (mean {f1_N.mean():.3f})",
            zorder=4,
        )
        # A second predictor's bars would hide the first's.
        shift = 1.025
    axes.set_xscale("log")
    plain_lengths(axes, [score.length for rows in scores.values() for score in rows])
    axes.set(ylim=(-0.03, 1.03), xlabel="length (nt)", ylabel="F1")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=2, fontsize=8, frameon=False)
    save_figure(figure, path)


def draw_calibration(calibration: Calibration, path: Path, *, name: str = "") -> None:
    """Share of true pairs against predicted probability, and how many pairs each bin holds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 5.2), facecolor="white", layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    curve, ece = calibration.curve, calibration.ece
    filled_K = curve.counts > 0
    predicted_K, observed_K = curve.predicted[filled_K], curve.observed[filled_K]
    low_K, high_K = (
        np.array([getattr(one, part) for one in calibration.observed])[filled_K] for part in ("low", "high")
    )
    error_2K = [np.maximum(observed_K - low_K, 0.0), np.maximum(high_K - observed_K, 0.0)]
    above.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
    above.errorbar(
        predicted_K,
        observed_K,
        yerr=error_2K,
        color=PREDICTORS[0],
        marker="o",
        markersize=5,
        linewidth=1.6,
        capsize=2.5,
    )
    title = f"calibration error {ece.estimate:.3f} [{ece.low:.3f}, {ece.high:.3f}]"
    above.set_title(f"{name}: {title}" if name else title, fontsize=9, color=INK)
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of true pairs")
    below.bar(curve.edges[:-1], curve.counts, width=np.diff(curve.edges), align="edge", color=PALE, edgecolor="white")
    below.set(
        yscale="log",
        xlabel="predicted pair probability",
        ylabel="pairs",
        ylim=(0.5 * curve.counts[filled_K].min(initial=10**9), None),
    )
    for axes in (above, below):
        plain_frame(axes)
    save_figure(figure, path)


def _f1(rows: Sequence[FoldScore]) -> np.ndarray:
    return np.array([score.f1 for score in rows], dtype=np.float64)
