"""Mean ribosome load of 5' UTRs and of their single-nucleotide variants, with the upstream start codons behind it.

Shape suffixes: B batch, M members of the ensemble.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS, shared_out
from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.encoder.workers import buckets
from rnafm_cli.errors import Reject, UsageError, WeightsError, raise_rejected
from rnafm_cli.function.heads import load_head, reduced_embeddings
from rnafm_cli.function.inputs import aligned_letters, aligned_rows
from rnafm_cli.function.ribosome_load import LoadHead, UtrInputs
from rnafm_cli.io.tables import Tabular
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.rna.upstream_starts import UpstreamStart, upstream_starts
from rnafm_cli.weights.registry import nearest_name

DEFAULT_ASSAY = "random_25to100"
SHORTEST = 25
"""Bases of the shortest UTRs that heads are trained on."""
_LETTERS_PER_BATCH = 16_384


@dataclass(frozen=True, eq=False)
class RibosomeLoad(Tabular):
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

    def rows(self) -> list[dict[str, Any]]:
        """One row for :func:`rnafm_cli.to_frame`."""
        frames = [start.frame for start in self.starts]
        load = {"id": self.record.id, "mrl": self.mrl, "mrl_sd": self.sd}
        return [{**load, "uaug": len(frames), "uaug_frame": frames}]


class LoadPredictor:
    """The MRL head of a model for one assay.

    Args:
        assay: by its set's name; the default one, or the only one, if None.
        batch_tokens: tokens per batch of the encoder.

    Raises:
        UsageError: for an assay that the head does not know.
        WeightsError: when the model has no such head, or it belongs to another encoder.
    """

    def __init__(
        self, model: NamedModel, assay: str | None = None, *, batch_tokens: int = DEFAULT_BATCH_TOKENS
    ) -> None:
        self.head, self.card = load_head(model, LoadHead)
        self.runtime, self.batch_tokens = model.runtime, batch_tokens
        self.encoder = model.encoder_for("mrl") if self.head.reduction is not None else None
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
        device, width = self.runtime.device, max(map(len, sequences))
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

    def loads(self, records: Sequence[SequenceRecord]) -> list[RibosomeLoad]:
        """The ribosome load of each record; see :func:`ribosome_load`."""
        parts = [dataclasses.replace(record, sequence=record.sequence[-self.length :]) for record in records]
        reduced = reduced_embeddings(parts, self.head, self.encoder, self.runtime, batch_tokens=self.batch_tokens)
        found: list[RibosomeLoad | None] = [None] * len(records)
        for group in buckets([len(part.sequence) for part in parts], _LETTERS_PER_BATCH):
            members_MB, sd_B = self.predict([parts[k].sequence for k in group], [reduced[k] for k in group])
            for place, k in enumerate(group):
                record, members_M, sd = records[k], members_MB[:, place], float(sd_B[place])
                if not (np.isfinite(members_M).all() and np.isfinite(sd)):
                    raise WeightsError(f"{record.where}: the head '{self.card.name}' gives no finite number")
                starts = upstream_starts(record.sequence)
                found[k] = RibosomeLoad(record, float(members_M.mean()), sd, members_M, starts)
        return [one for one in found if one is not None]


def ribosome_load(
    records: Iterable[SequenceRecord], predictor: LoadPredictor, *, reject: Reject = raise_rejected
) -> Iterator[RibosomeLoad]:
    """Yield every UTR's ribosome load in input order, in flat memory.

    The start codon follows the last base of a record. Of a UTR longer than the head reads, the 3' end counts for the
    load, and the whole for its upstream starts.

    Args:
        reject: called with the error of a record that cannot be used.
    """
    runtime, tokens = predictor.runtime, predictor.batch_tokens
    return shared_out(records, predictor.loads, runtime, batch_tokens=tokens, reject=reject)


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


def scan(records: Iterable[SequenceRecord], predictor: LoadPredictor) -> Iterator[list[VariantEffect]]:
    """Yield, for every UTR, all substitutions of the part that the head reads, by position, then by letter.

    Letters other than A, C, G, U are left as they are.
    """

    def work(batch: Sequence[SequenceRecord]) -> list[list[VariantEffect]]:
        return [_variants(record, predictor) for record in batch]

    return shared_out(records, work, predictor.runtime, batch_tokens=1)


def _variants(record: SequenceRecord, predictor: LoadPredictor) -> list[VariantEffect]:
    sequence = record.sequence
    changes = [
        (k, letter)
        for k in range(max(0, len(sequence) - predictor.length), len(sequence))
        for letter in _LETTERS
        if sequence[k] in _LETTERS and letter != sequence[k]
    ]
    texts = [sequence, *(sequence[:k] + letter + sequence[k + 1 :] for k, letter in changes)]
    base, *results = predictor.loads([dataclasses.replace(record, sequence=text) for text in texts])
    effects = []
    for (k, letter), found in zip(changes, results, strict=True):
        differences = found.members_M - base.members_M
        effects.append(
            VariantEffect(
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
        )
    return effects
