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
_BIN_COLUMNS = ("from", "to", "pairs", "predicted", "observed", "low", "high")
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
    writer = TableWriter(sink, _BIN_COLUMNS)
    for one in _bins(calibration):
        writer.write([one[column] for column in _BIN_COLUMNS])
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
            for count in _COUNTS if _has_knots(group) else ():
                row = [predictor, group.scope, group.name, group.summary.records, count]
                writer.write([*row, getattr(group.summary, count), None, None, None])
    if calibration is not None:
        first = next(iter(report.groups))
        row = [first, "all", "all", report.records, "calibration_error"]
        writer.write([*row, *_rounded(calibration.ece), None])
        for one in _bins(calibration):
            row = [first, "calibration", _bin_name(one), report.records]
            writer.write([*row, "pairs", one["pairs"], None, None, None])
            if one["pairs"]:
                writer.write([*row, "predicted", one["predicted"], None, None, None])
                writer.write([*row, "observed", one["observed"], one["low"], one["high"], None])
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
        document["calibration"] = _bins(calibration)
    sink.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _write_text(sink: TextSink, report: FoldReport, calibration: Calibration | None) -> None:
    for predictor, groups in report.groups.items():
        head = [predictor, "records", "F1", "", "P", "R", "relaxed F1", "", "micro F1"]
        sink.write(_aligned([head, *map(_text_row, groups)]) + "\n")
        if knotted := [group for group in groups if _has_knots(group)]:
            head = ["pseudoknotted pairs", "true", "predicted", "P", "", "R", ""]
            sink.write(_aligned([head, *map(_knot_row, knotted)]) + "\n")
    if calibration is not None:
        rows = [["pair probability", "pairs", "mean", "true", ""]]
        for one, interval in zip(_bins(calibration), calibration.observed, strict=True):
            if one["pairs"]:
                means = [f"{one['predicted']:.3f}", f"{one['observed']:.3f}", _range(interval)]
                rows.append([_bin_name(one), str(one["pairs"]), *means])
        sink.write(_aligned(rows))
        sink.write(f"calibration error {calibration.ece.estimate:.3f} {_range(calibration.ece)}\n\n")
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
    return [*cells, _text(found["micro_f1"].estimate, ".3f")]


def _knot_row(group: Group) -> list[str]:
    cells = [_shown_group(group.scope, group.name), str(group.summary.knot_true), str(group.summary.knot_predicted)]
    for metric in ("knot_precision", "knot_recall"):
        interval = group.intervals[metric]
        cells += [_text(interval.estimate, ".3f"), _range(interval)]
    return cells


def _has_knots(group: Group) -> bool:
    return group.summary.knot_true + group.summary.knot_predicted > 0


def _bins(calibration: Calibration) -> list[dict[str, Any]]:
    """The reliability curve, one entry of ``_BIN_COLUMNS`` a bin; frequencies of an empty one are None."""
    curve, rows = calibration.curve, []
    for k, count in enumerate(curve.counts.tolist()):
        means = [_number(float(curve.predicted[k])), *_rounded(calibration.observed[k])]
        edges = [round(float(edge), 6) for edge in curve.edges[k : k + 2]]
        rows.append(dict(zip(_BIN_COLUMNS, [*edges, count, *means], strict=True)))
    return rows


def _bin_name(one: Mapping[str, Any]) -> str:
    return f"{one['from']:g}-{one['to']:g}"


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
