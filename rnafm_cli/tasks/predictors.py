"""The pair predictors behind ``fold``: our prior-guided head, and the official structure head."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rnafm_cli.data import thermo
from rnafm_cli.errors import UsageError, WeightsError
from rnafm_cli.models.files import Card
from rnafm_cli.models.pair import PairConfig, PairHead, pair_probabilities
from rnafm_cli.models.resnet import PairResNet, PairResNetConfig
from rnafm_cli.tasks.encode import Encoded
from rnafm_cli.tasks.runtime import Runtime

if TYPE_CHECKING:
    from torch import Tensor

    from rnafm_cli.tasks.fold import PairPredictor
    from rnafm_cli.tasks.model import Model

__all__ = ["GuidedPredictor", "ResNetPredictor", "load_pair_predictor"]


class GuidedPredictor:
    """Our pair head, with ViennaRNA's pair probabilities unless ``prior`` is off."""

    def __init__(self, head: PairHead, runtime: Runtime, *, prior: bool) -> None:
        self._head, self._runtime, self._prior = head, runtime, prior

    def __call__(self, batch: list[Encoded]) -> list[np.ndarray]:
        """Pair probabilities, (L, L) float32 symmetric, of RNAs of similar length."""
        sequences = [one.record.sequence for one in batch]
        return pair_probabilities(
            self._head,
            sequences,
            embeddings=[one.rows_LD for one in batch] if self._head.config.embedding else None,
            priors=[_prior(sequence) for sequence in sequences] if self._prior else None,
            bf16=self._runtime.dtype == torch.bfloat16,
        )


class ResNetPredictor:
    """The official structure head; every RNA goes through it alone, as upstream does."""

    def __init__(self, head: PairResNet, runtime: Runtime) -> None:
        self._head, self._runtime = head, runtime

    def __call__(self, batch: list[Encoded]) -> list[np.ndarray]:
        """Pair probabilities, (L, L) float32 symmetric."""
        features = [one.rows_LD.to(self._runtime.device, self._runtime.dtype) for one in batch]
        return [self._head(rows_LD).sigmoid().cpu().numpy() for rows_LD in features]


def load_pair_predictor(model: Model, *, prior: bool, warn: Callable[[str], None]) -> PairPredictor:
    """The pair predictor of a model.

    Args:
        prior: use the thermodynamic prior where the head takes one.
        warn: called once when the prior is wanted and ViennaRNA is missing.

    Raises:
        UsageError: for a codon model, which folds nothing.
        WeightsError: when the model has no structure head that fits its encoder.
    """
    if model.encoder.config.alphabet.unit != 1:
        raise UsageError(f"model '{model.name}' reads codons", hint="use rnafm-mini or another nucleotide model")
    tensors, card = model.component("fold")
    if card.kind == "fold-resnet":
        resnet = PairResNet(PairResNetConfig(**card.config["head"]))
        _load(resnet, {k.removeprefix("head."): v for k, v in tensors.items() if k.startswith("head.")}, card)
        return ResNetPredictor(resnet.to(model.runtime.device, model.runtime.dtype).eval(), model.runtime)
    head = PairHead(PairConfig.from_dict(card.config))
    _load(head, {k: v for k, v in tensors.items() if not k.startswith("encoder.")}, card)
    takes_prior = "prior" in head.config.inputs
    if prior and takes_prior and not thermo.available():
        warn("ViennaRNA's Python package is missing: folding without the thermodynamic prior, less exactly")
        prior = False
    return GuidedPredictor(head.to(model.runtime.device).eval(), model.runtime, prior=prior and takes_prior)


def _load(module: torch.nn.Module, tensors: dict[str, Tensor], card: Card) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        problem: Any = str(error).splitlines()[-1].strip()
        raise WeightsError(f"the weights of '{card.name}' ({card.kind}) do not fit its card: {problem}") from error


def _prior(sequence: str) -> np.ndarray:
    if len(sequence) > thermo.LONGEST_EXACT:
        return thermo.local_pair_probabilities(sequence)
    return thermo.pair_probabilities(sequence)
