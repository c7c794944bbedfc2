"""Predictions measured against the truth: structures matched, scored, summed up and written.

Shape suffix: N records.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from rnafm_cli.errors import InputError
from rnafm_cli.io.columns import TABLES
from rnafm_cli.io.names import source_stem
from rnafm_cli.io.streams import TextSink
from rnafm_cli.io.tables import TableWriter
from rnafm_cli.rna.bootstrap import Difference, Interval, fold_intervals, mean_interval, paired_difference
from rnafm_cli.rna.calibration import Calibration
from rnafm_cli.rna.metrics import LENGTH_BINS, FoldScore, MapScore, length_bin, score_fold
from rnafm_cli.rna.pairs import no_pairs
from rnafm_cli.rna.records import StructureRecord

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
    if predicted is not None and (problem := sequence_difference(predicted.sequence, true.sequence)):
        raise InputError(f"{predicted.where}: {problem}", hint="both must be the same RNA")
    pairs = no_pairs() if predicted is None else predicted.pairs
    return score_fold(true.pairs, pairs, length=len(true), id=true.id, family=true.family)


def sequence_difference(sequence: str, true: str) -> str:
    """How a sequence differs from that of the truth; empty for the same.

    Letters other than A, C, G, U agree with any: programs write N where they know no ambiguity codes.
    """
    if len(sequence) != len(true):
        return f"{len(sequence)} nt, and {len(true)} in the truth"
    for k, (a, b) in enumerate(zip(true, sequence, strict=True)):
        if a != b and a in "ACGU" and b in "ACGU":
            return f"another sequence than in the truth (base {k + 1} is {b}, there {a})"
    return ""


def _some(ids: Sequence[str]) -> str:
    """The first few ids."""
    shown = ", ".join(f"'{id}'" for id in ids[:_NAMED])
    return f"{shown}, ..." if len(ids) > _NAMED else shown


METRICS = (
    *("f1", "precision", "recall", "relaxed_f1", "relaxed_precision", "relaxed_recall"),
    *("micro_f1", "micro_precision", "micro_recall", "knot_precision", "knot_recall"),
)
"""Of structures; the first six are means over records, which can be compared record by record."""
_MEANS = METRICS[:6]

FEWEST = 10
"""Records below which a group gets no intervals: resampling a handful tells nothing, and of one it gives 0 width."""
CEILING = "ceiling"
"""What a perfect predictor of contacts reaches, reported like a predictor."""
_NAN = float("nan")
_Score: TypeAlias = FoldScore | MapScore


def value_of(score: _Score, metric: str) -> float:
    """A metric of one record; NaN where it is not defined."""
    return score.values.get(metric, _NAN) if isinstance(score, MapScore) else float(getattr(score, metric))


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the records, as one predictor does on them."""

    scope: str
    """What the records have in common: ``all``, ``length``, ``family``, or ``contacts`` (a long-range one)."""
    name: str
    """The bin or family, ``all``, or ``with contacts``."""
    records: int
    intervals: dict[str, Interval]
    """Each metric with its bootstrap interval; NaN bounds in a group of fewer than ``FEWEST`` records."""
    counts: dict[str, int] = field(default_factory=dict)
    """RNAs with pseudoknotted pairs, and how many such pairs there are and were predicted."""

    @property
    def has_knots(self) -> bool:
        """Whether pseudoknotted pairs are there or were predicted."""
        return self.counts.get("knot_true", 0) + self.counts.get("knot_predicted", 0) > 0


@dataclass(frozen=True, slots=True)
class Report:
    """What there is to say about one predictor or several, and how the intervals were made."""

    metrics: tuple[str, ...]
    groups: dict[str, list[Group]]
    """For each predictor by name."""
    differences: dict[tuple[str, str, str], Difference]
    """First predictor minus second: (scope, group, metric) to the paired bootstrap; empty for one."""
    confidence: float
    resamples: int
    seed: int

    @property
    def is_of_folds(self) -> bool:
        """Whether structures were scored, not maps."""
        return self.metrics == METRICS

    @property
    def unit(self) -> str:
        """What was scored."""
        return "records" if self.is_of_folds else "chains"

    @property
    def sizes(self) -> dict[tuple[str, str], int]:
        """Records of each group."""
        return {(group.scope, group.name): group.records for group in next(iter(self.groups.values()))}

    @property
    def between(self) -> str:
        """Whose difference it is."""
        return " - ".join(list(self.groups)[:2])


