"""Mean ribosome load of 5' UTRs and of their single-nucleotide variants, with the upstream start codons behind it.

Shape suffixes: B batch, M members of the ensemble.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS, shared_out
from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.encoder.workers import buckets
from rnafm_cli.errors import Reject, UsageError, WeightsError, raise_rejected
from rnafm_cli.function.heads import HeadPredictor, MrlHead, mixture
from rnafm_cli.io.columns import TABLES
from rnafm_cli.io.tables import Tabular
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.weights.registry import nearest_name

DEFAULT_ASSAY = "random_25to100"
SHORTEST = 25
"""Bases of the shortest UTRs that heads are trained on."""
CONTEXTS = ("none", "in-frame", "out-of-frame", "uORF")
"""No upstream AUG; only AUGs in the frame of the start codon; one out of frame that runs into the coding sequence; one
out of frame, each with a stop codon before it."""
STOPS = ("UAA", "UAG", "UGA")
_LETTERS = "ACGU"
_LETTERS_PER_BATCH = 16_384


@dataclass(frozen=True, slots=True)
class UpstreamStart:
    """An AUG in a UTR, where a ribosome may begin too early.

    Args:
        position: of its A, 0-based.
        frame: 0 in the frame of the start codon; 1 or 2: so many bases ahead of it.
        stop: position of the first stop codon in its own frame within the UTR, or None.
    """

    position: int
    frame: int
    stop: int | None


def upstream_starts(utr: str) -> list[UpstreamStart]:
    """All AUGs of a UTR, from the 5' end; the start codon follows the UTR's last base."""
    found = []
    for match in re.finditer("AUG", utr):
        begin = match.start()
        stop = next((k for k in range(begin + 3, len(utr) - 2, 3) if utr[k : k + 3] in STOPS), None)
        found.append(UpstreamStart(begin, (len(utr) - begin) % 3, stop))
    return found


def start_context(utr: str) -> str:
    """The one of ``CONTEXTS`` that a UTR belongs to; an overlapping out-of-frame AUG outweighs the others."""
    starts = upstream_starts(utr)
    shifted = [start for start in starts if start.frame]
    if not shifted:
        return "in-frame" if starts else "none"
    return "out-of-frame" if any(start.stop is None for start in shifted) else "uORF"


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
        """One row, as ``rnafm mrl`` writes it."""
        frames = [start.frame for start in self.starts]
        load = {"id": self.record.id, "mrl": self.mrl, "mrl_sd": self.sd}
        return [{**load, "uaug": len(frames), "uaug_frame": frames}]


@dataclass(frozen=True, eq=False, kw_only=True)
class VariantEffect(RibosomeLoad):
    """The ribosome load of a variant, which is its ``record``.

    Args:
        position: 0-based in the whole UTR.
        change: its ribosome load less that of the UTR as given.
        change_sd: standard deviation of the change over the members of the ensemble.
    """

    position: int
    ref: str
    alt: str
    change: float
    change_sd: float

    def rows(self) -> list[dict[str, Any]]:
        """One row, as ``rnafm mrl --scan`` writes it."""
        cells = super().rows()[0] | {name: getattr(self, name) for name in ("ref", "alt", "change", "change_sd")}
        cells["position"] = self.position + 1
        return [{name: cells[name] for name in TABLES["mrl --scan"]}]


class MrlPredictor(HeadPredictor[MrlHead]):
    """The MRL head of a model for one assay; see :class:`HeadPredictor`.

    Args:
        assay: by its set's name; the default one, or the first one, if None.

    Raises:
        UsageError: for an assay that the head does not know.
    """

    def __init__(
        self, model: NamedModel, assay: str | None = None, *, batch_tokens: int = DEFAULT_BATCH_TOKENS
    ) -> None:
        super().__init__(model, MrlHead, embeddings=True, batch_tokens=batch_tokens)
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
    def ribosome_loads(self, records: Sequence[SequenceRecord]) -> list[RibosomeLoad]:
        """The ribosome load of each record; see :func:`ribosome_load`."""
        parts = [dataclasses.replace(record, sequence=record.sequence[-self.length :]) for record in records]
        reduced, config = self.reduced(parts), self.head.config
        mean, scale = config.means[self._number], config.deviations[self._number]
        found: dict[int, RibosomeLoad] = {}
        for group in buckets([len(part.sequence) for part in parts], _LETTERS_PER_BATCH):
            x_BKL = self.head.inputs([parts[k].sequence for k in group], [reduced[k] for k in group])
            members_MB, sd_B = mixture(self.head(x_BKL), self._number)
            for k, members_M, sd in zip(group, (members_MB * scale + mean).T, self._factor * scale * sd_B, strict=True):
                record = records[k]
                if not (np.isfinite(members_M).all() and np.isfinite(sd)):
                    raise WeightsError(f"{record.where}: the head '{self.card.name}' gives no finite number")
                starts = upstream_starts(record.sequence)
                found[k] = RibosomeLoad(record, float(members_M.mean()), float(sd), members_M, starts)
        return [found[k] for k in range(len(records))]


def ribosome_load(
    records: Iterable[SequenceRecord], predictor: MrlPredictor, *, reject: Reject = raise_rejected
) -> Iterator[RibosomeLoad]:
    """Yield every UTR's ribosome load in input order, in flat memory.

    The start codon follows the last base of a record. Of a UTR longer than the head reads, the 3' end counts for the
    load, and the whole for its upstream starts.
    """
    runtime, tokens = predictor.runtime, predictor.batch_tokens
    return shared_out(records, predictor.ribosome_loads, runtime, batch_tokens=tokens, reject=reject)


def scan(records: Iterable[SequenceRecord], predictor: MrlPredictor) -> Iterator[list[VariantEffect]]:
    """Yield, for every UTR, all substitutions of the part that the head reads, by position, then by letter.

    Letters other than A, C, G, U are left as they are.
    """

    def work(batch: Sequence[SequenceRecord]) -> list[list[VariantEffect]]:
        return [_variants(record, predictor) for record in batch]

    return shared_out(records, work, predictor.runtime, batch_tokens=1)


def _variants(record: SequenceRecord, predictor: MrlPredictor) -> list[VariantEffect]:
    sequence = record.sequence
    changes = [
        (k, letter)
        for k in range(max(0, len(sequence) - predictor.length), len(sequence))
        for letter in _LETTERS
        if sequence[k] in _LETTERS and letter != sequence[k]
    ]
    texts = [sequence, *(sequence[:k] + letter + sequence[k + 1 :] for k, letter in changes)]
    base, *results = predictor.ribosome_loads([dataclasses.replace(record, sequence=text) for text in texts])
    effects = []
    for (k, letter), found in zip(changes, results, strict=True):
        change_M = found.members_M - base.members_M
        change, change_sd = float(change_M.mean()), float(change_M.std())
        effects.append(
            VariantEffect(**vars(found), position=k, ref=sequence[k], alt=letter, change=change, change_sd=change_sd)
        )
    return effects
