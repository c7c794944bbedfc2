"""Predicted structures beside the true ones: compared, summed up (in total, by length, by family, predictor
against predictor), and written as TSV, JSON or text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from rnafm_cli.errors import InputError
from rnafm_cli.io.names import source_stem
from rnafm_cli.io.streams import TextSink
from rnafm_cli.io.tables import TableWriter
from rnafm_cli.rna.bootstrap import Difference, Interval, fold_intervals, paired_difference
from rnafm_cli.rna.calibration import Calibration
from rnafm_cli.rna.metrics import LENGTH_BINS, FoldScore, FoldSummary, length_bin, score_fold, summarise
from rnafm_cli.rna.pairs import no_pairs
from rnafm_cli.rna.records import StructureRecord

__all__ = [
    "Comparison",
    "DIFFERENCE_METRICS",
    "FEWEST",
    "FoldReport",
    "Group",
    "METRICS",
    "Missing",
    "REPORT_FORMATS",
    "compare",
    "index_records",
    "match_of",
    "report_folds",
    "write_calibration",
    "write_records",
    "write_report",
]


Missing = Literal["error", "unpaired", "skip"]
Match = Literal["id", "file"]
_NAMED = 3


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Scores of each predictor on the same records, in the order of the truth.

    Args:
        truth: the records that were scored.
        scores: for each predictor by name, one score a record.
        missing: for each predictor, ids of the truth that it did not predict.
        extra: for each predictor, how many of its records are not in the truth.
    """

    truth: tuple[StructureRecord, ...]
    scores: dict[str, list[FoldScore]]
    missing: dict[str, tuple[str, ...]]
    extra: dict[str, int]


def compare(
    truth: Mapping[str, StructureRecord],
    predictions: Mapping[str, Mapping[str, StructureRecord]],
    *,
    missing: Missing = "error",
    allow_extra: bool = False,
) -> Comparison:
    """Score predictions, matched to the truth by id.

    Args:
        truth: records by id.
        predictions: for each predictor by name, records by id.
        missing: for an RNA without prediction: an error, count it as predicted without any pair, or leave it out
            for all predictors.
        allow_extra: ignore predictions of RNAs that the truth does not hold instead of failing.

    Raises:
        InputError: naming ids that have no counterpart, or a record whose sequences differ.
    """
    lacking = {name: tuple(id for id in truth if id not in found) for name, found in predictions.items()}
    extra = {name: [id for id in found if id not in truth] for name, found in predictions.items()}
    for name, found in predictions.items():
        if truth and len(lacking[name]) == len(truth):
            raise InputError(
                f"{name}: has none of the ids of the truth ({_some(list(truth))})",
                hint=f"ids are matched, and here they are {_some(list(found))}",
            )
        if lacking[name] and missing == "error":
            raise InputError(
                f"{name}: {len(lacking[name])} of {len(truth)} RNAs have no prediction: {_some(lacking[name])}",
                hint="--missing unpaired counts them as predicted without pairs, --missing skip leaves them out",
            )
        if extra[name] and not allow_extra:
            raise InputError(
                f"{name}: {len(extra[name])} predictions are of RNAs missing from the truth: {_some(extra[name])}",
                hint="--allow-extra ignores them",
            )
    dropped = {id for ids in lacking.values() for id in ids} if missing == "skip" else set()
    kept = tuple(record for record in truth.values() if record.id not in dropped)
    if not kept:
        raise InputError("no RNA has both a true and a predicted structure")
    scores = {name: [_score(record, found.get(record.id)) for record in kept] for name, found in predictions.items()}
    return Comparison(kept, scores, lacking, {name: len(ids) for name, ids in extra.items()})


def index_records(
    records: Iterable[StructureRecord], *, match: Match = "id", first: bool = False
) -> dict[str, StructureRecord]:
    """Records by id, in their order.

    Args:
        match: ``file`` gives each record the name of its file, without suffixes, for an id.
        first: of several records with one id, take the first.

    Raises:
        InputError: when an id comes twice.
    """
    found: dict[str, StructureRecord] = {}
    for record in records:
        named = replace(record, id=source_stem(record.source)) if match == "file" else record
        if (known := found.setdefault(named.id, named)) is named or first:
            continue
        where = f", first at line {known.line}" if known.line and known.source == record.source else ""
        hint = "--first takes the first of a file's structures, --match file goes by the names of files"
        raise InputError(f"{named.where}: the id appears twice{where}", hint=hint)
    return found


def match_of(inputs: Sequence[Sequence[StructureRecord]]) -> Match:
    """How records of several folders are matched: by id, or by file where ids come in several files or meet nowhere."""
    for records in inputs:
        files: dict[str, str] = {}
        if any(files.setdefault(record.id, record.source) != record.source for record in records):
            return "file"
    truth, *predictions = ({record.id for record in records} for records in inputs)
    return "id" if all(truth & found for found in predictions) else "file"


