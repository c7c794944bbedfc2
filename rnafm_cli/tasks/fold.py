"""Secondary structure of RNAs: encoder, pair predictor, decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from rnafm_cli.data.buckets import buckets, read_ahead
from rnafm_cli.errors import InputError, Reject, raise_rejected
from rnafm_cli.models.encoder import Encoder
from rnafm_cli.rna.decode import DecodeOptions, decode
from rnafm_cli.rna.mea import expected_accuracy
from rnafm_cli.rna.records import SequenceRecord, StructureRecord
from rnafm_cli.tasks.companions import Companions
from rnafm_cli.tasks.encode import DEFAULT_BATCH_TOKENS, Encoded, encode
from rnafm_cli.tasks.evidence import Evidence, EvidenceOf, no_evidence
from rnafm_cli.tasks.pair_plan import PairPlan, check_memory
from rnafm_cli.tasks.runtime import Runtime

__all__ = ["Fold", "PairPredictor", "fold"]

PAIRS_PER_BATCH = 1 << 18
"""Cells of the pair maps that go through the network together."""
FEW_PAIRS = 1 << 14
"""Cells up to which a batch may be filled without regard to padding."""


class PairPredictor(Protocol):
    """Turns encoded RNAs of similar length into base-pair probabilities."""

    max_bytes: int
    """Memory that the process may take."""
    gamma: float
    """The decoder's weight of pairs that suits its probabilities."""

    @property
    def takes_reactivities(self) -> bool:
        """Whether SHAPE reactivities change its probabilities."""
        ...

    def plan(self, length: int, evidence: Evidence) -> PairPlan:
        """Memory for one RNA, and whether it needs windows."""
        ...

    def foresee(self, record: SequenceRecord, evidence: Evidence) -> None:
        """Say that a record will come, so that what it needs can be computed meanwhile."""
        ...

    def __call__(self, batch: Sequence[Encoded], evidence: Sequence[Evidence]) -> list[np.ndarray]:
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
    evidence: Evidence = field(default_factory=Evidence)
    """What was known beforehand."""

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

    @property
    def expected_accuracy(self) -> float:
        """Expected share of bases whose partner, or lack of one, is right, by the probabilities."""
        return expected_accuracy(self.probs_LL, self.pairs)

    @property
    def pair_confidence(self) -> float | None:
        """Mean probability of the pairs; None without pairs."""
        if len(self.pairs) == 0:
            return None
        return float(self.probs_LL[self.pairs[:, 0], self.pairs[:, 1]].mean(dtype=np.float64))


_UNKNOWN_TO_N = str.maketrans({letter: "N" for letter in "RYKMSWBDHV"})


def fold(
    records: Iterable[SequenceRecord],
    encoder: Encoder,
    predictor: PairPredictor,
    runtime: Runtime,
    *,
    options: DecodeOptions | None = None,
    evidence_of: EvidenceOf = no_evidence,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    long: Literal["window", "error", "skip"] = "window",
    reject: Reject = raise_rejected,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Fold]:
    """Yield every record's structure in input order.

    The structure is valid by construction: each base has at most one partner, hairpins have at least three
    bases and pairs are canonical unless the options say otherwise. An RNA whose pair map would not fit into
    the predictor's memory is folded in windows; one that would not even so is rejected before work begins.

    Args:
        records: clean sequences.
        predictor: gives the pair probabilities.
        options: decoding rules.
        evidence_of: what is known of a record's structure.
        batch_tokens: tokens per batch of the encoder.
        long: what happens to records beyond the encoder's limit.
        reject: called with the error of a record that cannot be used.
        tell: called with a message before an RNA is folded in windows.
    """
    options = options or DecodeOptions()
    if options.gamma is None:
        options = dataclasses.replace(options, gamma=predictor.gamma)
    evidence: Companions[Evidence] = Companions()

    def usable() -> Iterator[SequenceRecord]:
        for record in records:
            try:
                known = evidence_of(record)
                known.check(record, options)
                check_memory(record, predictor.plan(len(record.sequence), known), predictor.max_bytes, tell)
            except InputError as error:
                reject(error)
                continue
            evidence.add(record, known)
            predictor.foresee(record, known)
            yield record

    encoded = encode(usable(), encoder, runtime, batch_tokens=batch_tokens, long=long, reject=reject)
    for chunk in read_ahead(encoded, lambda one: len(one.record.sequence) ** 2, PAIRS_PER_BATCH):
        known = [evidence.of(one.record) for one in chunk]
        probabilities: list[np.ndarray] = [np.empty(0)] * len(chunk)
        for group in buckets([len(one.record.sequence) ** 2 for one in chunk], PAIRS_PER_BATCH, small=FEW_PAIRS):
            found = predictor([chunk[k] for k in group], [known[k] for k in group])
            for k, probs_LL in zip(group, found, strict=True):
                probabilities[k] = probs_LL
        for one, its_evidence, probs_LL in zip(chunk, known, probabilities, strict=True):
            pairs = decode(probs_LL, one.record.sequence, options, constraints=its_evidence.constraints)
            yield Fold(one.record, pairs, probs_LL, its_evidence)
