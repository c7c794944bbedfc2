"""What a run of cross-validation leaves in its folder: scores and maps of held-out chains, and tables of the means."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py

from rnafm_cli.errors import InputError
from rnafm_cli.io.provenance import Provenance
from rnafm_cli.io.streams import open_output
from rnafm_cli.io.tables import TableWriter
from rnafm_cli.io.tertiary_maps import TertiaryMapWriter
from rnafm_cli.rna.map_metrics import CONTACT_METRICS, DISTANCE_METRICS, MapScore
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.training.tertiary_scores import PredictedMaps, mean_values

__all__ = ["BASELINE", "held_out_maps", "join_maps", "read_scores", "write_scores", "write_table"]

BASELINE = "baseline"
_READOUTS = tuple(f"regression_{name}" for name in DISTANCE_METRICS)
_VALUES = (*CONTACT_METRICS, *DISTANCE_METRICS, *_READOUTS)
_CEILING = tuple(f"ceiling_{name}" for name in CONTACT_METRICS)
_SCORE_COLUMNS = ("id", "length", "pairs", "positives", *_VALUES, *_CEILING)
_TABLE_COLUMNS = ("row", "chains_from", "chains", *_VALUES)


def write_scores(path: Path, scores: Iterable[MapScore]) -> None:
    """Write a row per chain; what is undefined stays empty."""
    with open_output(path) as sink:
        table = TableWriter(sink, _SCORE_COLUMNS)
        for score in scores:
            values = [score.values.get(name) for name in _VALUES]
            values += [score.ceiling.get(name) for name in CONTACT_METRICS]
            shown = [None if value is None or math.isnan(value) else value for value in values]
            table.write([score.id, score.length, score.pairs, score.positives, *shown])
        table.flush()


def read_scores(path: Path) -> list[MapScore]:
    """Read what :func:`write_scores` wrote.

    Raises:
        InputError: for another file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return [_score(row) for row in csv.DictReader(handle, delimiter="\t")]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as scores of chains ({error})") from error


def write_table(path: Path, rows: Sequence[tuple[str, Sequence[MapScore]]]) -> None:
    """Write the means of each row: over chains with known distances, and over all chains.

    Of contacts, ``with contacts`` are the means over chains that have a long-range one, and ``ceiling`` is what a
    perfect predictor would reach.
    """
    with open_output(path) as sink:
        table = TableWriter(sink, _TABLE_COLUMNS, digits=4)
        for name, scores in rows:
            measured = [score for score in scores if "mse" in score.values]
            parts = {
                "with distances": measured,
                "with distances and contacts": [score for score in measured if score.positives],
                "all": list(scores),
            }
            for label, part in parts.items():
                if part:
                    means = mean_values(part)
                    table.write([name, label, len(part), *(means.get(key) for key in _VALUES)])
        best = [score for _, scores in rows[:1] for score in scores if score.ceiling and "mse" in score.values]
        if best:
            means_of = [sum(score.ceiling[key] for score in best) / len(best) for key in CONTACT_METRICS]
            table.write(["ceiling", "with distances", len(best), *means_of, *[None] * (len(_VALUES) - len(means_of))])
        table.flush()


def held_out_maps(path: Path, maps: Iterable[PredictedMaps], *, provenance: Provenance) -> None:
    """Store predicted maps of chains."""
    with TertiaryMapWriter(path, provenance=provenance, half=True, force=True) as writer:
        for one in maps:
            named = {"contact": one.contact_LL, "distance": one.distance_LL}
            if one.sd_LL is not None:
                named["sd"] = one.sd_LL
            writer.add_maps(SequenceRecord(one.chain.id, one.chain.sequence), named)


def join_maps(path: Path, parts: Sequence[Path], *, provenance: Provenance) -> None:
    """One file of the maps of several, the folds of a cross-validation say."""
    with TertiaryMapWriter(path, provenance=provenance, half=True, force=True) as writer:
        for part in parts:
            with h5py.File(part, "r") as file:
                for group in file.values():
                    record = SequenceRecord(str(group.attrs["id"]), str(group.attrs["sequence"]))
                    writer.add_maps(record, {name: data[()] for name, data in group.items()})


def _score(row: dict[str, str]) -> MapScore:
    values = {name: float(row[name]) for name in _VALUES if row[name]}
    ceiling = {name: float(row[f"ceiling_{name}"]) for name in CONTACT_METRICS if row[f"ceiling_{name}"]}
    return MapScore(row["id"], int(row["length"]), values, int(row["pairs"]), int(row["positives"]), ceiling)
