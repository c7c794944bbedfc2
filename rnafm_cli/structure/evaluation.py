"""Predictions measured against the truth: structures matched, scored, summed up and written.

Shape suffix: N records.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from rnafm_cli.errors import InputError
from rnafm_cli.io.columns import TABLES
from rnafm_cli.io.names import source_stem
from rnafm_cli.io.streams import TextSink
from rnafm_cli.io.tables import TableWriter
from rnafm_cli.rna.bootstrap import Interval, Resampling, paired_difference, summarise
from rnafm_cli.rna.calibration import Calibration
from rnafm_cli.rna.metrics import FOLD_MEANS, LENGTH_BINS, POOLED, Score, length_bin, score_fold
from rnafm_cli.rna.pairs import no_pairs
from rnafm_cli.rna.records import StructureRecord

Missing = Literal["error", "unpaired", "skip"]
Match = Literal["id", "file"]
_NAMED = 3


def compare(
    truth: Mapping[str, StructureRecord],
    predictions: Mapping[str, Mapping[str, StructureRecord]],
    *,
    missing: Missing = "error",
    allow_extra: bool = False,
) -> dict[str, list[Score]]:
    """Scores of each predictor on the same records, in the order of the truth; all by id.

    Args:
        missing: for an RNA without prediction: an error, count it as predicted without any pair, or leave it out
            for all predictors.
        allow_extra: ignore predictions of RNAs that the truth does not hold instead of failing.

    Raises:
        InputError: naming ids that have no counterpart, or a record whose sequences differ.
    """
    dropped: set[str] = set()
    for name, found in predictions.items():
        lacking, extra = [id for id in truth if id not in found], [id for id in found if id not in truth]
        if truth and len(lacking) == len(truth):
            raise InputError(
                f"{name}: has none of the ids of the truth ({_some(list(truth))})",
                hint=f"ids are matched, and here they are {_some(list(found))}",
            )
        if lacking and missing == "error":
            raise InputError(
                f"{name}: {len(lacking)} of {len(truth)} RNAs have no prediction: {_some(lacking)}",
                hint="--missing unpaired counts them as predicted without pairs, --missing skip leaves them out",
            )
        if extra and not allow_extra:
            raise InputError(
                f"{name}: {len(extra)} predictions are of RNAs missing from the truth: {_some(extra)}",
                hint="--allow-extra ignores them",
            )
        if missing == "skip":
            dropped.update(lacking)
    kept = [record for id, record in truth.items() if id not in dropped]
    if not kept:
        raise InputError("no RNA has both a true and a predicted structure")
    return {name: [_score(record, found.get(record.id)) for record in kept] for name, found in predictions.items()}


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


def _score(true: StructureRecord, predicted: StructureRecord | None) -> Score:
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


METRICS = (*FOLD_MEANS, *POOLED)
"""Of structures; the first are means over records, which can be compared record by record."""
CEILING = "ceiling"
"""What a perfect predictor of contacts reaches, reported like a predictor."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the records, as one predictor does on them, or two in comparison.

    Args:
        scope: what they have in common: ``all``, ``length``, ``family``, or ``contacts`` (a long-range one).
        name: the bin or family, ``all``, or ``with contacts``.
        counts: ``records`` or ``chains``; of structures also the RNAs with pseudoknotted pairs, and how many such pairs
            there are and were predicted.
        intervals: by metric.
    """

    scope: str
    name: str
    counts: dict[str, int]
    intervals: dict[str, Interval]

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.name} nt" if self.scope == "length" else self.name

    @property
    def knots(self) -> dict[str, int]:
        """The counts of pseudoknotted pairs, where there are any."""
        counts = {name: count for name, count in self.counts.items() if name.startswith("knot")}
        return counts if counts.get("knot_true", 0) + counts.get("knot_predicted", 0) else {}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What there is to say about one predictor or several, and how the intervals were made."""

    unit: str
    """What was scored, ``records`` or ``chains``."""
    groups: dict[str, list[Group]]
    """For each predictor by name."""
    differences: list[Group]
    """The first predictor less the second; empty for one."""
    how: Resampling

    @property
    def between(self) -> str:
        """Whose difference it is."""
        return " - ".join(list(self.groups)[:2])


