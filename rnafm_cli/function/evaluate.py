"""RBP and MRL heads, simple baselines or tables of predictions on labelled rows, and how good they are.

Shape suffixes: N rows, K features.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.function.metrics import calibration_error, rank, regress
from rnafm_cli.function.mrl import CONTEXTS, STOPS, MrlPredictor, ribosome_load, start_context, upstream_starts
from rnafm_cli.function.rbp import BindingPredictor, StructureOf, bind
from rnafm_cli.io.streams import TextSink, input_name, open_text
from rnafm_cli.io.tables import TableWriter, table_rows
from rnafm_cli.rna.bootstrap import Resampling
from rnafm_cli.rna.kmers import words_of
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.training.labelled_rows import LabelledRows

_NEAR_START = 12
_FEWEST_IN_CONTEXT = 10

_Row = dict[str, Any]
Scores = dict[str, dict[str, NDArray[np.float64]]]
"""By predictor and set, a score for each row of the set."""


def kmer_logistic(train: Sequence[str], labels_N: NDArray[np.floating], scored: Sequence[str]) -> NDArray[np.floating]:
    """Log odds of the scored sequences by logistic regression on standardised 5-mer counts of the training ones."""
    from sklearn.linear_model import LogisticRegression

    x_NK, z_NK = _standardised(_kmer_counts(train, 5), _kmer_counts(scored, 5))
    # This strength is better on development rows than 1e-2, and than counts as they are with 1.
    fitted = LogisticRegression(C=1e-3, tol=1e-6, max_iter=1000).fit(x_NK, labels_N)
    return fitted.decision_function(z_NK)


def utr_ridge(train: Sequence[str], values_N: NDArray[np.floating], scored: Sequence[str]) -> NDArray[np.floating]:
    """Ribosome load of the scored UTRs by ridge regression on features of the training ones."""
    from sklearn.linear_model import Ridge

    x_NK, z_NK = _standardised(_utr_features(train), _utr_features(scored))
    return Ridge(alpha=10.0).fit(x_NK, values_N).predict(z_NK)


def _kmer_counts(sequences: Sequence[str], length: int) -> NDArray[np.float32]:
    """(N, 4 ** length) how often each word occurs in each sequence."""
    words, rows = words_of(sequences, length)
    size = 4**length
    flat = np.bincount(rows * size + words.astype(np.int64), minlength=len(sequences) * size)
    return flat.reshape(len(sequences), size).astype(np.float32)


def _utr_features(sequences: Sequence[str]) -> NDArray[np.float64]:
    """(N, K) upstream AUGs, open or stopped, and stop codons by frame; 1- to 4-mers; the last 12 bases; length."""
    words = np.concatenate([_kmer_counts(sequences, length) for length in (1, 2, 3, 4)], axis=1)
    own = np.zeros((len(sequences), 9 + 4 * _NEAR_START + 1))
    for row, sequence in zip(own, sequences, strict=True):
        for start in upstream_starts(sequence):
            row[start.frame + (3 if start.stop is not None else 0)] += 1
        for k in range(len(sequence) - 2):
            if sequence[k : k + 3] in STOPS:
                row[6 + (len(sequence) - k) % 3] += 1
        for place, letter in enumerate(reversed(sequence[-_NEAR_START:])):
            if letter in "ACGU":
                row[9 + 4 * place + "ACGU".index(letter)] = 1
        row[-1] = len(sequence)
    return np.concatenate([words, own], axis=1)


def _standardised(train_NK: NDArray[np.floating], scored_NK: NDArray[np.floating]) -> tuple[NDArray, NDArray]:
    """Both in standard deviations from the mean of the training rows."""
    mean_K, spread_K = train_NK.mean(0), np.maximum(train_NK.std(0), 1e-6)
    return (train_NK - mean_K) / spread_K, (scored_NK - mean_K) / spread_K


def binding_probabilities(
    predictor: BindingPredictor, rows: LabelledRows, *, structure_of: StructureOf | None = None
) -> NDArray[np.float64]:
    """(N,) probabilities of the output that bears the set's name."""
    if rows.name not in predictor.proteins:
        raise InputError(
            f"{rows.name}: the model '{predictor.card.name}' has no output of this name",
            hint="a table's file name without suffix is its protein's name, see 'rnafm rbp --list'",
        )
    number = predictor.proteins.index(rows.name)
    results = bind(records_of(rows), predictor, structure_of=structure_of)
    return np.array([found.probabilities_P[number] for found in results])


def ribosome_loads(
    model: NamedModel, rows: LabelledRows, *, assay: str | None = None, batch_tokens: int
) -> NDArray[np.float64]:
    """(N,) ribosome loads of the assay that bears the set's name, or of another one."""
    try:
        predictor = MrlPredictor(model, assay or rows.name, batch_tokens=batch_tokens)
    except UsageError as error:
        if assay is not None:
            raise
        hint = f"--assay NAME predicts one that the model knows; {error.hint}"
        raise UsageError(f"{rows.name}: the model has no assay of this name", hint=hint) from error
    return np.array([found.mrl for found in ribosome_load(records_of(rows), predictor)])


