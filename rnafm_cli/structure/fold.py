"""Secondary structure of RNAs: pair probabilities of our guided head or the official one, and a decoder."""

from __future__ import annotations

import dataclasses
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS
from rnafm_cli.encoder.resnet import PairResNet, PairResNetConfig
from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.errors import Reject, UsageError, WeightsError, raise_rejected
from rnafm_cli.rna import thermo
from rnafm_cli.rna.decode import DecodeOptions, decode, expected_accuracy
from rnafm_cli.rna.records import SequenceRecord, StructureRecord
from rnafm_cli.structure.evidence import Evidence, EvidenceOf, no_evidence
from rnafm_cli.structure.pair import PairConfig, PairHead, pair_probabilities
from rnafm_cli.structure.predict import Guide, PairPredictor, Query, batch_of, in_windows, predict, stitch
from rnafm_cli.weights.files import NoInitialValues, load_tensors

if TYPE_CHECKING:
    from rnafm_cli.encoder.model import NamedModel
    from rnafm_cli.families.search import Hit, Search

__all__ = [
    "Fold",
    "FoldPredictor",
    "GuidedPredictor",
    "ResNetPredictor",
    "family_search",
    "fold",
    "load_fold_predictor",
    "prior_parameters",
]


HEAD_CELL_BYTES = 450
"""Working memory of our head for a pair of bases: 360 to 370 at 1,000 and 1,400 nt in float32, and a reserve."""
RESNET_CELL_BYTES = 40
SUPPORT = 0.5
"""Probability of a consensus pair from which a family is said to support it."""


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
    hits: Sequence[Hit] = ()
    """Families that the RNA holds, the surest first."""
    is_supported: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    """(n,) whether a family's consensus has the pair."""

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

    def __repr__(self) -> str:
        return f"Fold({self.record.id!r}, {len(self.record)} nt, {len(self.pairs)} pairs)"

    def rows(self) -> list[dict[str, Any]]:
        """One row for :func:`rnafm_cli.to_frame`."""
        best = self.hits[0] if self.hits else None
        return [
            {
                "id": self.record.id,
                "length": len(self.record),
                "sequence": self.structure.sequence,
                "structure": self.structure.dot_bracket,
                "expected_accuracy": self.expected_accuracy,
                "pair_confidence": self.pair_confidence,
                "best_family": best.family.accession if best else None,
                "evalue": best.evalue if best else None,
            }
        ]

    def _repr_svg_(self) -> str:
        """The radial drawing, which notebooks show."""
        from rnafm_cli.viz.structure import structure_canvas

        supported = self.pairs[self.is_supported] if self.hits else None
        sequence = self.structure.sequence
        return structure_canvas(self.record.id, sequence, self.pairs, self.probs_LL, supported, style="radial").svg()


_UNKNOWN_TO_N = str.maketrans({letter: "N" for letter in "RYKMSWBDHV"})


class FoldPredictor(PairPredictor[Fold]):
    """Structures by a head that gives pair probabilities, and a decoder.

    Args:
        gamma: the decoder's weight of pairs that suits the head, found on its development sets.
        options: decoding rules.
    """

    def __init__(self, runtime: Runtime, *, gamma: float = 1.0, options: DecodeOptions | None = None, **more: Any):
        super().__init__(runtime, **more)
        self.options = options or DecodeOptions()
        if self.options.gamma is None:
            self.options = dataclasses.replace(self.options, gamma=gamma)

    @property
    def takes_reactivities(self) -> bool:
        """Whether SHAPE reactivities change anything: they enter through the prior."""
        return self.parameters is not None

    @abstractmethod
    def probabilities(self, guides: Sequence[Guide]) -> list[np.ndarray]:
        """(L, L) float32 symmetric pair probabilities of RNAs of similar length."""

    def run(self, queries: Sequence[Query], guides: Sequence[Guide]) -> list[Fold]:
        """Structures of RNAs of similar length."""
        if len(guides) == 1 and (window := self.plan(queries[0]).window):
            found = [self._in_windows(guides[0], window)]
        else:
            found = self.probabilities(guides)
        return [self._decoded(*one) for one in zip(queries, guides, found, strict=True)]

    def _in_windows(self, guide: Guide, window: int) -> np.ndarray:
        block = in_windows(guide, lambda part: self.probabilities([part])[0])
        return stitch(len(guide.sequence), window, block, guide.prior_LL)

    def _decoded(self, query: Query, guide: Guide, probs_LL: np.ndarray) -> Fold:
        pairs = decode(probs_LL, query.sequence, self.options, constraints=query.evidence.constraints)
        if guide.template is None:
            return Fold(query.record, pairs, probs_LL, query.evidence)
        supported = guide.template.pairs_LL[pairs[:, 0], pairs[:, 1]] >= SUPPORT
        return Fold(query.record, pairs, probs_LL, query.evidence, guide.template.hits, supported)