def report_scores(
    scores: Mapping[str, Sequence[Score]],
    metrics: Sequence[str] = METRICS,
    *,
    compared: Sequence[str] = (),
    by_family: bool = False,
    how: Resampling,
) -> Evaluation:
    """Sum up the scores of predictors on the same records, each metric over those for which it is defined.

    Args:
        scores: for each predictor by name, one score a record, in the same order.
        compared: names of the two predictors whose difference is wanted.
        by_family: also by the families of structures.
    """
    unit = "records" if tuple(metrics) == METRICS else "chains"
    members = _members(next(iter(scores.values())), by_family=by_family)
    groups: dict[str, list[Group]] = {name: [] for name in scores}
    for name, every in scores.items():
        for (scope, group), rows in members.items():
            chosen = [every[k] for k in rows]
            counts = {unit: len(rows)}
            if unit == "records":
                true, predicted = ([score.counts[what] for score in chosen] for what in ("knot_true", "knot_predicted"))
                counts["knot_records"] = sum(map(bool, true))
                counts |= {"knot_true": sum(true), "knot_predicted": sum(predicted)}
            groups[name].append(Group(scope, group, counts, summarise(chosen, metrics, how)))
    differences = []
    for (scope, group), rows in members.items() if len(compared) > 1 else ():
        found = {}
        for metric in metrics:
            ours_N, theirs_N = (np.array([scores[name][k][metric] for k in rows]) for name in compared[:2])
            both_N = ~np.isnan(ours_N + theirs_N)
            if both_N.any():
                found[metric] = paired_difference(ours_N[both_N], theirs_N[both_N], how)
        differences.append(Group(scope, group, {unit: len(rows)}, found))
    return Evaluation(unit, groups, differences, how)


def _members(scores: Sequence[Score], *, by_family: bool) -> dict[tuple[str, str], list[int]]:
    """Row numbers by (scope, group): all, chains with contacts where some have none, length bins from short to long,
    families from many records to few."""
    found: dict[tuple[str, str], list[int]] = {("all", "all"): list(range(len(scores)))}
    with_contacts = [k for k, score in enumerate(scores) if score.counts.get("contacts")]
    if 0 < len(with_contacts) < len(scores):
        found["contacts", "with contacts"] = with_contacts
    bins = [length_bin(score.length) for score in scores]
    for name in LENGTH_BINS:
        if rows := [k for k, bin in enumerate(bins) if bin == name]:
            found["length", name] = rows
    if by_family:
        families = defaultdict(list)
        for k, score in enumerate(scores):
            families[score.family or "-"].append(k)
        for name in sorted(families, key=lambda family: (-len(families[family]), family)):
            found["family", name] = families[name]
    return found


def ceiling_scores(scores: Sequence[Score]) -> list[Score]:
    """The scores of a perfect predictor of contacts on the same chains."""
    return [replace(score, values=score.ceiling) for score in scores]


def write_scores(
    sink: TextSink, scores: Mapping[str, Sequence[Score]], columns: Sequence[str], *, decimals: int | None = None
) -> None:
    """Write one row per RNA and predictor.

    Args:
        columns: those after ``predictor`` and ``id``: ``family``, ``length``, counts and values.
        decimals: to which values are rounded.
    """
    writer = TableWriter(sink, ("predictor", "id", *columns))
    for predictor, rows in scores.items():
        for score in rows:
            known = {"family": score.family, "length": score.length, **score.counts}
            known |= {name: _number(value, decimals) for name, value in score.values.items()}
            writer.write([predictor, score.id, *(known[column] for column in columns)])
    writer.flush()


_BIN_COLUMNS = tuple(TABLES["evaluate fold --probs --plot"])


def write_calibration(sink: TextSink, calibration: Calibration) -> None:
    """Write the bins of a reliability curve; empty bins have no frequencies."""
    writer = TableWriter(sink, _BIN_COLUMNS)
    writer.write_all(_bins(calibration))
    writer.flush()


