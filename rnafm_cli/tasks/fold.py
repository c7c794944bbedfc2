"""Secondary structure of RNAs: encoder, pair predictor, decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from rnafm_cli.data.buckets import buckets, read_ahead
from rnafm_cli.models.encoder import Encoder
from rnafm_cli.rna.decode import DecodeOptions, decode
from rnafm_cli.rna.records import SequenceRecord, StructureRecord
from rnafm_cli.tasks.encode import DEFAULT_BATCH_TOKENS, Encoded, Reject, encode, raise_rejected
from rnafm_cli.tasks.runtime import Runtime

__all__ = ["Fold", "PairPredictor", "fold"]

PAIRS_PER_BATCH = 1 << 18
"""Cells of the pair maps that go through the network together."""


class PairPredictor(Protocol):
    """Turns encoded RNAs of similar length into base-pair probabilities."""

    def __call__(self, batch: list[Encoded]) -> list[np.ndarray]:
        """One (L, L) symmetric float32 array per RNA."""
        ...


@dataclass(frozen=True, eq=False)
class Fold:
    """One RNA's predicted structure."""

    record: SequenceRecord
    pairs: np.ndarray
    """(n, 2), 0-based, i < j."""
    probs_LL: np.ndarray
    """(L, L) float32 symmetric: probability that i and j pair."""

    @property
    def structure(self) -> StructureRecord:
        """The record with its pairs, for writers; letters that no structure format knows are N."""
        return StructureRecord(
            self.record.id,
            self.record.sequence.translate(_UNKNOWN_TO_N),
            self.pairs,
            description=self.record.description,
            source=self.record.source,
            line=self.record.line,
        )


_UNKNOWN_TO_N = str.maketrans({letter: "N" for letter in "RYKMSWBDHV"})


def fold(
    records: Iterable[SequenceRecord],
    encoder: Encoder,
    predictor: PairPredictor,
    runtime: Runtime,
    *,
    options: DecodeOptions | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    long: Literal["window", "error", "skip"] = "window",
    reject: Reject = raise_rejected,
) -> Iterator[Fold]:
    """Yield every record's structure in input order.

    The structure is valid by construction: each base has at most one partner, hairpins have at least three
    bases and pairs are canonical unless the options say otherwise.

    Args:
        records: clean sequences.
        predictor: gives the pair probabilities.
        options: decoding rules.
        batch_tokens: tokens per batch of the encoder.
        long: what happens to records beyond the encoder's limit.
        reject: called with the error of a record that cannot be used.
    """
    encoded = encode(records, encoder, runtime, batch_tokens=batch_tokens, long=long, reject=reject)
    for chunk in read_ahead(encoded, lambda one: len(one.record.sequence) ** 2, PAIRS_PER_BATCH):
        probabilities: list[np.ndarray] = [np.empty(0)] * len(chunk)
        for group in buckets([len(one.record.sequence) ** 2 for one in chunk], PAIRS_PER_BATCH):
            for k, probs_LL in zip(group, predictor([chunk[k] for k in group]), strict=True):
                probabilities[k] = probs_LL
        for one, probs_LL in zip(chunk, probabilities, strict=True):
            yield Fold(one.record, decode(probs_LL, one.record.sequence, options), probs_LL)
