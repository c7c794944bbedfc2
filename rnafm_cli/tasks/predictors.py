"""The pair predictors behind ``fold``: our prior-guided head, and the official structure head."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from rnafm_cli.data import thermo
from rnafm_cli.errors import WeightsError
from rnafm_cli.models.blank import NoInitialValues
from rnafm_cli.models.files import load_tensors
from rnafm_cli.models.pair import PairConfig, PairHead, pair_probabilities
from rnafm_cli.models.resnet import PairResNet, PairResNetConfig
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.tasks.encode import Encoded
from rnafm_cli.tasks.evidence import Evidence
from rnafm_cli.tasks.pair_plan import PairPlan, default_max_memory, plan_pairs, stitch
from rnafm_cli.tasks.priors import Priors
from rnafm_cli.tasks.runtime import Runtime

if TYPE_CHECKING:
    from rnafm_cli.tasks.fold import PairPredictor
    from rnafm_cli.tasks.model import Model

__all__ = ["GuidedPredictor", "ResNetPredictor", "load_pair_predictor", "prior_cell_bytes"]

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
    model: Model,
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
        max_bytes: memory that the process may take; see :func:`rnafm_cli.tasks.pair_plan.default_max_memory`.
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