def write_report(sink: TextSink, report: Evaluation, *, format: str, calibration: Calibration | None = None) -> None:
    """Write a report as ``tsv``, ``json`` or ``table``; the calibration is that of the first predictor."""
    if format == "tsv":
        _write_tsv(sink, report, calibration)
    elif format == "json":
        sink.write(json.dumps(_document(report, calibration), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        sink.write(_fold_text(report, calibration) if report.unit == "records" else _map_text(report))


def _write_tsv(sink: TextSink, report: Evaluation, calibration: Calibration | None) -> None:
    writer = TableWriter(sink, tuple(TABLES["evaluate fold" if report.unit == "records" else "evaluate contact"]))

    def write(predictor: str, groups: Iterable[Group]) -> None:
        for group in groups:
            row = [predictor, group.scope, group.name, group.counts[report.unit]]
            for metric, found in group.intervals.items():
                if not math.isnan(found.estimate):
                    writer.write([*row, metric, *map(_number, found)])
            writer.write_all([*row, *count, None, None, None] for count in group.knots.items())

    for predictor, groups in report.groups.items():
        write(predictor, groups)
    if calibration is not None:
        first, records = next((name, groups[0].counts["records"]) for name, groups in report.groups.items())
        writer.write([first, "all", "all", records, "calibration_error", *map(_number, calibration.ece)])
        for one in _bins(calibration):
            row = [first, "calibration", _bin_name(one), records]
            writer.write([*row, "pairs", one["pairs"], None, None, None])
            if one["pairs"]:
                writer.write([*row, "predicted", one["predicted"], None, None, None])
                writer.write([*row, "observed", one["observed"], one["low"], one["high"], None])
    write(report.between, report.differences)
    writer.flush()


def _document(report: Evaluation, calibration: Calibration | None) -> dict[str, Any]:
    of_folds, how = report.unit == "records", report.how
    document: dict[str, Any] = {"records": next(iter(report.groups.values()))[0].counts["records"]} if of_folds else {}
    document |= {"confidence": how.confidence, "resamples": how.resamples, "seed": how.seed, "predictors": {}}
    for predictor, groups in report.groups.items():
        scopes: dict[str, Any] = {}
        document["predictors"][predictor] = scopes
        for group in groups:
            metrics = {metric: _object(found) for metric, found in group.intervals.items()}
            scopes.setdefault(group.scope, {})[group.name] = group.counts | metrics
    if report.differences:
        scopes = document["difference"] = {"of": list(report.groups)[:2]}
        for group in report.differences:
            metrics = {m: _object(found) | {"p_value": _number(found.p_value)} for m, found in group.intervals.items()}
            if metrics:
                scopes.setdefault(group.scope, {})[group.name] = metrics
    if calibration is not None:
        document["calibration_error"] = _object(calibration.ece)
        document["calibration"] = _bins(calibration)
    return document


def _fold_text(report: Evaluation, calibration: Calibration | None) -> str:
    main = {"F1": "f1", "P": "precision", "R": "recall", "relaxed F1": "relaxed_f1", "micro F1": "micro_f1"}
    knots = {"P": "knot_precision", "R": "knot_recall"}
    text = ""
    for predictor, groups in report.groups.items():
        text += _group_table(predictor, groups, {"records": "records"}, main, ranged=("F1", "relaxed F1"))
        if knotted := [group for group in groups if group.knots]:
            counts = {"true": "knot_true", "predicted": "knot_predicted"}
            text += _group_table("pseudoknotted pairs", knotted, counts, knots, ranged=tuple(knots))
    if calibration is not None:
        rows = [["pair probability", "pairs", "mean", "true", ""]]
        for one, found in zip(_bins(calibration), calibration.observed, strict=True):
            if one["pairs"]:
                means = [f"{one['predicted']:.3f}", f"{one['observed']:.3f}", _range(found, ".3f")]
                rows.append([_bin_name(one), str(one["pairs"]), *means])
        ece = calibration.ece
        text += f"{_aligned(rows)}calibration error {ece.estimate:.3f} {_range(ece, '.3f')}\n\n"
    if report.differences:
        rows = [[report.between, "records", "F1", "", "p", "relaxed F1", "", "p"]]
        for group in report.differences:
            rows.append([group.title, str(group.counts["records"])])
            for gain in (group.intervals["f1"], group.intervals["relaxed_f1"]):
                rows[-1] += [f"{gain.estimate:+.3f}", _range(gain, "+.3f"), _text(gain.p_value, ".2g")]
        text += _aligned(rows) + "\n"
    return f"{text}F1, P, R: means over records. Ranges: {_how(report.how)}.\n"


_HEADINGS = {"top_l10": "L/10", "top_l5": "L/5", "top_l2": "L/2", "top_l1": "L", "mse": "MSE", "r2": "R2"}
_HEADINGS |= {"pa": "PA", "pmcc": "PMCC"}


def _map_text(report: Evaluation) -> str:
    text = ""
    for predictor, groups in report.groups.items():
        columns = {_HEADINGS.get(metric, metric): metric for metric in groups[0].intervals}
        text += _group_table(predictor, groups, {"chains": "chains"}, columns, ranged=tuple(columns), spec="")
    for gains in (group.intervals for group in report.differences if group.scope == "all"):
        for metric, gain in gains.items():
            p = "" if math.isnan(gain.p_value) else f", p = {gain.p_value:.2g}"
            text += f"{report.between}: {_HEADINGS.get(metric, metric)} {gain.estimate:+.4f} {_range(gain)}{p}\n"
    return f"{text}Means over chains. Ranges: {_how(report.how)}.\n"


def _group_table(
    title: str,
    groups: Sequence[Group],
    counts: dict[str, str],
    columns: dict[str, str],
    *,
    ranged: Sequence[str],
    spec: str = ".3f",
) -> str:
    """Groups as rows: counts and metrics by heading, and the ranges of some of the latter."""
    rows = [[title, *counts, *(cell for heading in columns for cell in [heading, ""][: 1 + (heading in ranged)])]]
    for group in groups:
        rows.append([group.title, *(str(group.counts[count]) for count in counts.values())])
        for heading, metric in columns.items():
            found = group.intervals[metric]
            rows[-1] += [_text(found.estimate, spec), _range(found, spec)][: 1 + (heading in ranged)]
    return _aligned(rows) + "\n"


def _how(how: Resampling) -> str:
    return f"{100 * how.confidence:g} % of {how.resamples} bootstrap resamples, seed {how.seed}"


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


def _range(found: Interval, spec: str = "") -> str:
    return "-" if math.isnan(found.low) else f"[{_text(found.low, spec)}, {_text(found.high, spec)}]"


def _object(found: Interval) -> dict[str, float | None]:
    return {"value": _number(found.estimate), "low": _number(found.low), "high": _number(found.high)}


def _number(value: float, decimals: int | None = 6) -> float | None:
    if math.isnan(value):
        return None
    return value if decimals is None else round(value, decimals)