def _score(true: StructureRecord, predicted: StructureRecord | None) -> FoldScore:
    if predicted is not None:
        _check_sequences(true, predicted)
    pairs = no_pairs() if predicted is None else predicted.pairs
    return score_fold(true.pairs, pairs, length=len(true), id=true.id, family=true.family)


def _check_sequences(true: StructureRecord, predicted: StructureRecord) -> None:
    """Letters other than A, C, G, U agree with any: programs write N where they know no ambiguity codes."""
    if len(true) != len(predicted):
        raise InputError(
            f"{predicted.where}: {len(predicted)} nt, and {len(true)} in the truth", hint="both must be the same RNA"
        )
    for k, (a, b) in enumerate(zip(true.sequence, predicted.sequence, strict=True)):
        if a != b and a in "ACGU" and b in "ACGU":
            raise InputError(
                f"{predicted.where}: another sequence than in the truth (base {k + 1} is {b}, there {a})",
                hint="both must be the same RNA",
            )


def _some(ids: Sequence[str]) -> str:
    """The first few ids."""
    shown = ", ".join(f"'{id}'" for id in ids[:_NAMED])
    return f"{shown}, ..." if len(ids) > _NAMED else shown


METRICS = (
    "f1",
    "precision",
    "recall",
    "relaxed_f1",
    "relaxed_precision",
    "relaxed_recall",
    "micro_f1",
    "micro_precision",
    "micro_recall",
    "knot_precision",
    "knot_recall",
)
DIFFERENCE_METRICS = METRICS[:6]
"""Means over records, which can be compared record by record."""

FEWEST = 10
"""Records below which a group gets no intervals: resampling a handful tells nothing, and of one it gives 0 width."""


_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the records, as one predictor does on them.

    Args:
        scope: what the records have in common: ``all``, ``length`` or ``family``.
        name: the bin or family, ``all`` for all records.
        summary: plain values and counts.
        intervals: each of ``METRICS`` with its bootstrap interval, NaN in a group of fewer than ``FEWEST`` records.
    """

    scope: str
    name: str
    summary: FoldSummary
    intervals: dict[str, Interval]


@dataclass(frozen=True, slots=True)
class FoldReport:
    """What there is to say about one predictor, or two.

    Args:
        groups: for each predictor by name.
        differences: first predictor minus second: (scope, group, metric) to the paired bootstrap; empty for one.
        confidence, resamples, seed: how the intervals were made.
    """

    groups: dict[str, list[Group]]
    differences: dict[tuple[str, str, str], Difference]
    records: int
    confidence: float
    resamples: int
    seed: int


def report_folds(
    scores: Mapping[str, Sequence[FoldScore]],
    *,
    by_family: bool = False,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> FoldReport:
    """Sum up the scores of one predictor or two on the same records.

    Every interval starts from the same seed, so that it depends on its own records only.
    """
    names = list(scores)
    members = _members(scores[names[0]], by_family=by_family)
    groups: dict[str, list[Group]] = {}
    for name, all_scores in scores.items():
        groups[name] = []
        for (scope, group), rows in members.items():
            chosen = [all_scores[k] for k in rows]
            rng = np.random.default_rng(seed)
            intervals = fold_intervals(chosen, rng=rng, resamples=resamples, confidence=confidence)
            if len(rows) < FEWEST:
                intervals = {key: Interval(one.estimate, _NAN, _NAN) for key, one in intervals.items()}
            groups[name].append(Group(scope, group, summarise(chosen), intervals))
    differences: dict[tuple[str, str, str], Difference] = {}
    if len(names) > 1:
        for (scope, group), rows in members.items():
            for metric in DIFFERENCE_METRICS:
                a_N, b_N = ([getattr(scores[name][k], metric) for k in rows] for name in names[:2])
                rng = np.random.default_rng(seed)
                gain = paired_difference(a_N, b_N, rng=rng, resamples=resamples, confidence=confidence)
                if len(rows) < FEWEST:
                    gain = Difference(gain.estimate, _NAN, _NAN, _NAN)
                differences[scope, group, metric] = gain
    return FoldReport(groups, differences, len(scores[names[0]]), confidence, resamples, seed)


def _members(scores: Sequence[FoldScore], *, by_family: bool) -> dict[tuple[str, str], list[int]]:
    """Row numbers by (scope, group): all, length bins from short to long, families from many records to few."""
    found: dict[tuple[str, str], list[int]] = {("all", "all"): list(range(len(scores)))}
    bins = [length_bin(score.length) for score in scores]
    for name in LENGTH_BINS:
        if rows := [k for k, bin in enumerate(bins) if bin == name]:
            found["length", name] = rows
    if by_family:
        families: dict[str, list[int]] = {}
        for k, score in enumerate(scores):
            families.setdefault(score.family or "-", []).append(k)
        for name in sorted(families, key=lambda family: (-len(families[family]), family)):
            found["family", name] = families[name]
    return found


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
