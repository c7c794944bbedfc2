"""A report on predicted structures as TSV, JSON or text for people, and the scores of each record."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnafm_cli.io.streams import TextSink
from rnafm_cli.io.tables import TableWriter
from rnafm_cli.rna.bootstrap import Difference, Interval
from rnafm_cli.rna.calibration import Calibration
from rnafm_cli.rna.fold_report import METRICS, FoldReport, Group
from rnafm_cli.rna.metrics import FoldScore

__all__ = ["REPORT_FORMATS", "write_calibration", "write_records", "write_report"]

_COLUMNS = ("predictor", "scope", "group", "records", "metric", "value", "low", "high", "p_value")
_COUNTS = ("knot_records", "knot_true", "knot_predicted")
_PER_RECORD = (
    "predictor",
    "id",
    "family",
    "length",
    "true",
    "predicted",
    "hits",
    "precision",
    "recall",
    "f1",
    "relaxed_precision",
    "relaxed_recall",
    "relaxed_f1",
    "knot_true",
    "knot_predicted",
    "knot_found",
    "knot_right",
)


def write_report(sink: TextSink, report: FoldReport, *, format: str, calibration: Calibration | None = None) -> None:
    """Write a report in one of ``REPORT_FORMATS``; the calibration is that of the first predictor."""
    REPORT_FORMATS[format](sink, report, calibration)


def write_records(sink: TextSink, scores: Mapping[str, Sequence[FoldScore]]) -> None:
    """Write one row per record and predictor."""
    writer = TableWriter(sink, _PER_RECORD)
    for predictor, rows in scores.items():
        for score in rows:
            writer.write([predictor, *(getattr(score, column) for column in _PER_RECORD[1:])])
    writer.flush()


def write_calibration(sink: TextSink, calibration: Calibration) -> None:
    """Write the bins of a reliability curve; empty bins have no frequencies."""
    curve = calibration.curve
    writer = TableWriter(sink, ("from", "to", "pairs", "predicted", "observed", "low", "high"))
    for k, count in enumerate(curve.counts):
        means = [float(curve.predicted[k]), *_rounded(calibration.observed[k])] if count else [None] * 4
        writer.write([float(curve.edges[k]), float(curve.edges[k + 1]), int(count), *means])
    writer.flush()


def _write_tsv(sink: TextSink, report: FoldReport, calibration: Calibration | None) -> None:
    writer = TableWriter(sink, _COLUMNS)
    for predictor, groups in report.groups.items():
        for group in groups:
            for metric in METRICS:
                interval = group.intervals[metric]
                if not math.isnan(interval.estimate):
                    row = [predictor, group.scope, group.name, group.summary.records, metric]
                    writer.write([*row, *_rounded(interval), None])
    if calibration is not None:
        first = next(iter(report.groups))
        row = [first, "all", "all", report.records, "calibration_error"]
        writer.write([*row, *_rounded(calibration.ece), None])
    sizes = _sizes(report)
    for (scope, name, metric), difference in report.differences.items():
        row = [_difference_name(report), scope, name, sizes[scope, name], metric]
        writer.write([*row, *_rounded(difference), _number(difference.p_value)])
    writer.flush()


def _write_json(sink: TextSink, report: FoldReport, calibration: Calibration | None) -> None:
    predictors: dict[str, Any] = {}
    for predictor, groups in report.groups.items():
        scopes = predictors.setdefault(predictor, {})
        for group in groups:
            counts = {"records": group.summary.records} | {name: getattr(group.summary, name) for name in _COUNTS}
            metrics = {metric: _interval_object(group.intervals[metric]) for metric in METRICS}
            scopes.setdefault(group.scope, {})[group.name] = counts | metrics
    document: dict[str, Any] = {
        "records": report.records,
        "confidence": report.confidence,
        "resamples": report.resamples,
        "seed": report.seed,
        "predictors": predictors,
    }
    if report.differences:
        found: dict[str, Any] = {}
        for (scope, name, metric), difference in report.differences.items():
            entry = _interval_object(difference) | {"p_value": _number(difference.p_value)}
            found.setdefault(scope, {}).setdefault(name, {})[metric] = entry
        document["difference"] = {"of": list(report.groups)[:2]} | found
    if calibration is not None:
        document["calibration_error"] = _interval_object(calibration.ece)
    sink.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _write_text(sink: TextSink, report: FoldReport, calibration: Calibration | None) -> None:
    for predictor, groups in report.groups.items():
        head = [predictor, "records", "F1", "", "P", "R", "relaxed F1", "", "micro F1", "knot P", "knot R"]
        sink.write(_aligned([head, *map(_text_row, groups)]) + "\n")
    if calibration is not None:
        sink.write(
            f"calibration error of the pair probabilities: {calibration.ece.estimate:.3f} {_range(calibration.ece)}\n\n"
        )
    if report.differences:
        sizes = _sizes(report)
        rows = [[_difference_name(report), "records", "F1", "", "p", "relaxed F1", "", "p"]]
        for scope, name in sizes:
            strict, relaxed = (report.differences[scope, name, metric] for metric in ("f1", "relaxed_f1"))
            cells = [_shown_group(scope, name), str(sizes[scope, name])]
            for difference in (strict, relaxed):
                cells += [f"{difference.estimate:+.3f}", _range(difference, sign="+"), _text(difference.p_value, ".2g")]
            rows.append(cells)
        sink.write(_aligned(rows) + "\n")
    percent = f"{100 * report.confidence:g} %"
    resamples = f"{percent} of {report.resamples} bootstrap resamples, seed {report.seed}"
    sink.write(f"F1, P, R: means over records. Ranges: {resamples}.\n")


def _text_row(group: Group) -> list[str]:
    found = group.intervals
    cells = [_shown_group(group.scope, group.name), str(group.summary.records)]
    cells += [f"{found['f1'].estimate:.3f}", _range(found["f1"])]
    cells += [f"{found[metric].estimate:.3f}" for metric in ("precision", "recall")]
    cells += [f"{found['relaxed_f1'].estimate:.3f}", _range(found["relaxed_f1"])]
    rest = (found[metric].estimate for metric in ("micro_f1", "knot_precision", "knot_recall"))
    return cells + [_text(value, ".3f") for value in rest]


def _aligned(rows: Iterable[Sequence[str]]) -> str:
    """Columns padded to their widest cell, the first to the left and numbers to the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _shown_group(scope: str, name: str) -> str:
    return {"all": "all", "length": f"{name} nt"}.get(scope, name)


def _sizes(report: FoldReport) -> dict[tuple[str, str], int]:
    groups = next(iter(report.groups.values()))
    return {(group.scope, group.name): group.summary.records for group in groups}


def _difference_name(report: FoldReport) -> str:
    return " - ".join(list(report.groups)[:2])


def _range(interval: Interval | Difference, *, sign: str = "") -> str:
    if math.isnan(interval.low):
        return "-"
    return f"[{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"


def _text(value: float, spec: str) -> str:
    return "-" if math.isnan(value) else f"{value:{spec}}"


def _rounded(interval: Interval | Difference) -> list[float | None]:
    return [_number(value) for value in (interval.estimate, interval.low, interval.high)]


def _interval_object(interval: Interval | Difference) -> dict[str, float | None]:
    return {name: _number(getattr(interval, part)) for name, part in _PARTS.items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


_PARTS = {"value": "estimate", "low": "low", "high": "high"}
REPORT_FORMATS = {"tsv": _write_tsv, "json": _write_json, "table": _write_text}
