"""Secondary structure of RNAs: encoder, pair predictor (our prior-guided head or the official one), decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch

from rnafm_cli.encoder.batches import Companions, buckets, read_ahead
from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS, Encoded, encode
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.resnet import PairResNet, PairResNetConfig
from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.errors import InputError, Reject, WeightsError, raise_rejected
from rnafm_cli.rna import thermo
from rnafm_cli.rna.decode import DecodeOptions, decode, expected_accuracy
from rnafm_cli.rna.records import SequenceRecord, StructureRecord
from rnafm_cli.structure.evidence import Evidence, EvidenceOf, no_evidence
from rnafm_cli.structure.pair import PairConfig, PairHead, pair_probabilities
from rnafm_cli.structure.plan import PairPlan, check_memory, default_max_memory, plan_pairs, stitch
from rnafm_cli.structure.prior import Priors
from rnafm_cli.weights.files import NoInitialValues, load_tensors

if TYPE_CHECKING:
    from rnafm_cli.encoder.model import NamedModel

__all__ = [
    "Fold",
    "GuidedPredictor",
    "PairPredictor",
    "ResNetPredictor",
    "fold",
    "load_pair_predictor",
    "prior_cell_bytes",
]


HEAD_CELL_BYTES = 450
"""Working memory of our head for a pair of bases: 360 to 370 at 1,000 and 1,400 nt in float32, and a reserve."""
RESNET_CELL_BYTES = 40
EXACT_PRIOR_CELL_BYTES = 100
LOCAL_PRIOR_CELL_BYTES = 8


def prior_cell_bytes(length: int, *, exact: bool = False) -> int:
    """ViennaRNA's working memory for a pair of bases of an RNA; long ones are folded locally unless ``exact``."""
    return EXACT_PRIOR_CELL_BYTES if exact or length <= thermo.LONGEST_EXACT else LOCAL_PRIOR_CELL_BYTES


class GuidedPredictor:
    """Our pair head, with ViennaRNA's pair probabilities unless ``prior`` is off.

    Args:
        gamma: the decoder's weight of pairs that suits the head, found on its development sets.
        max_bytes: memory that the process may take; beyond it pair maps are computed in windows.
        prior_processes: processes that compute pair probabilities beside this one.
    """

    def __init__(
        self,
        head: PairHead,
        runtime: Runtime,
        *,
        prior: bool,
        gamma: float = 1.0,
        max_bytes: int | None = None,
        prior_processes: int = 0,
    ) -> None:
        self._head, self._runtime, self._prior = head, runtime, prior
        self._priors = Priors(head.config.parameters, prior_processes)
        self.gamma = gamma
        self.max_bytes = max_bytes or default_max_memory()

    @property
    def takes_reactivities(self) -> bool:
        """Whether SHAPE reactivities change anything: they enter through the prior."""
        return self._prior

    def plan(self, length: int, evidence: Evidence) -> PairPlan:
        """Memory for one RNA, and whether it needs windows."""
        prior = prior_cell_bytes(length, exact=bool(evidence)) if self._prior else 0
        return plan_pairs(length, self.max_bytes, cell_bytes=HEAD_CELL_BYTES, prior_cell_bytes=prior, windows=True)

    def foresee(self, record: SequenceRecord, evidence: Evidence) -> None:
        """Begin with the prior of a record that will come."""
        if self._prior:
            self._priors.foresee(record, evidence)

    def __call__(self, batch: Sequence[Encoded], evidence: Sequence[Evidence]) -> list[np.ndarray]:
        """Pair probabilities, (L, L) float32 symmetric, of RNAs of similar length."""
        priors: list[np.ndarray] | None = None
        if self._prior:
            priors = [self._priors.of(one.record, known) for one, known in zip(batch, evidence, strict=True)]
        if len(batch) == 1 and (window := self.plan(len(batch[0].record.sequence), evidence[0]).window):
            return [self._in_windows(batch[0], priors[0] if priors else None, window)]
        return self._run(batch, priors)

    def _run(self, batch: Sequence[Encoded], priors: Sequence[np.ndarray] | None) -> list[np.ndarray]:
        return pair_probabilities(
            self._head,
            [one.record.sequence for one in batch],
            embeddings=[one.rows_LD for one in batch] if self._head.config.embedding else None,
            priors=priors,
            bf16=self._runtime.dtype == torch.bfloat16,
        )

    def _in_windows(self, one: Encoded, prior_LL: np.ndarray | None, window: int) -> np.ndarray:
        def block(part: slice) -> np.ndarray:
            record = dataclasses.replace(one.record, sequence=one.record.sequence[part])
            piece = Encoded(record, one.rows_LD[part], one.cls_D)
            return self._run([piece], None if prior_LL is None else [prior_LL[part, part]])[0]

        return stitch(len(one.record.sequence), window, block, prior_LL)


