"""An RBP or MRL head that begins with the weights of another one.

Outputs are matched by name and input channels by what they show, so that a head of other proteins or assays, or one
that reads more than the other did, goes on from what was learned before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from rnafm_cli.errors import WeightsError

EMBEDDING = "embedding"


@dataclass(frozen=True, kw_only=True)
class HeadLayout:
    """Where inputs and outputs lie in a head's tensors.

    Args:
        channels: group of input channels -> its columns in the tensors ``inputs``; embeddings are called ``embedding``.
        inputs: tensors whose second axis is the input channels.
        outputs: tensors whose first axis is the outputs, ``rows`` of each.
        names: of the outputs.
    """

    channels: Mapping[str, slice]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    names: tuple[str, ...]
    rows: int = 1


def channel_groups(sizes: Mapping[str, int]) -> dict[str, slice]:
    """Columns of groups of channels that lie one after the other; groups of none are left out."""
    ends = list(accumulate(sizes.values(), initial=0))
    return {name: slice(*ends[k : k + 2]) for k, (name, size) in enumerate(sizes.items()) if size}


class _Head(Protocol):
    @property
    def layout(self) -> HeadLayout: ...

    def state_dict(self) -> dict[str, Tensor]: ...


@torch.no_grad()
def begin_from(head: _Head, start: _Head, *, same_embeddings: bool) -> str:
    """Take over another head's weights; the reduction of embeddings is left alone.

    Channels that the other lacks start at zero: the new head first says what the other said. Outputs that it lacks stay
    as they are.

    Args:
        same_embeddings: whether embedding channels mean the same to both.

    Returns:
        a line that says what was taken.

    Raises:
        WeightsError: when the heads differ in size.
    """
    own, given, mine, theirs = _learned(head), _learned(start), head.layout, start.layout
    for kind, names in (("lacks", own.keys() - given.keys()), ("also has", given.keys() - own.keys())):
        if names:
            raise WeightsError(f"the head to start from has another shape: it {kind} {min(names)}")
    shown = [group for group in mine.channels if group in theirs.channels and (group != EMBEDDING or same_embeddings)]
    shared = [name for name in mine.names if name in theirs.names]
    for name, tensor in own.items():
        if name in mine.inputs:
            tensor.zero_()
            for group in shown:
                _copy(tensor[:, mine.channels[group]], given[name][:, theirs.channels[group]], name)
        elif name in mine.outputs:
            for output in shared:
                to, source = (each.names.index(output) * mine.rows for each in (mine, theirs))
                _copy(tensor[to : to + mine.rows], given[name][source : source + mine.rows], name)
        else:
            _copy(tensor, given[name], name)
    fresh = len(mine.names) - len(shared)
    return f"starting from another head: {', '.join(shown)}; {len(shared)} outputs" + (f", {fresh} fresh" * bool(fresh))


def _learned(head: _Head) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in head.state_dict().items() if not name.startswith("reduction.")}


def _copy(to: Tensor, source: Tensor, name: str) -> None:
    if to.shape != source.shape:
        raise WeightsError(
            f"the head to start from has another size: {name} is {tuple(source.shape)}, not {tuple(to.shape)}",
            hint="give the same [head] in the recipe",
        )
    to.copy_(source)
