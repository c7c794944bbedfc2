"""The heads behind ``rbp`` and ``mrl``: found, checked and made into networks, for prediction or as a run's start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

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

FunctionHead = BindingHead | LoadHead
Head = TypeVar("Head", BindingHead, LoadHead)
_TASKS = {BindingHead: "rbp", LoadHead: "mrl"}
_CONFIGS: dict[type, Any] = {BindingHead: BindingConfig, LoadHead: LoadConfig}


def load_head(model: NamedModel, kind: type[Head], *, embeddings: bool = True) -> tuple[Head, Card]:
    """The RBP or MRL head of a model, in evaluation mode on its device.

    Args:
        embeddings: whether it shall read embeddings, for which the encoder is checked.

    Raises:
        WeightsError: when the model has no such head, or it does not fit its card or the model's encoder.
    """
    task = _TASKS[kind]
    tensors, card = model.component(task)
    if embeddings and card.config.get("embedding"):
        model.check_nucleotides(task)
    return _built(kind, tensors, card).to(model.runtime.device).eval(), card


def _built(kind: type[Head], tensors: dict[str, Tensor], card: Card) -> Head:
    config = _CONFIGS[kind].from_dict(card.config)
    if not getattr(config, "proteins", ()) and not getattr(config, "assays", ()):
        raise WeightsError(f"the card of '{card.name}' names no outputs")
    head = kind(config)
    load_tensors(head, tensors, card)
    return head


def reduced_embeddings(
    records: Sequence[SequenceRecord],
    head: FunctionHead,
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
    head: FunctionHead = _built(BindingHead, tensors, card) if kind == "rbp" else _built(LoadHead, tensors, card)
    same = encoder_sha256 is not None and encoder_read_by(card) == encoder_sha256 and head.config.reduced == channels
    return HeadStart(head, same, report)
