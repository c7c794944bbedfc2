"""Predicted contact and distance maps of known chains: read, scores summed up, and written as TSV, JSON or text.

HDF5: as ``rnafm contact --h5`` writes it, or any file with an (L, L) data set per id at its root. Tables: as the
commands write them, with the columns ``id i j`` (from 1) and ``p`` or ``distance``. Contacts may be in CASP's RR
format. Shape suffix: L residues.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.io.chain_files import is_hdf5
from rnafm_cli.io.modelling import read_casprr
from rnafm_cli.io.names import hdf5_key
from rnafm_cli.io.streams import STDIO, TextSink, input_name, open_text
from rnafm_cli.io.tables import TableWriter, table_rows
from rnafm_cli.rna.bootstrap import Difference, Interval, mean_interval, paired_difference
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.metrics import LENGTH_BINS, MapScore, length_bin
from rnafm_cli.structure.fold_report import FEWEST

__all__ = [
    "CEILING",
    "MAP_NAMES",
    "MAP_REPORT_FORMATS",
    "MapGroup",
    "MapReport",
    "ceiling_scores",
    "read_maps",
    "report_maps",
    "write_map_report",
    "write_map_scores",
]


MAP_NAMES = {"contact": "contact", "distance": "distance"}
_VALUE_COLUMNS = {"contact": "p", "distance": "distance"}
_KNOWN_LETTERS = set("ACGU")


def read_maps(path: str | Path, chains: Sequence[Chain], task: str) -> dict[str, NDArray[np.float32]]:
    """Predicted maps of chains by id, each (L, L); chains that the file lacks are absent, others are not read.

    In a table of contacts, pairs that are not listed have probability 0; a table of distances has to list all.

    Args:
        task: ``contact`` or ``distance``.

    Raises:
        InputError: when the file is neither, or does not fit the chains.
    """
    if str(path) != STDIO and not Path(path).exists():
        raise InputError(f"{path}: no such file")
    if str(path) != STDIO and Path(path).is_file() and is_hdf5(Path(path)):
        return _from_hdf5(Path(path), chains, task)
    return _from_table(path, chains, task)


def _from_hdf5(path: Path, chains: Sequence[Chain], task: str) -> dict[str, NDArray[np.float32]]:
    found = {}
    try:
        with h5py.File(path, "r") as file:
            for chain in chains:
                key = hdf5_key(chain.id)
                if key in file:
                    found[chain.id] = _stored_map(file[key], chain, task, f"{path}: '{key}'")
    except OSError as error:
        raise InputError(f"{path}: is no readable HDF5 file ({error})") from error
    return found


def _stored_map(stored: Any, chain: Chain, task: str, where: str) -> NDArray[np.float32]:
    if isinstance(stored, h5py.Group):
        if MAP_NAMES[task] not in stored:
            have = ", ".join(stored) or "nothing"
            raise InputError(f"{where}: has no '{MAP_NAMES[task]}', only {have}")
        _check_sequence(str(stored.attrs.get("sequence", "")), chain, where)
        stored = stored[MAP_NAMES[task]]
    if stored.shape != (len(chain), len(chain)):
        raise InputError(f"{where}: is {stored.shape}, the chain has {len(chain)} residues")
    map_LL = np.asarray(stored, dtype=np.float32)
    _check_values(map_LL, task, where)
    return map_LL


def _check_values(map_LL: NDArray[np.float32], task: str, where: str) -> None:
    highest = 1.001 if task == "contact" else np.inf
    if not np.isfinite(map_LL).all() or map_LL.min(initial=0) < -1e-3 or map_LL.max(initial=0) > highest:
        what = "probabilities" if task == "contact" else "distances"
        raise InputError(f"{where}: holds values that are no {what}")


def _check_sequence(sequence: str, chain: Chain, where: str) -> None:
    """Where both know a letter it must be the same."""
    if not sequence:
        return
    pairs = zip(sequence, chain.sequence, strict=False)
    differ = any(a != b for a, b in pairs if a in _KNOWN_LETTERS and b in _KNOWN_LETTERS)
    if len(sequence) != len(chain) or differ:
        raise InputError(f"{where}: is another sequence than that of {chain.where}")


def _from_table(path: str | Path, chains: Sequence[Chain], task: str) -> dict[str, NDArray[np.float32]]:
    name, column = input_name(path), _VALUE_COLUMNS[task]
    known = {chain.id: chain for chain in chains}
    found: dict[str, NDArray[np.float32]] = {}
    with open_text(path) as handle:
        first = next((line for line in handle if line.strip()), "")
        is_casp = task == "contact" and first.startswith("PFRMAT")
        text = itertools.chain([first], handle)
        rows = read_casprr(text, name) if is_casp else table_rows(text, name, ("id", "i", "j", column))
        for number, row in rows:
            identifier = row["id"]
            if (chain := known.get(identifier)) is None:
                continue
            if identifier not in found:
                empty = 0.0 if task == "contact" else np.nan
                found[identifier] = np.full((len(chain), len(chain)), empty, dtype=np.float32)
            try:
                i, j, value = int(row["i"]), int(row["j"]), float(row[column])
            except ValueError as error:
                raise InputError(f"{name}:{number}: is no row of pairs ({error})") from error
            if not 1 <= min(i, j) or not max(i, j) <= len(chain):
                raise InputError(f"{name}:{number}: '{identifier}' has no pair {i} {j}, only {len(chain)} residues")
            found[identifier][i - 1, j - 1] = found[identifier][j - 1, i - 1] = value
    for identifier, map_LL in found.items():
        if task == "distance":
            np.fill_diagonal(map_LL, 0.0)
            if np.isnan(map_LL).any():
                raise InputError(
                    f"{name}: lacks pairs of '{identifier}'", hint="write them all: no --max-distance, no --top"
                )
        _check_values(map_LL, task, f"{name}: '{identifier}'")
    return found


CEILING = "ceiling"
"""What a perfect predictor of contacts reaches, reported like a predictor."""
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class MapGroup:
    """Some of the chains, as one predictor does on them.

    Args:
        scope: what the chains have in common: ``all``, ``contacts`` (a long-range one) or ``length``.
        name: the bin, ``all``, or ``with contacts``.
        chains: how many.
        intervals: each metric's mean over the chains for which it is defined, with its bootstrap interval; NaN bounds
            in a group of fewer than ten.
    """

    scope: str
    name: str
    chains: int
    intervals: dict[str, Interval]


@dataclass(frozen=True, slots=True)
class MapReport:
    """What there is to say about one predictor or several.

    Args:
        groups: for each predictor by name.
        differences: first predictor minus second: (scope, group, metric) to the paired bootstrap; empty for one.
        confidence, resamples, seed: how the intervals were made.
    """

    metrics: tuple[str, ...]
    groups: dict[str, list[MapGroup]]
    differences: dict[tuple[str, str, str], Difference]
    confidence: float
    resamples: int
    seed: int


def report_maps(
    scores: Mapping[str, Sequence[MapScore]],
    metrics: Sequence[str],
    *,
    compared: Sequence[str] = (),
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> MapReport:
    """Sum up the scores of predictors on the same chains.

    Every interval starts from the same seed, so that it depends on its own chains only.

    Args:
        scores: for each predictor, one score a chain, in the same order.
        compared: names of the two predictors whose difference is wanted.
    """
    first = next(iter(scores.values()))
    members = _members(first)
    groups: dict[str, list[MapGroup]] = {name: [] for name in scores}
    for name, every in scores.items():
        for (scope, group), rows in members.items():
            intervals = {}
            for metric in metrics:
                values = [every[k].values.get(metric, _NAN) for k in rows]
                values = [value for value in values if not math.isnan(value)]
                intervals[metric] = _interval(values, seed, resamples, confidence)
            groups[name].append(MapGroup(scope, group, len(rows), intervals))
    differences: dict[tuple[str, str, str], Difference] = {}
    if len(compared) > 1:
        ours, theirs = (scores[name] for name in compared[:2])
        for (scope, group), rows in members.items():
            for metric in metrics:
                pairs = [(ours[k].values.get(metric, _NAN), theirs[k].values.get(metric, _NAN)) for k in rows]
                both = np.array([pair for pair in pairs if not any(map(math.isnan, pair))]).reshape(-1, 2)
                if len(both):
                    differences[scope, group, metric] = _difference(both, seed, resamples, confidence)
    return MapReport(tuple(metrics), groups, differences, confidence, resamples, seed)


def ceiling_scores(scores: Sequence[MapScore]) -> list[MapScore]:
    """The scores of a perfect predictor of contacts on the same chains."""
    return [MapScore(s.id, s.length, dict(s.ceiling), s.pairs, s.positives) for s in scores]


def _members(scores: Sequence[MapScore]) -> dict[tuple[str, str], list[int]]:
    """Row numbers by (scope, group): all, those with contacts where some have none, length bins from short to long."""
    found: dict[tuple[str, str], list[int]] = {("all", "all"): list(range(len(scores)))}
    with_contacts = [k for k, score in enumerate(scores) if score.positives]
    if with_contacts and len(with_contacts) < len(scores):
        found["contacts", "with contacts"] = with_contacts
    bins = [length_bin(score.length) for score in scores]
    for name in LENGTH_BINS:
        if rows := [k for k, bin in enumerate(bins) if bin == name]:
            found["length", name] = rows
    return found


def _interval(values: list[float], seed: int, resamples: int, confidence: float) -> Interval:
    if not values:
        return Interval(_NAN, _NAN, _NAN)
    if len(values) < FEWEST:
        return Interval(float(np.mean(values)), _NAN, _NAN)
    return mean_interval(values, rng=np.random.default_rng(seed), resamples=resamples, confidence=confidence)


def _difference(both_N2: np.ndarray, seed: int, resamples: int, confidence: float) -> Difference:
    if len(both_N2) < FEWEST:
        return Difference(float((both_N2[:, 0] - both_N2[:, 1]).mean()), _NAN, _NAN, _NAN)
    rng = np.random.default_rng(seed)
    return paired_difference(both_N2[:, 0], both_N2[:, 1], rng=rng, resamples=resamples, confidence=confidence)


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
