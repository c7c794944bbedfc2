"""The heads behind ``rbp`` and ``mrl``: found, checked and made into networks, with or without an encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, TypeVar

import torch
from torch import Tensor

from rnafm_cli.errors import Reject, WeightsError, raise_rejected
from rnafm_cli.models.binding import BindingConfig, BindingHead
from rnafm_cli.models.files import Card, load_tensors
from rnafm_cli.models.ribosome_load import LoadConfig, LoadHead
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.tasks.encode import Encoded, encode
from rnafm_cli.tasks.model import Model

__all__ = ["encoded_for", "load_binding_head", "load_load_head"]

Head = TypeVar("Head", BindingHead, LoadHead)


def load_binding_head(model: Model, *, embeddings: bool = True) -> tuple[BindingHead, Card]:
    """The RBP head of a model, in evaluation mode on its device.

    Args:
        embeddings: whether it shall read embeddings, for which the encoder is checked.

    Raises:
        WeightsError: when the model has no such head, or it does not fit its card or the model's encoder.
    """
    tensors, card = _component(model, "rbp", embeddings=embeddings)
    head = BindingHead(BindingConfig.from_dict(card.config))
    return _ready(head, tensors, card, model), card


def load_load_head(model: Model) -> tuple[LoadHead, Card]:
    """The MRL head of a model, in evaluation mode on its device.

    Raises:
        WeightsError: when the model has no such head, or it does not fit its card or the model's encoder.
    """
    tensors, card = _component(model, "mrl", embeddings=True)
    head = LoadHead(LoadConfig.from_dict(card.config))
    return _ready(head, tensors, card, model), card


def encoded_for(
    head: BindingHead | LoadHead,
    model: Model,
    records: Iterable[SequenceRecord],
    *,
    batch_tokens: int,
    long: Literal["window", "error", "skip"] = "window",
    reject: Reject = raise_rejected,
) -> Iterator[tuple[SequenceRecord, Tensor | None]]:
    """Yield (record, (L, K) reduced embeddings) in input order; None in their place for a head without embeddings."""
    if head.reduction is None:
        for record in records:
            yield record, None
        return
    encoder = model.encoder_for("rbp" if isinstance(head, BindingHead) else "mrl")
    found: Iterator[Encoded] = encode(
        records, encoder, model.runtime, batch_tokens=batch_tokens, long=long, reject=reject
    )
    device = model.runtime.device
    with torch.inference_mode():
        for one in found:
            yield one.record, head.reduction(one.rows_LD.to(device)).cpu()


def _component(model: Model, task: str, *, embeddings: bool) -> tuple[dict[str, Tensor], Card]:
    tensors, card = model.component(task)
    if embeddings and card.config.get("embedding"):
        model.check_nucleotides(task)
    return tensors, card


def _ready(head: Head, tensors: dict[str, Tensor], card: Card, model: Model) -> Head:
    if not getattr(head.config, "proteins", ()) and not getattr(head.config, "assays", ()):
        raise WeightsError(f"the card of '{card.name}' names no outputs")
    load_tensors(head, tensors, card)
    return head.to(model.runtime.device).eval()