def records_of(rows: LabelledRows) -> Iterator[SequenceRecord]:
    """The rows as records."""
    for number, sequence in enumerate(rows.sequences, start=1):
        yield SequenceRecord(f"{rows.name}:{number}", sequence)


def read_predictions(
    path: Path, column: str, sets: Sequence[LabelledRows], *, by: str | None = None
) -> dict[str, NDArray[np.float64]]:
    """Predicted values of each set's rows, matched by their ids.

    Args:
        column: of the values, beside ``id``.
        by: column that names the set, if the table is of several.

    Raises:
        InputError: for a table that cannot be used, and rows without id or prediction.
    """
    where = input_name(path)
    values: dict[tuple[str, str], float] = {}
    with open_text(path) as lines:
        for number, row in table_rows(lines, where, ["id", column, *([by] if by else [])]):
            key = (row[by] if by else "", row["id"])
            if key in values:
                raise InputError(f"{where}:{number}: a second prediction for '{row['id']}'")
            try:
                values[key] = float(row[column])
            except ValueError as error:
                raise InputError(f"{where}:{number}: {column} '{row[column]}' is not a number") from error
    found = {}
    for rows in sets:
        if not all(rows.ids):
            hint = "add a column 'id' with the FASTA ids"
            raise InputError(f"{rows.name}: its rows have no ids to match predictions by", hint=hint)
        keys = [(rows.name if by else "", name) for name in rows.ids]
        if missing := [name for of_set, name in keys if (of_set, name) not in values]:
            lacks = f"{len(missing)} records have no prediction for '{rows.name}', '{missing[0]}' for one"
            raise InputError(f"{where}: {lacks}")
        found[rows.name] = np.array([values[key] for key in keys])
    return found


def binding_table(
    predictors: Scores, sets: Sequence[LabelledRows], resampling: Resampling, *, probabilities: Sequence[str] = ()
) -> list[_Row]:
    """Rows of figures: every set, then means over the sets whose names begin alike and over all.

    Args:
        probabilities: predictors whose scores are probabilities, so that their calibration can be told.
    """
    table: list[_Row] = []
    for predictor, by_set in predictors.items():
        mine: list[_Row] = []
        for rows in sets:
            scores = by_set[rows.name]
            row = {"predictor": predictor, "set": rows.name} | rank(rows.values, scores, resampling)
            row["calibration_error"] = calibration_error(rows.values, scores) if predictor in probabilities else None
            mine.append(row)
        table += mine + _means(predictor, mine)
    return table


def _means(predictor: str, table: Sequence[_Row]) -> list[_Row]:
    """Means over groups of sets; groups of one are left out."""
    groups: dict[str, list[_Row]] = {}
    for row in table:
        groups.setdefault(row["set"].split("_")[0], []).append(row)
    named = {f"mean of {len(rows)} {name} sets": rows for name, rows in groups.items() if len(rows) > 1}
    if len(groups) > 1 or (len(table) > 1 and not named):
        named[f"mean of all {len(table)} sets"] = list(table)
    return [
        {"predictor": predictor, "set": name}
        | {key: sum(row[key] for row in rows) for key in ("rows", "positives")}
        | {key: float(np.mean([row[key] for row in rows])) for key in ("auprc", "auroc")}
        for name, rows in named.items()
    ]


def ribosome_load_table(predictors: Scores, sets: Sequence[LabelledRows], resampling: Resampling) -> list[_Row]:
    """Rows of figures: every assay as a whole and by the context of its upstream starts."""
    contexts = {rows.name: np.array([start_context(s) for s in rows.sequences]) for rows in sets}
    table: list[_Row] = []
    for predictor, by_set in predictors.items():
        for rows in sets:
            for context in ("all", *CONTEXTS):
                chosen = np.flatnonzero((contexts[rows.name] == context) | (context == "all"))
                if context == "all" or len(chosen) >= _FEWEST_IN_CONTEXT:
                    found = regress(rows.values[chosen], by_set[rows.name][chosen], resampling)
                    table.append({"predictor": predictor, "assay": rows.name, "context": context} | found)
    return table


def write_figures(
    sink: TextSink, table: Sequence[Mapping[str, Any]], columns: Sequence[str], *, format: str, **facts: Any
) -> None:
    """Write a table of figures as ``tsv``, ``json`` (a document with ``facts`` and the rows) or ``table``.

    Args:
        columns: keys of the rows, in order; a row may lack some.
    """
    # What is undefined (NaN, which equals nothing) is shown as what is missing.
    rows = [{key: row[key] if key in row and row[key] == row[key] else None for key in columns} for row in table]
    if format == "tsv":
        writer = TableWriter(sink, columns)
        writer.write_all(rows)
        writer.flush()
    elif format == "json":
        plain = [{key: round(v, 6) if isinstance(v, float) else v for key, v in row.items()} for row in rows]
        sink.write(json.dumps({**facts, "figures": plain}, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        shown = [key for key in columns if any(row[key] is not None for row in rows)]
        lines = [shown, *([_text(row[key]) for key in shown] for row in rows)]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        sides = ["<" if any(isinstance(row[key], str) for row in rows) else ">" for key in shown]
        for line in lines:
            cells = [f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)]
            sink.write("  ".join(cells).rstrip() + "\n")


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
