"""The heads behind ``rbp`` and ``mrl``: found, checked and made into networks, for prediction or as a run's start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from rnafm_cli.encoder.embed import encode
from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.errors import WeightsError
from rnafm_cli.function.networks import EMBEDDING, BindingConfig, BindingHead, FunctionHead, MrlConfig, MrlHead
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import known_values, load_tensors

Head = TypeVar("Head", BindingHead, MrlHead)


def built_head(kind: type[BindingHead] | type[MrlHead], tensors: dict[str, Tensor], card: Card) -> Any:
    """The network of a head's file.

    Raises:
        WeightsError: when its card does not describe such a head, or does not fit the tensors.
    """
    if (architecture := card.config.get("architecture", "frames")) != "frames":
        raise WeightsError(f"'{card.name}' is of the architecture '{architecture}', which rnafm no longer has")
    named = "proteins" if kind is BindingHead else "assays"
    if not card.config.get(named):
        raise WeightsError(f"the card of '{card.name}' names no {named}")
    config: Any = BindingConfig if kind is BindingHead else MrlConfig
    head = kind(config(**known_values(config, card.config)))
    load_tensors(head, tensors, card)
    return head


class HeadPredictor(Generic[Head]):
    """A head of a model, in evaluation mode on its device, with the encoder that it reads.

    Args:
        embeddings: let the head read embeddings, if it was trained with them; else no encoder is needed.
        batch_tokens: tokens per batch of the encoder.

    Raises:
        WeightsError: when the model has no such head, or it does not fit its card or belongs to another encoder.
    """

    def __init__(self, model: NamedModel, kind: type[Head], *, embeddings: bool, batch_tokens: int) -> None:
        self.name = model.name
        tensors, self.card = model.component(kind.kind)
        reads = embeddings and bool(self.card.config.get("embedding"))
        if reads:
            model.check_nucleotides(kind.kind)
        self.head: Head = built_head(kind, tensors, self.card).to(model.runtime.device).eval()
        self.runtime, self.batch_tokens = model.runtime, batch_tokens
        self.encoder = model.encoder_for(kind.kind) if reads else None

    def reduced(self, records: Sequence[SequenceRecord]) -> list[Tensor | None]:
        """(L, K) reduced embeddings of each record; None in their place if none are read."""
        if self.encoder is None or self.head.reduction is None:
            return [None] * len(records)
        with torch.inference_mode():
            found = encode(records, self.encoder, self.runtime, batch_tokens=self.batch_tokens)
            return [self.head.reduction(one.rows_LD.to(self.runtime.device)).cpu() for one in found]

    def provenance(self, **more: Any) -> dict[str, Any]:
        """What made a result, for the attributes of its file."""
        model = {"model": self.name, "weights_sha256": self.card.weights_sha256}
        return {**model, "encoder_sha256": self.card.encoder_sha256, **more}


@torch.no_grad()
def begin_from(head: FunctionHead, start: FunctionHead, *, same_embeddings: bool) -> str:
    """Take over another head's weights; the reduction of embeddings is left alone.

    Outputs are matched by name and input channels by what they show, so that a head of other proteins or assays, or one
    that reads more than the other did, goes on from what was learned before. Channels that the other lacks start at
    zero: the new head first says what the other said. Outputs that it lacks stay as they are.

    Args:
        same_embeddings: whether embedding channels mean the same to both.

    Returns:
        a line that says what was taken.

    Raises:
        WeightsError: when the heads differ in size.
    """
    own, given = _learned(head), _learned(start)
    for kind, names in (("lacks", own.keys() - given.keys()), ("also has", given.keys() - own.keys())):
        if names:
            raise WeightsError(f"the head to start from has another shape: it {kind} {min(names)}")
    shown = [name for name in head.channels if name in start.channels and (name != EMBEDDING or same_embeddings)]
    shared = [name for name in head.outputs if name in start.outputs]
    rows = head.rows_per_output
    for name, tensor in own.items():
        if name.endswith("first.weight"):
            tensor.zero_()
            for group in shown:
                _copy(tensor[:, head.channels[group]], given[name][:, start.channels[group]], name)
        elif set(name.split(".")) & set(head.output_layers):
            for output in shared:
                to, source = (each.outputs.index(output) * rows for each in (head, start))
                _copy(tensor[to : to + rows], given[name][source : source + rows], name)
        else:
            _copy(tensor, given[name], name)
    fresh = len(head.outputs) - len(shared)
    return f"starting from another head: {', '.join(shown)}; {len(shared)} outputs" + (f", {fresh} fresh" * bool(fresh))


def _learned(head: FunctionHead) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in head.state_dict().items() if not name.startswith("reduction.")}


def _copy(to: Tensor, source: Tensor, name: str) -> None:
    if to.shape != source.shape:
        raise WeightsError(
            f"the head to start from has another size: {name} is {tuple(source.shape)}, not {tuple(to.shape)}",
            hint="give the same [head] in the recipe",
        )
    to.copy_(source)
