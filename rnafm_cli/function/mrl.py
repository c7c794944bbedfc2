"""Mean ribosome load of 5' UTRs and of their single-nucleotide variants, with the upstream start codons behind it.

Shape suffixes: B batch, M members of the ensemble.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnafm_cli.encoder.batches import Companions, buckets, read_ahead
from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS
from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.errors import Reject, UsageError, WeightsError, raise_rejected
from rnafm_cli.function.heads import encoded_for, load_ribosome_load_head
from rnafm_cli.function.inputs import aligned_letters, aligned_rows
from rnafm_cli.function.ribosome_load import UtrInputs
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.rna.upstream_starts import UpstreamStart, upstream_starts
from rnafm_cli.weights.registry import nearest_name

DEFAULT_ASSAY = "random_25to100"
SHORTEST = 25
"""Bases of the shortest UTRs that heads are trained on."""
_LETTERS_PER_BATCH = 16_384


@dataclass(frozen=True, eq=False)
class RibosomeLoad:
    """One UTR's predicted mean ribosome load, in ribosomes.

    Args:
        sd: standard deviation: what the members disagree about and the noise they expect.
        members_M: the predictions of the ensemble's members.
        starts: all upstream AUGs of the UTR.
    """

    record: SequenceRecord
    mrl: float
    sd: float
    members_M: NDArray[np.float64]
    starts: list[UpstreamStart]


class LoadPredictor:
    """The MRL head of a model for one assay.

    Args:
        assay: by its set's name; the default one, or the only one, if None.

    Raises:
        UsageError: for an assay that the head does not know.
        WeightsError: when the model has no such head, or it belongs to another encoder.
    """

    def __init__(self, model: NamedModel, assay: str | None = None) -> None:
        self._model = model
        self.head, self.card = load_ribosome_load_head(model)
        config = self.head.config
        if assay is None:
            assay = DEFAULT_ASSAY if DEFAULT_ASSAY in config.assays else config.assays[0]
        if assay not in config.assays:
            close = nearest_name(assay, config.assays)
            raise UsageError(
                f"there is no assay '{assay}'",
                hint=f"did you mean {close}?" if close else f"known are {', '.join(config.assays)}",
            )
        self.assay, self.length = assay, config.length
        self._number = config.assays.index(assay)
        self._factor = float(self.card.config.get("sd_factors", {}).get(assay, 1.0))

    @torch.inference_mode()
    def predict(self, sequences: Sequence[str], reduced: Sequence[Tensor | None]) -> tuple[NDArray, NDArray]:
        """(M, B) predictions and (B,) standard deviations, in ribosomes, of UTRs of similar length."""
        device, width = self._model.runtime.device, max(map(len, sequences))
        config = self.head.config
        inputs = UtrInputs(aligned_letters(sequences, width, "end").to(device))
        if self.head.reduction is not None:
            inputs.reduced_BLK = aligned_rows(reduced, width, "end", channels=config.reduced).to(device)
        mean_MBA, log_variance_MBA = self.head(inputs)
        mean_MB = mean_MBA[..., self._number].cpu().numpy().astype(np.float64)
        variance_MB = np.exp(log_variance_MBA[..., self._number].cpu().numpy().astype(np.float64))
        scale = config.deviations[self._number]
        sd_B = self._factor * scale * np.sqrt(variance_MB.mean(0) + mean_MB.var(0))
        return mean_MB * scale + config.means[self._number], sd_B


def read_part(record: SequenceRecord, length: int) -> SequenceRecord:
    """The part of a UTR that counts: its last ``length`` bases, next to the start codon."""
    if len(record.sequence) <= length:
        return record
    return dataclasses.replace(record, sequence=record.sequence[-length:])


def ribosome_load(
    records: Iterable[SequenceRecord],
    predictor: LoadPredictor,
    model: NamedModel,
    *,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    reject: Reject = raise_rejected,
) -> Iterator[RibosomeLoad]:
    """Yield every UTR's ribosome load in input order, in flat memory.

    The start codon follows the last base of a record. Of a UTR longer than the head reads, the 3' end counts for the
    load, and the whole for its upstream starts.

    Args:
        batch_tokens: tokens per batch of the encoder.
        reject: called with the error of a record that cannot be used.
    """
    whole: Companions[SequenceRecord] = Companions()

    def parts() -> Iterator[SequenceRecord]:
        for record in records:
            part = read_part(record, predictor.length)
            whole.add(part, record)
            yield part

    encoded = encoded_for(predictor.head, model, parts(), batch_tokens=batch_tokens, reject=reject)
    for chunk in read_ahead(encoded, lambda one: len(one[0].sequence), _LETTERS_PER_BATCH):
        given = [whole.of(part) for part, _ in chunk]
        found: list[RibosomeLoad | None] = [None] * len(chunk)
        for group in buckets([len(record.sequence) for record, _ in chunk], _LETTERS_PER_BATCH):
            part = [chunk[k] for k in group]
            members_MB, sd_B = predictor.predict([r.sequence for r, _ in part], [rows for _, rows in part])
            for place, k in enumerate(group):
                members_M, starts = members_MB[:, place], upstream_starts(given[k].sequence)
                found[k] = RibosomeLoad(given[k], float(members_M.mean()), float(sd_B[place]), members_M, starts)
        for one in found:
            if one is not None and not np.isfinite([one.mrl, one.sd]).all():
                raise WeightsError(f"{one.record.where}: the head '{predictor.card.name}' gives no finite number")
            if one is not None:
                yield one


"""The name that the Python model calls it by."""

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
    record: SequenceRecord, predictor: LoadPredictor, model: NamedModel, *, batch_tokens: int = DEFAULT_BATCH_TOKENS
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

    results: Iterator[RibosomeLoad] = ribosome_load(mutants(), predictor, model, batch_tokens=batch_tokens)
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
