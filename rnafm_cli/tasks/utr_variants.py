"""What every single-nucleotide variant of a 5' UTR does to its ribosome load."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.rna.upstream_starts import UpstreamStart
from rnafm_cli.tasks.encode import DEFAULT_BATCH_TOKENS
from rnafm_cli.tasks.model import Model
from rnafm_cli.tasks.mrl import LoadPredictor, RibosomeLoad, load

__all__ = ["VariantEffect", "scan"]

_LETTERS = "ACGU"


@dataclass(frozen=True, slots=True)
class VariantEffect:
    """One variant.

    Args:
        position: 0-based in the whole UTR.
        mrl, sd: of the variant.
        change: its ribosome load less that of the UTR as given.
        change_sd: standard deviation of the change over the members of the ensemble.
        starts: upstream AUGs of the variant.
    """

    record: SequenceRecord
    position: int
    ref: str
    alt: str
    mrl: float
    sd: float
    change: float
    change_sd: float
    starts: list[UpstreamStart]


def scan(
    record: SequenceRecord, predictor: LoadPredictor, model: Model, *, batch_tokens: int = DEFAULT_BATCH_TOKENS
) -> Iterator[VariantEffect]:
    """Yield all substitutions of the part that the head reads, by position, then by letter.

    Letters other than A, C, G, U are left as they are.
    """
    sequence = record.sequence
    first = max(0, len(sequence) - predictor.length)
    changes = [
        (k, letter)
        for k in range(first, len(sequence))
        for letter in _LETTERS
        if sequence[k] in _LETTERS and letter != sequence[k]
    ]

    def mutants() -> Iterator[SequenceRecord]:
        yield record
        for k, letter in changes:
            yield dataclasses.replace(record, sequence=sequence[:k] + letter + sequence[k + 1 :])

    results: Iterator[RibosomeLoad] = load(mutants(), predictor, model, batch_tokens=batch_tokens)
    base = next(results)
    for (k, letter), found in zip(changes, results, strict=True):
        differences = found.members_M - base.members_M
        yield VariantEffect(
            record=record,
            position=k,
            ref=sequence[k],
            alt=letter,
            mrl=found.mrl,
            sd=found.sd,
            change=float(differences.mean()),
            change_sd=float(differences.std()),
            starts=found.starts,
        )
