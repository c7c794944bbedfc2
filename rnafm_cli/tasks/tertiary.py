"""Contacts and distances of RNAs: encoder, tertiary heads, and ViennaRNA's pair probabilities between them.

Shape suffix: L bases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.data.buckets import buckets, read_ahead
from rnafm_cli.errors import InputError, Reject, raise_rejected
from rnafm_cli.models.encoder import Encoder
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.tasks.encode import DEFAULT_BATCH_TOKENS, encode
from rnafm_cli.tasks.fold import FEW_PAIRS, PAIRS_PER_BATCH
from rnafm_cli.tasks.pair_plan import check_memory
from rnafm_cli.tasks.runtime import Runtime
from rnafm_cli.tasks.tertiary_predictor import Maps, TertiaryPredictor

__all__ = ["TertiaryMaps", "predict_tertiary"]


@dataclass(frozen=True, eq=False)
class TertiaryMaps:
    """What is predicted of one RNA; maps are (L, L) float32 and symmetric, None where not asked for."""

    record: SequenceRecord
    contact_LL: NDArray[np.float32] | None = None
    """Probability that the bases are in contact: heavy atoms closer than 8 Å."""
    distance_LL: NDArray[np.float32] | None = None
    """Expected smallest distance of heavy atoms, Å, 20 for all that is farther."""
    sd_LL: NDArray[np.float32] | None = None
    """Standard deviation of the distance, Å."""

    def named(self) -> dict[str, NDArray[np.float32]]:
        """The maps that there are, as files name them."""
        maps = {"contact": self.contact_LL, "distance": self.distance_LL, "sd": self.sd_LL}
        return {name: map_LL for name, map_LL in maps.items() if map_LL is not None}


def predict_tertiary(
    records: Iterable[SequenceRecord],
    encoder: Encoder,
    predictor: TertiaryPredictor,
    runtime: Runtime,
    *,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    long: Literal["window", "error", "skip"] = "window",
    reject: Reject = raise_rejected,
    tell: Callable[[str], None] | None = None,
) -> Iterator[TertiaryMaps]:
    """Yield every record's maps in input order.

    The encoder and the prior run once, whatever is asked for. An RNA whose maps would not fit into memory goes in
    windows; one that would not even so is rejected before work begins.

    Args:
        records: clean sequences.
        predictor: gives the maps; it knows which.
        batch_tokens: tokens per batch of the encoder.
        long: what happens to records beyond the encoder's limit.
        reject: called with the error of a record that cannot be used.
        tell: called with a message before an RNA goes in windows.
    """

    def usable() -> Iterator[SequenceRecord]:
        for record in records:
            try:
                plan = predictor.plan(len(record.sequence))
                check_memory(record, plan, predictor.max_bytes, tell, doing="predicting")
            except InputError as error:
                reject(error)
            else:
                predictor.foresee(record)
                yield record

    encoded = encode(usable(), encoder, runtime, batch_tokens=batch_tokens, long=long, reject=reject)
    for chunk in read_ahead(encoded, lambda one: len(one.record.sequence) ** 2, PAIRS_PER_BATCH):
        found: list[Maps] = [(None, None, None)] * len(chunk)
        for group in buckets([len(one.record.sequence) ** 2 for one in chunk], PAIRS_PER_BATCH, small=FEW_PAIRS):
            for k, maps in zip(group, predictor([chunk[k] for k in group]), strict=True):
                found[k] = maps
        for one, maps in zip(chunk, found, strict=True):
            yield TertiaryMaps(one.record, *maps)
