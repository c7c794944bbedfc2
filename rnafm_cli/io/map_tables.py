"""A report on predicted contact or distance maps as TSV, JSON or text for people, and the scores of each chain."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rnafm_cli.io.streams import TextSink
from rnafm_cli.io.tables import TableWriter
from rnafm_cli.rna.bootstrap import Difference, Interval
from rnafm_cli.rna.map_metrics import MapScore
from rnafm_cli.rna.map_report import MapReport

__all__ = ["MAP_REPORT_FORMATS", "write_map_report", "write_map_scores"]

_COLUMNS = ("predictor", "scope", "group", "chains", "metric", "value", "low", "high", "p_value")
_HEADINGS = {"top_l10": "L/10", "top_l5": "L/5", "top_l2": "L/2", "top_l1": "L", "mse": "MSE", "r2": "R2"}
_HEADINGS |= {"pa": "PA", "pmcc": "PMCC"}


def write_map_report(sink: TextSink, report: MapReport, *, format: str) -> None:
    """Write a report in one of ``MAP_REPORT_FORMATS``."""
    MAP_REPORT_FORMATS[format](sink, report)


def write_map_scores(
    sink: TextSink, scores: Mapping[str, Sequence[MapScore]], metrics: Sequence[str], *, pairs: str
) -> None:
    """Write one row per chain and predictor.

    Args:
        pairs: heading of the number of pairs that were scored.
    """
    writer = TableWriter(sink, ("predictor", "id", "length", pairs, "contacts", *metrics))
    for predictor, rows in scores.items():
        for score in rows:
            values = [_number(score.values.get(metric, math.nan)) for metric in metrics]
            writer.write([predictor, score.id, score.length, score.pairs, score.positives, *values])
    writer.flush()


def _write_tsv(sink: TextSink, report: MapReport) -> None:
    writer = TableWriter(sink, _COLUMNS)
    for predictor, groups in report.groups.items():
        for group in groups:
            for metric, found in group.intervals.items():
                if not math.isnan(found.estimate):
                    numbers = (found.estimate, found.low, found.high)
                    row = [predictor, group.scope, group.name, group.chains, metric]
                    writer.write([*row, *map(_number, numbers), None])
    sizes = {(group.scope, group.name): group.chains for group in next(iter(report.groups.values()))}
    for (scope, name, metric), gain in report.differences.items():
        row = [_between(report), scope, name, sizes[scope, name], metric]
        writer.write([*row, *map(_number, (gain.estimate, gain.low, gain.high, gain.p_value))])
    writer.flush()


def _write_json(sink: TextSink, report: MapReport) -> None:
    predictors: dict[str, Any] = {}
    for predictor, groups in report.groups.items():
        scopes = predictors.setdefault(predictor, {})
        for group in groups:
            metrics = {name: _object(found) for name, found in group.intervals.items()}
            scopes.setdefault(group.scope, {})[group.name] = {"chains": group.chains} | metrics
    document: dict[str, Any] = {
        "confidence": report.confidence,
        "resamples": report.resamples,
        "seed": report.seed,
        "predictors": predictors,
    }
    if report.differences:
        found: dict[str, Any] = {"of": list(report.groups)[:2]}
        for (scope, name, metric), gain in report.differences.items():
            entry = _object(gain) | {"p_value": _number(gain.p_value)}
            found.setdefault(scope, {}).setdefault(name, {})[metric] = entry
        document["difference"] = found
    sink.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _write_text(sink: TextSink, report: MapReport) -> None:
    head = ["", "chains", *(cell for metric in report.metrics for cell in (_HEADINGS.get(metric, metric), ""))]
    for predictor, groups in report.groups.items():
        rows = [[predictor, *head[1:]]]
        for group in groups:
            cells = [group.name if group.scope != "length" else f"{group.name} nt", str(group.chains)]
            for metric in report.metrics:
                found = group.intervals[metric]
                cells += [_text(found.estimate), _range(found)]
            rows.append(cells)
        sink.write(_aligned(rows) + "\n")
    for (scope, _, metric), gain in report.differences.items():
        if scope == "all":
            p = "" if math.isnan(gain.p_value) else f", p = {gain.p_value:.2g}"
            sink.write(f"{_between(report)}: {_HEADINGS.get(metric, metric)} {gain.estimate:+.4f} {_range(gain)}{p}\n")
    percent = f"{100 * report.confidence:g} %"
    sink.write(f"Means over chains. Ranges: {percent} of {report.resamples} bootstrap resamples, seed {report.seed}.\n")


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _between(report: MapReport) -> str:
    return " - ".join(list(report.groups)[:2])


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


def _range(found: Interval | Difference) -> str:
    return "-" if math.isnan(found.low) else f"[{_text(found.low)}, {_text(found.high)}]"


def _object(found: Interval | Difference) -> dict[str, float | None]:
    return {"value": _number(found.estimate), "low": _number(found.low), "high": _number(found.high)}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


MAP_REPORT_FORMATS = {"tsv": _write_tsv, "json": _write_json, "table": _write_text}