class ResNetPredictor:
    """The official structure head; every RNA goes through it alone, as upstream does."""

    takes_reactivities = False
    gamma = 1.0

    def __init__(self, head: PairResNet, runtime: Runtime, *, max_bytes: int | None = None) -> None:
        self._head, self._runtime = head, runtime
        self.max_bytes = max_bytes or default_max_memory()

    def plan(self, length: int, evidence: Evidence) -> PairPlan:
        """Memory for one RNA; the head works in strips of its own, so windows are never needed."""
        return plan_pairs(length, self.max_bytes, cell_bytes=RESNET_CELL_BYTES, prior_cell_bytes=0, windows=False)

    def foresee(self, record: SequenceRecord, evidence: Evidence) -> None:
        """Nothing can be done beforehand."""

    def __call__(self, batch: Sequence[Encoded], evidence: Sequence[Evidence]) -> list[np.ndarray]:
        """Pair probabilities, (L, L) float32 symmetric; evidence acts in the decoder only."""
        features = [one.rows_LD.to(self._runtime.device, self._runtime.dtype) for one in batch]
        return [self._head(rows_LD).sigmoid().cpu().numpy() for rows_LD in features]


def load_pair_predictor(
    model: NamedModel,
    *,
    prior: bool,
    warn: Callable[[str], None],
    max_bytes: int | None = None,
    prior_processes: int = 0,
) -> PairPredictor:
    """The pair predictor of a model.

    Args:
        prior: use the thermodynamic prior where the head takes one.
        warn: called once when the prior is wanted and ViennaRNA is missing.
        max_bytes: memory that the process may take; see :func:`rnafm_cli.structure.plan.default_max_memory`.
        prior_processes: processes that compute the prior of coming records meanwhile.

    Raises:
        UsageError: for a codon model, which folds nothing.
        WeightsError: when the model has no structure head that fits its encoder.
    """
    try:
        tensors, card = model.component("fold")
    except WeightsError:
        model.check_nucleotides()
        raise
    if card.kind == "fold-resnet":
        with NoInitialValues():
            resnet = PairResNet(PairResNetConfig(**card.config["head"]))
        load_tensors(resnet, tensors, card)
        resnet = resnet.to(model.runtime.device, model.runtime.dtype).eval()
        return ResNetPredictor(resnet, model.runtime, max_bytes=max_bytes)
    with NoInitialValues():
        head = PairHead(PairConfig.from_dict(card.config))
    load_tensors(head, tensors, card)
    takes_prior = "prior" in head.config.inputs
    if prior and takes_prior and not thermo.available():
        warn("ViennaRNA's Python package is missing: folding without the thermodynamic prior, less exactly")
        prior = False
    head = head.to(model.runtime.device).eval()
    gamma = float(card.config.get("gamma", 1.0))
    return GuidedPredictor(
        head,
        model.runtime,
        prior=prior and takes_prior,
        gamma=gamma,
        max_bytes=max_bytes,
        prior_processes=prior_processes,
    )


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