def report_scores(
    scores: Mapping[str, Sequence[_Score]],
    metrics: Sequence[str] = METRICS,
    *,
    compared: Sequence[str] = (),
    by_family: bool = False,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Report:
    """Sum up the scores of predictors on the same records, each metric over those for which it is defined.

    Every interval starts from the same seed, so that it depends on its own records only.

    Args:
        scores: for each predictor by name, one score a record, in the same order.
        compared: names of the two predictors whose difference is wanted.
        by_family: also by the families of structures.
    """
    how: dict[str, Any] = {"resamples": resamples, "confidence": confidence}
    members = _members(next(iter(scores.values())), by_family=by_family)
    groups: dict[str, list[Group]] = {name: [] for name in scores}
    for name, every in scores.items():
        for (scope, group), rows in members.items():
            chosen = [every[k] for k in rows]
            groups[name].append(Group(scope, group, len(rows), _intervals(chosen, metrics, seed, how), _knots(chosen)))
    differences: dict[tuple[str, str, str], Difference] = {}
    if len(compared) > 1:
        ours, theirs = (scores[name] for name in compared[:2])
        for (scope, group), rows in members.items():
            for metric in _MEANS if metrics == METRICS else metrics:
                both_N2 = np.array([(value_of(ours[k], metric), value_of(theirs[k], metric)) for k in rows])
                both_N2 = both_N2[~np.isnan(both_N2).any(axis=1)]
                if len(both_N2) >= FEWEST:
                    rng = np.random.default_rng(seed)
                    differences[scope, group, metric] = paired_difference(*both_N2.T, rng=rng, **how)
                elif len(both_N2):
                    mean = float((both_N2[:, 0] - both_N2[:, 1]).mean())
                    differences[scope, group, metric] = Difference(mean, _NAN, _NAN, _NAN)
    return Report(tuple(metrics), groups, differences, confidence, resamples, seed)


def _members(scores: Sequence[_Score], *, by_family: bool) -> dict[tuple[str, str], list[int]]:
    """Row numbers by (scope, group): all, chains with contacts where some have none, length bins from short to long,
    families from many records to few."""
    found: dict[tuple[str, str], list[int]] = {("all", "all"): list(range(len(scores)))}
    with_contacts = [k for k, score in enumerate(scores) if isinstance(score, MapScore) and score.positives]
    if 0 < len(with_contacts) < len(scores):
        found["contacts", "with contacts"] = with_contacts
    bins = [length_bin(score.length) for score in scores]
    for name in LENGTH_BINS:
        if rows := [k for k, bin in enumerate(bins) if bin == name]:
            found["length", name] = rows
    if by_family:
        families = defaultdict(list)
        for k, score in enumerate(scores):
            families[getattr(score, "family", "") or "-"].append(k)
        for name in sorted(families, key=lambda family: (-len(families[family]), family)):
            found["family", name] = families[name]
    return found


def _intervals(rows: Sequence[_Score], metrics: Sequence[str], seed: int, how: dict[str, Any]) -> dict[str, Interval]:
    folds = [row for row in rows if isinstance(row, FoldScore)]
    if folds:
        found = fold_intervals(folds, rng=np.random.default_rng(seed), **how)
        if len(rows) < FEWEST:
            found = {metric: Interval(one.estimate, _NAN, _NAN) for metric, one in found.items()}
        return found
    found = {}
    for metric in metrics:
        values = [value for row in rows if not math.isnan(value := value_of(row, metric))]
        if len(values) >= FEWEST:
            found[metric] = mean_interval(values, rng=np.random.default_rng(seed), **how)
        else:
            found[metric] = Interval(float(np.mean(values)) if values else _NAN, _NAN, _NAN)
    return found


def _knots(rows: Sequence[_Score]) -> dict[str, int]:
    folds = [row for row in rows if isinstance(row, FoldScore)]
    if not folds:
        return {}
    true, predicted = ([getattr(row, name) for row in folds] for name in ("knot_true", "knot_predicted"))
    return {"knot_records": sum(map(bool, true)), "knot_true": sum(true), "knot_predicted": sum(predicted)}


def ceiling_scores(scores: Sequence[MapScore]) -> list[MapScore]:
    """The scores of a perfect predictor of contacts on the same chains."""
    return [replace(score, values=dict(score.ceiling), ceiling={}) for score in scores]


_FOLD_COLUMNS = tuple(TABLES["evaluate fold --per-record"])
_BIN_COLUMNS = tuple(TABLES["evaluate fold --probs --plot"])


def write_fold_scores(sink: TextSink, scores: Mapping[str, Sequence[FoldScore]]) -> None:
    """Write one row per RNA and predictor."""
    writer = TableWriter(sink, _FOLD_COLUMNS)
    for predictor, rows in scores.items():
        for score in rows:
            writer.write([predictor, *(getattr(score, column) for column in _FOLD_COLUMNS[1:])])
    writer.flush()


def write_map_scores(sink: TextSink, scores: Mapping[str, Sequence[MapScore]], metrics: Sequence[str]) -> None:
    """Write one row per chain and predictor."""
    writer = TableWriter(sink, ("predictor", "id", "length", "pairs", "contacts", *metrics))
    for predictor, rows in scores.items():
        for score in rows:
            values = [_number(value_of(score, metric)) for metric in metrics]
            writer.write([predictor, score.id, score.length, score.pairs, score.positives, *values])
    writer.flush()


def write_calibration(sink: TextSink, calibration: Calibration) -> None:
    """Write the bins of a reliability curve; empty bins have no frequencies."""
    writer = TableWriter(sink, _BIN_COLUMNS)
    writer.write_all(_bins(calibration))
    writer.flush()


def write_report(sink: TextSink, report: Report, *, format: str, calibration: Calibration | None = None) -> None:
    """Write a report as ``tsv``, ``json`` or ``table``; the calibration is that of the first predictor."""
    if format == "tsv":
        _write_tsv(sink, report, calibration)
    elif format == "json":
        sink.write(json.dumps(_document(report, calibration), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    elif report.is_of_folds:
        _write_fold_text(sink, report, calibration)
    else:
        _write_map_text(sink, report)


def _write_tsv(sink: TextSink, report: Report, calibration: Calibration | None) -> None:
    writer = TableWriter(sink, tuple(TABLES["evaluate fold" if report.is_of_folds else "evaluate contact"]))
    for predictor, groups in report.groups.items():
        for group in groups:
            row = [predictor, group.scope, group.name, group.records]
            for metric in report.metrics:
                interval = group.intervals[metric]
                if not math.isnan(interval.estimate):
                    writer.write([*row, metric, *_object(interval).values(), None])
            for count, number in group.counts.items() if group.has_knots else ():
                writer.write([*row, count, number, None, None, None])
    if calibration is not None:
        first, records = next(iter(report.groups)), report.sizes["all", "all"]
        writer.write([first, "all", "all", records, "calibration_error", *_object(calibration.ece).values(), None])
        for one in _bins(calibration):
            row = [first, "calibration", _bin_name(one), records]
            writer.write([*row, "pairs", one["pairs"], None, None, None])
            if one["pairs"]:
                writer.write([*row, "predicted", one["predicted"], None, None, None])
                writer.write([*row, "observed", one["observed"], one["low"], one["high"], None])
    for (scope, name, metric), gain in report.differences.items():
        row = [report.between, scope, name, report.sizes[scope, name]]
        writer.write([*row, metric, *_object(gain).values(), _number(gain.p_value)])
    writer.flush()


def _document(report: Report, calibration: Calibration | None) -> dict[str, Any]:
    document: dict[str, Any] = {"records": report.sizes["all", "all"]} if report.is_of_folds else {}
    document |= {"confidence": report.confidence, "resamples": report.resamples, "seed": report.seed, "predictors": {}}
    for predictor, groups in report.groups.items():
        scopes: dict[str, Any] = {}
        document["predictors"][predictor] = scopes
        for group in groups:
            metrics = {metric: _object(group.intervals[metric]) for metric in report.metrics}
            scopes.setdefault(group.scope, {})[group.name] = {report.unit: group.records} | group.counts | metrics
    if report.differences:
        found = document["difference"] = {"of": list(report.groups)[:2]}
        for (scope, name, metric), gain in report.differences.items():
            entry = _object(gain) | {"p_value": _number(gain.p_value)}
            found.setdefault(scope, {}).setdefault(name, {})[metric] = entry
    if calibration is not None:
        document["calibration_error"] = _object(calibration.ece)
        document["calibration"] = _bins(calibration)
    return document


def _write_fold_text(sink: TextSink, report: Report, calibration: Calibration | None) -> None:
    for predictor, groups in report.groups.items():
        rows = [[predictor, "records", "F1", "", "P", "R", "relaxed F1", "", "micro F1"]]
        for group in groups:
            found = group.intervals
            shown = {metric: _text(found[metric].estimate, ".3f") for metric in report.metrics}
            rows.append([*_group_cells(group), shown["f1"], _range(found["f1"], ".3f"), shown["precision"]])
            rows[-1] += [shown["recall"], shown["relaxed_f1"], _range(found["relaxed_f1"], ".3f"), shown["micro_f1"]]
        sink.write(_aligned(rows) + "\n")
        rows = [["pseudoknotted pairs", "true", "predicted", "P", "", "R", ""]]
        for group in groups:
            if group.has_knots:
                name, _ = _group_cells(group)
                rows.append([name, str(group.counts["knot_true"]), str(group.counts["knot_predicted"])])
                for interval in (group.intervals["knot_precision"], group.intervals["knot_recall"]):
                    rows[-1] += [_text(interval.estimate, ".3f"), _range(interval, ".3f")]
        if len(rows) > 1:
            sink.write(_aligned(rows) + "\n")
    if calibration is not None:
        rows = [["pair probability", "pairs", "mean", "true", ""]]
        for one, interval in zip(_bins(calibration), calibration.observed, strict=True):
            if one["pairs"]:
                means = [f"{one['predicted']:.3f}", f"{one['observed']:.3f}", _range(interval, ".3f")]
                rows.append([_bin_name(one), str(one["pairs"]), *means])
        ece = calibration.ece
        sink.write(f"{_aligned(rows)}calibration error {ece.estimate:.3f} {_range(ece, '.3f')}\n\n")
    if report.differences:
        rows = [[report.between, "records", "F1", "", "p", "relaxed F1", "", "p"]]
        for group in next(iter(report.groups.values())):
            rows.append(_group_cells(group))
            for metric in ("f1", "relaxed_f1"):
                gain = report.differences[group.scope, group.name, metric]
                rows[-1] += [f"{gain.estimate:+.3f}", _range(gain, "+.3f"), _text(gain.p_value, ".2g")]
        sink.write(_aligned(rows) + "\n")
    sink.write(f"F1, P, R: means over records. Ranges: {_how(report)}.\n")


_HEADINGS = {"top_l10": "L/10", "top_l5": "L/5", "top_l2": "L/2", "top_l1": "L", "mse": "MSE", "r2": "R2"}
_HEADINGS |= {"pa": "PA", "pmcc": "PMCC"}


def _write_map_text(sink: TextSink, report: Report) -> None:
    for predictor, groups in report.groups.items():
        rows = [[predictor, "chains", *(c for metric in report.metrics for c in (_HEADINGS.get(metric, metric), ""))]]
        for group in groups:
            rows.append(_group_cells(group))
            for metric in report.metrics:
                found = group.intervals[metric]
                rows[-1] += [_text(found.estimate), _range(found)]
        sink.write(_aligned(rows) + "\n")
    for (scope, _, metric), gain in report.differences.items():
        if scope == "all":
            p = "" if math.isnan(gain.p_value) else f", p = {gain.p_value:.2g}"
            sink.write(f"{report.between}: {_HEADINGS.get(metric, metric)} {gain.estimate:+.4f} {_range(gain)}{p}\n")
    sink.write(f"Means over chains. Ranges: {_how(report)}.\n")


def _how(report: Report) -> str:
    return f"{100 * report.confidence:g} % of {report.resamples} bootstrap resamples, seed {report.seed}"


def _group_cells(group: Group) -> list[str]:
    return [f"{group.name} nt" if group.scope == "length" else group.name, str(group.records)]


def _bins(calibration: Calibration) -> list[dict[str, Any]]:
    """The reliability curve, one entry of ``_BIN_COLUMNS`` a bin; frequencies of an empty one are None."""
    rows = []
    for k, count in enumerate(calibration.counts.tolist()):
        means = [_number(float(calibration.predicted[k])), *_object(calibration.observed[k]).values()]
        edges = [round(float(edge), 6) for edge in calibration.edges[k : k + 2]]
        rows.append(dict(zip(_BIN_COLUMNS, [*edges, count, *means], strict=True)))
    return rows


def _bin_name(one: Mapping[str, Any]) -> str:
    return f"{one['from']:g}-{one['to']:g}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell, the first to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _text(value: float, spec: str = "") -> str:
    """A number with so many digits; without a spec small ones get one more."""
    return "-" if math.isnan(value) else f"{value:{spec or ('.4f' if abs(value) < 0.1 else '.3f')}}"


def _range(found: Interval | Difference, spec: str = "") -> str:
    return "-" if math.isnan(found.low) else f"[{_text(found.low, spec)}, {_text(found.high, spec)}]"


def _object(found: Interval | Difference) -> dict[str, float | None]:
    return {"value": _number(found.estimate), "low": _number(found.low), "high": _number(found.high)}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