class GuidedPredictor(FoldPredictor):
    """Our pair head, guided by thermodynamics and families."""

    cell_bytes = HEAD_CELL_BYTES

    def __init__(self, head: PairHead, runtime: Runtime, **more: Any) -> None:
        super().__init__(runtime, **more)
        self._head = head

    def probabilities(self, guides: Sequence[Guide]) -> list[np.ndarray]:
        """(L, L) float32 symmetric pair probabilities of RNAs of similar length."""
        return pair_probabilities(
            self._head, **batch_of(guides, self._head.config), bf16=self.runtime.dtype == torch.bfloat16
        )


class ResNetPredictor(FoldPredictor):
    """The official structure head; every RNA goes through it alone, as upstream does, in strips of its own."""

    cell_bytes = RESNET_CELL_BYTES
    windows = False

    def __init__(self, head: PairResNet, runtime: Runtime, **more: Any) -> None:
        super().__init__(runtime, **more)
        self._head = head

    def probabilities(self, guides: Sequence[Guide]) -> list[np.ndarray]:
        """(L, L) float32 symmetric pair probabilities."""
        features = [guide.rows_LD for guide in guides]
        moved = [rows_LD.to(self.runtime.device, self.runtime.dtype) for rows_LD in features if rows_LD is not None]
        return [self._head(rows_LD).sigmoid().cpu().numpy() for rows_LD in moved]


def load_fold_predictor(
    model: NamedModel,
    *,
    prior: bool = True,
    families: Sequence[str | Path] = (),
    options: DecodeOptions | None = None,
    warn: Callable[[str], None] = warnings.warn,
    max_bytes: int | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
) -> FoldPredictor:
    """What folds RNAs by a model.

    Args:
        prior: use the thermodynamic prior where the head takes one.
        families: libraries of families to look for, files or ``shipped``, where the head takes templates.
        options: decoding rules.
        warn: called once when the prior is wanted and ViennaRNA is missing.
        max_bytes: memory that the process may take; see :func:`rnafm_cli.structure.predict.default_max_memory`.
        batch_tokens: tokens per batch of the encoder, if the head reads one.

    Raises:
        UsageError: for a codon model, which folds nothing.
        WeightsError: when the model has no structure head that fits its encoder.
    """
    try:
        tensors, card = model.component("fold")
    except WeightsError:
        model.check_nucleotides()
        raise
    shared: dict[str, Any] = {"options": options, "max_bytes": max_bytes, "batch_tokens": batch_tokens}
    if card.kind == "fold-resnet":
        with NoInitialValues():
            resnet = PairResNet(PairResNetConfig(**card.config["head"]))
        load_tensors(resnet, tensors, card)
        resnet = resnet.to(model.runtime.device, model.runtime.dtype).eval()
        return ResNetPredictor(resnet, model.runtime, encoder=model.encoder_for("fold"), **shared)
    with NoInitialValues():
        head = PairHead(PairConfig.from_dict(card.config))
    load_tensors(head, tensors, card)
    inputs = head.config.inputs
    return GuidedPredictor(
        head.to(model.runtime.device).eval(),
        model.runtime,
        encoder=model.encoder_for("fold") if head.config.embedding else None,
        parameters=prior_parameters([head.config], wanted=prior, warn=warn),
        search=family_search(model, families) if "template" in inputs else None,
        gamma=float(card.config.get("gamma", 1.0)),
        **shared,
    )


def family_search(model: NamedModel, families: Sequence[str | Path]) -> Search | None:
    """The families of libraries, ready to be looked for; None for no library."""
    if not families:
        return None
    from rnafm_cli.families.search import search_of

    return search_of(families, model.weights_dir)


def prior_parameters(
    heads: Sequence[PairConfig], *, wanted: bool, warn: Callable[[str], None]
) -> thermo.Parameters | None:
    """The energy parameters of the prior that heads were trained with; None to do without.

    Raises:
        UsageError: when the heads' differ.
    """
    kinds = {head.parameters for head in heads if "prior" in head.inputs}
    if not wanted or not kinds:
        return None
    if len(kinds) > 1:
        raise UsageError("the heads' priors have different energy parameters", hint="ask for one map at a time")
    if not thermo.available():
        warn("ViennaRNA's Python package is missing: predicting without the thermodynamic prior, less exactly")
        return None
    return kinds.pop()


def fold(
    records: Iterable[SequenceRecord],
    predictor: FoldPredictor,
    *,
    evidence_of: EvidenceOf = no_evidence,
    long: Literal["window", "error", "skip"] = "window",
    reject: Reject = raise_rejected,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Fold]:
    """Yield every record's structure in input order; see :func:`rnafm_cli.structure.predict.predict`.

    The structure is valid by construction: each base has at most one partner, hairpins have at least three
    bases and pairs are canonical unless the options say otherwise.

    Args:
        evidence_of: what is known of a record's structure.
    """

    def check(query: Query) -> None:
        query.evidence.check(query.record, predictor.options)

    return predict(records, predictor, evidence_of=evidence_of, check=check, long=long, reject=reject, tell=tell)
