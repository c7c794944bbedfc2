"""Secondary structure of RNAs: pair probabilities of our guided head or the official one, and a decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rnafm_cli.encoder.resnet import RELEASED_THRESHOLDS, PairResNet, PairResNetConfig
from rnafm_cli.errors import InputError
from rnafm_cli.rna.decode import DecodeOptions, decode, expected_accuracy
from rnafm_cli.rna.records import SequenceRecord, StructureRecord
from rnafm_cli.structure.pair import Guide, PairConfig, PairHead, head_probabilities
from rnafm_cli.structure.predict import Maps, PairPredictor, Query, head_file, ready, surroundings

if TYPE_CHECKING:
    from rnafm_cli.encoder.model import NamedModel
    from rnafm_cli.families.search import Hit
    from rnafm_cli.viz.subject import Subject

_HEAD_CELL_BYTES = 450
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
        from rnafm_cli.viz.structure import draw

        return draw(self.subject, "radial").svg()

    @property
    def subject(self) -> Subject:
        """What drawings show."""
        from rnafm_cli.viz.subject import Subject

        supported = self.pairs[self.is_supported] if self.hits else None
        return Subject(self.record.id, self.structure.sequence, self.pairs, self.probs_LL, supported)


_UNKNOWN_TO_N = str.maketrans({letter: "N" for letter in "RYKMSWBDHV"})


def one_partner(probs_LL: np.ndarray) -> np.ndarray:
    """Pair probabilities, scaled down where they give a base more than one partner, as windows and the prior may."""
    most_L = np.maximum(probs_LL.sum(axis=1, dtype=np.float64), 1.0).astype(np.float32)
    if (most_L > 1.0).any():
        for row_L, most in zip(probs_LL, most_L, strict=True):
            row_L /= np.maximum(most, most_L)
    return probs_LL


class FoldPredictor(PairPredictor[Fold]):
    """Structures by a head that gives pair probabilities, and a decoder.

    Valid by construction: each base has at most one partner, hairpins have at least three bases and pairs are canonical
    unless the options say otherwise.

    Args:
        options: decoding rules.
        gamma: the decoder's weight of pairs that suits the head, found on its development sets.
        threshold: that of upstream's own rule, of its heads.
    """

    def __init__(
        self,
        *given: Any,
        options: DecodeOptions | None = None,
        gamma: float = 1.0,
        threshold: float | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*given, **more)
        self.options = options or DecodeOptions()
        if self.options.gamma is None:
            self.options = dataclasses.replace(self.options, gamma=gamma)
        if self.options.threshold is None and self.options.decoder == "upstream":
            self.options = dataclasses.replace(self.options, threshold=threshold)

    def admit(self, query: Query, tell: Callable[[str], None] | None = None) -> None:
        """Refuse an RNA that would not fit, and what no structure of it can meet; tell of one that goes in windows."""
        record, reactivities = query.record, query.reactivities
        if (known := query.constraints) is not None:
            try:
                known.check(len(record), self.options)
            except InputError as error:
                where = f"{known.place}: constraint of record '{record.id}'" if known.place else record.where
                raise InputError(f"{where}: {error.message}", hint=error.hint) from error
        if reactivities is not None and len(reactivities) != len(record):
            raise InputError(f"{record.where}: {len(reactivities)} reactivities for {len(record)} bases")
        super().admit(query, tell)

    def outside(self, guide: Guide) -> Maps:
        """The prior; without one nothing pairs."""
        square = (len(guide.sequence),) * 2
        return {"pair": np.zeros(square, np.float32) if guide.prior_LL is None else guide.prior_LL.copy()}

    def result(self, query: Query, guide: Guide, maps: Maps) -> Fold:
        """The structure that the probabilities stand for."""
        probs_LL = one_partner(maps["pair"]) if self.plan(query).window else maps["pair"]
        pairs = decode(probs_LL, guide.sequence, self.options, constraints=query.constraints)
        if guide.template is None:
            return Fold(query.record, pairs, probs_LL)
        supported = guide.template.pairs_LL[pairs[:, 0], pairs[:, 1]] >= SUPPORT
        return Fold(query.record, pairs, probs_LL, guide.template.hits, supported)


class GuidedPredictor(FoldPredictor):
    """Our pair head, guided by thermodynamics and families."""

    cell_bytes = _HEAD_CELL_BYTES

    def maps(self, guides: Sequence[Guide]) -> list[Maps]:
        """Pair probabilities of RNAs of similar length."""
        return [{"pair": p_LL} for p_LL in head_probabilities(self.head, guides, precision=self.precision)]


class ResNetPredictor(FoldPredictor):
    """The official structure head; every RNA goes through it alone, as upstream does, in strips of its own."""

    cell_bytes = RESNET_CELL_BYTES
    windows = False

    def maps(self, guides: Sequence[Guide]) -> list[Maps]:
        """Pair probabilities of RNAs."""
        features = [guide.rows_LD for guide in guides if guide.rows_LD is not None]
        moved = [rows_LD.to(self.runtime.device, self.runtime.dtype) for rows_LD in features]
        return [{"pair": self.head(rows_LD).sigmoid().cpu().numpy()} for rows_LD in moved]


def load_fold_predictor(model: NamedModel, *, options: DecodeOptions | None = None, **settings: Any) -> FoldPredictor:
    """What folds RNAs by a model.

    Args:
        options: decoding rules.
        settings: see :func:`rnafm_cli.structure.predict.surroundings`.

    Raises:
        UsageError: for a codon model, which folds nothing.
        WeightsError: when the model has no structure head that fits its encoder.
    """
    tensors, card = head_file(model, "fold")
    if card.kind == "fold-resnet":
        shape = PairResNetConfig(**card.config["head"])
        resnet = ready(lambda: PairResNet(shape), tensors, card, model.runtime).to(model.runtime.dtype)
        # It reads embeddings alone.
        beside = surroundings(model, "fold", PairConfig(embedding=shape.width, inputs=("embedding",)), **settings)
        threshold = RELEASED_THRESHOLDS.get(card.name)
        return ResNetPredictor(resnet, model.runtime, options=options, threshold=threshold, **beside)
    config = PairConfig.from_dict(card.config)
    head = ready(lambda: PairHead(config), tensors, card, model.runtime)
    gamma = float(card.config.get("gamma", 1.0))
    beside = surroundings(model, "fold", config, **settings)
    return GuidedPredictor(head, model.runtime, gamma=gamma, options=options, **beside)
