"""The heads behind ``rbp`` and ``mrl``: found, checked and made into networks, for prediction or as a run's start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor

from rnafm_cli.encoder.embed import encode
from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.errors import WeightsError
from rnafm_cli.function.binding import BindingConfig, BindingHead
from rnafm_cli.function.head_start import begin_from
from rnafm_cli.function.inputs import Reduction
from rnafm_cli.function.ribosome_load import LoadConfig, LoadHead
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.weights.files import Card, load_tensors
from rnafm_cli.weights.store import encoder_read_by, load_component

Head = TypeVar("Head", BindingHead, LoadHead)


def load_binding_head(model: NamedModel, *, embeddings: bool = True) -> tuple[BindingHead, Card]:
    """The RBP head of a model, in evaluation mode on its device.

    Args:
        embeddings: whether it shall read embeddings, for which the encoder is checked.

    Raises:
        WeightsError: when the model has no such head, or it does not fit its card or the model's encoder.
    """
    tensors, card = _component(model, "rbp", embeddings=embeddings)
    head = BindingHead(BindingConfig.from_dict(card.config))
    return _ready(head, tensors, card, model), card


def load_ribosome_load_head(model: NamedModel) -> tuple[LoadHead, Card]:
    """The MRL head of a model, in evaluation mode on its device.

    Raises:
        WeightsError: when the model has no such head, or it does not fit its card or the model's encoder.
    """
    tensors, card = _component(model, "mrl", embeddings=True)
    head = LoadHead(LoadConfig.from_dict(card.config))
    return _ready(head, tensors, card, model), card


def reduced_embeddings(
    records: Sequence[SequenceRecord],
    head: BindingHead | LoadHead,
    encoder: Encoder | None,
    runtime: Runtime,
    *,
    batch_tokens: int,
) -> list[Tensor | None]:
    """(L, K) reduced embeddings of each record; None in their place without an encoder."""
    if encoder is None or head.reduction is None:
        return [None] * len(records)
    with torch.inference_mode():
        found = encode(records, encoder, runtime, batch_tokens=batch_tokens)
        return [head.reduction(one.rows_LD.to(runtime.device)).cpu() for one in found]


def _component(model: NamedModel, task: str, *, embeddings: bool) -> tuple[dict[str, Tensor], Card]:
    tensors, card = model.component(task)
    if embeddings and card.config.get("embedding"):
        model.check_nucleotides(task)
    return tensors, card


def _ready(head: Head, tensors: dict[str, Tensor], card: Card, model: NamedModel) -> Head:
    if not getattr(head.config, "proteins", ()) and not getattr(head.config, "assays", ()):
        raise WeightsError(f"the card of '{card.name}' names no outputs")
    load_tensors(head, tensors, card)
    return head.to(model.runtime.device).eval()


FunctionHead = BindingHead | LoadHead


@dataclass(frozen=True)
class HeadStart:
    """A trained head.

    Args:
        same_embeddings: whether it reads the run's encoder, with as many channels: then its reduction is the run's.
        report: told what was taken.
    """

    head: FunctionHead
    same_embeddings: bool
    report: Callable[[str], None]

    @property
    def reduction(self) -> Reduction | None:
        """Of embeddings, if it fits the run."""
        return self.head.reduction if self.same_embeddings else None

    def begin(self, head: FunctionHead) -> None:
        """Fill a new head with its weights."""
        self.report(begin_from(head, self.head, same_embeddings=self.same_embeddings))


def load_head_start(
    name_or_file: str,
    kind: Literal["rbp", "mrl"],
    *,
    encoder_sha256: str | None,
    channels: int,
    weights_dir: Path | None,
    report: Callable[[str], None],
) -> HeadStart:
    """The head of a model, or in a file, as the start of a run.

    Args:
        encoder_sha256, channels: of the run's embeddings.

    Raises:
        WeightsError: when it cannot be had.
    """
    tensors, card = load_component(name_or_file, kind, weights_dir=weights_dir, any_encoder=True)
    head: FunctionHead
    if kind == "rbp":
        head = BindingHead(BindingConfig.from_dict(card.config))
    else:
        head = LoadHead(LoadConfig.from_dict(card.config))
    load_tensors(head, tensors, card)
    same = encoder_sha256 is not None and encoder_read_by(card) == encoder_sha256 and head.config.reduced == channels
    return HeadStart(head, same, report)
