"""Predicted structures put beside the true ones of the same RNAs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rnafm_cli.errors import InputError
from rnafm_cli.rna.metrics import FoldScore, score_fold
from rnafm_cli.rna.pairs import no_pairs
from rnafm_cli.rna.records import StructureRecord

__all__ = ["Comparison", "Missing", "compare", "index_by_id"]

Missing = Literal["error", "unpaired", "skip"]
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


def index_by_id(records: Iterable[StructureRecord]) -> dict[str, StructureRecord]:
    """Records by id, in their order.

    Raises:
        InputError: when an id comes twice.
    """
    found: dict[str, StructureRecord] = {}
    for record in records:
        if (first := found.get(record.id)) is not None:
            where = f", first at line {first.line}" if first.line and first.source == record.source else ""
            raise InputError(f"{record.where}: the id appears twice{where}", hint="records are matched by id")
        found[record.id] = record
    return found


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
