"""RBP and MRL heads on labelled rows: what they predict, and how good that is.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.data.labelled_rows import LabelledRows
from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.rna.bootstrap import Interval
from rnafm_cli.rna.platt import calibration_error
from rnafm_cli.rna.ranking import rank
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.rna.regression import regress
from rnafm_cli.rna.upstream_starts import CONTEXTS, start_context
from rnafm_cli.tasks.model import Model
from rnafm_cli.tasks.mrl import LoadPredictor, load
from rnafm_cli.tasks.rbp import BindingPredictor, StructureOf, bind

__all__ = ["Resampling", "binding_probabilities", "binding_table", "load_table", "ribosome_loads"]

_FEWEST_IN_CONTEXT = 10

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals are made."""

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0


def binding_probabilities(
    predictor: BindingPredictor,
    model: Model,
    rows: LabelledRows,
    *,
    structure_of: StructureOf | None = None,
    batch_tokens: int,
) -> NDArray[np.float64]:
    """(N,) probabilities of the output that bears the set's name.

    Raises:
        InputError: when the head has no such output.
    """
    if rows.name not in predictor.proteins:
        raise InputError(
            f"{rows.name}: the model '{predictor.card.name}' has no output of this name",
            hint="a table's file name without suffix is its protein's name, see 'rnafm rbp --list'",
        )
    number = predictor.proteins.index(rows.name)
    results = bind(_records(rows), predictor, model, structure_of=structure_of, batch_tokens=batch_tokens)
    return np.array([found.probabilities_P[number] for found in results])


def ribosome_loads(
    model: Model, rows: LabelledRows, *, assay: str | None = None, batch_tokens: int
) -> NDArray[np.float64]:
    """(N,) ribosome loads of the assay that bears the set's name, or of another one.

    Raises:
        UsageError: when the head has no such assay.
    """
    try:
        predictor = LoadPredictor(model, assay or rows.name)
    except UsageError as error:
        if assay is not None:
            raise
        hint = f"--assay NAME predicts one that the model knows; {error.hint}"
        raise UsageError(f"{rows.name}: the model has no assay of this name", hint=hint) from error
    return np.array([found.mrl for found in load(_records(rows), predictor, model, batch_tokens=batch_tokens)])


def binding_table(
    predictors: dict[str, dict[str, NDArray[np.float64]]],
    sets: Sequence[LabelledRows],
    resampling: Resampling,
    *,
    probabilities: Sequence[str] = (),
) -> list[Row]:
    """Rows of figures: every set, then means over the sets whose names begin alike and over all.

    Args:
        predictors: by predictor and set, a score for each row of the set.
        probabilities: predictors whose scores are probabilities, so that their calibration can be told.
    """
    table: list[Row] = []
    for predictor, by_set in predictors.items():
        mine: list[Row] = []
        for rows in sets:
            scores = by_set[rows.name]
            rng = np.random.default_rng(resampling.seed)
            found = rank(rows.values, scores, rng=rng, resamples=resampling.resamples, confidence=resampling.confidence)
            row: Row = {"predictor": predictor, "set": rows.name, "rows": found.rows, "positives": found.positives}
            row |= _interval("auprc", found.auprc) | _interval("auroc", found.auroc)
            row["calibration_error"] = calibration_error(rows.values, scores) if predictor in probabilities else None
            mine.append(row)
        table += mine + _means(predictor, mine)
    return table


def load_table(
    predictors: dict[str, dict[str, NDArray[np.float64]]], sets: Sequence[LabelledRows], resampling: Resampling
) -> list[Row]:
    """Rows of figures: every assay as a whole and by the context of its upstream starts."""
    table: list[Row] = []
    contexts = {rows.name: np.array([start_context(s) for s in rows.sequences]) for rows in sets}
    for predictor, by_set in predictors.items():
        for rows in sets:
            predicted = by_set[rows.name]
            for context in ("all", *CONTEXTS):
                chosen = np.ones(len(rows), dtype=np.bool_) if context == "all" else contexts[rows.name] == context
                if chosen.sum() < (1 if context == "all" else _FEWEST_IN_CONTEXT):
                    continue
                found = regress(
                    rows.values[chosen],
                    predicted[chosen],
                    rng=np.random.default_rng(resampling.seed),
                    resamples=resampling.resamples,
                    confidence=resampling.confidence,
                )
                row: Row = {"predictor": predictor, "assay": rows.name, "context": context, "rows": found.rows}
                row |= _interval("r2", found.r2)
                table.append(row | {"determination": found.determination, "mae": found.mae, "mse": found.mse})
    return table


def _records(rows: LabelledRows) -> Iterator[SequenceRecord]:
    for number, sequence in enumerate(rows.sequences, start=1):
        yield SequenceRecord(f"{rows.name}:{number}", sequence)


def _interval(name: str, interval: Interval) -> Row:
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _means(predictor: str, table: Sequence[Row]) -> list[Row]:
    """Means over groups of sets; groups of one are left out."""
    groups: dict[str, list[Row]] = {}
    for row in table:
        groups.setdefault(row["set"].split("_")[0], []).append(row)
    named = [(f"mean of {len(rows)} {name} sets", rows) for name, rows in groups.items() if len(rows) > 1]
    if len(groups) > 1 or (len(table) > 1 and not named):
        named.append((f"mean of all {len(table)} sets", list(table)))
    return [
        {
            "predictor": predictor,
            "set": name,
            "rows": sum(row["rows"] for row in rows),
            "positives": sum(row["positives"] for row in rows),
            **{key: float(np.mean([row[key] for row in rows])) for key in ("auprc", "auroc")},
        }
        for name, rows in named
    ]
