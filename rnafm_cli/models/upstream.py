"""Conversion of published RNA-FM weights: upstream's ``.pth`` files and multimolecule's safetensors.

The row of ``<mask>``. Upstream's loader sets this row of the embedding table to zero, then copies the
tensors into a model whose output head shares the table, the head's copy last. So the row ends as zero
where the file holds the table once, and comes back where it holds it twice. ``mask_row="upstream"``, the
default, ends where that loader ends for the very file: zero for a trainer's checkpoint with one table, the
second table for one with two, an unchanged row for a plain state dictionary (the structure files), which
upstream copies as it is. multimolecule's files are made from upstream's and hold the table once: zero.
``mask_row="keep"`` never zeroes, as multimolecule does. Only input with ``<mask>`` sees a difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from rnafm_cli.errors import WeightsError
from rnafm_cli.models.blank import NoInitialValues
from rnafm_cli.models.checkpoints import Checkpoint, read_checkpoint
from rnafm_cli.models.config import EncoderConfig
from rnafm_cli.models.encoder import Encoder
from rnafm_cli.models.files import Card, file_sha256
from rnafm_cli.models.layouts import MULTIMOLECULE, Layout, Parts
from rnafm_cli.models.resnet import PairResNet
from rnafm_cli.models.shapes import encoder_shape, structure_head_shape
from rnafm_cli.rna.alphabet import Alphabet

__all__ = ["STRUCTURE_KIND", "MaskRow", "convert"]

MaskRow = Literal["upstream", "keep"]
STRUCTURE_KIND = "fold-resnet"
_SHOWN = 4


def convert(
    path: Path,
    *,
    name: str,
    kind: str | None = None,
    mask_row: MaskRow = "upstream",
    heads: int | None = None,
) -> tuple[dict[str, Tensor], Card]:
    """Our tensors and their card from a published file.

    An encoder file gives the encoder's tensors. A structure file gives kind ``fold-resnet``: the encoder
    under ``encoder.`` and the tensors of PairResNet under ``head.``. The contact head, which upstream never
    trained, is dropped.

    Args:
        path: upstream ``.pth`` or multimolecule-layout weights.
        name: name for the card.
        kind: what the file has to be; ``encoder`` takes the encoder alone out of a structure file.
        mask_row: see the module's docstring.
        heads: attention heads, for files that do not tell.

    Raises:
        WeightsError: when the file is damaged or does not fit; missing, unexpected and misshapen tensors are named.
        UsageError: when the number of heads is needed and not given, or contradicts the file.
    """
    checkpoint = read_checkpoint(path)
    parts = Parts.split(checkpoint)
    found = STRUCTURE_KIND if parts.head else "encoder"
    if kind not in (None, found, "encoder"):
        raise WeightsError(f"{path}: is of kind {found}, not {kind}")
    kind = kind or found

    misfits = _Misfits()
    encoder_config = encoder_shape(parts, checkpoint, heads)
    row_effect = _settle_table(parts, checkpoint, mask_row, encoder_config.alphabet)
    tensors = _gather(parts.encoder, _shapes(encoder_config), parts.layout.sources, misfits)
    config: dict[str, Any] = dataclasses.asdict(encoder_config)
    if kind == STRUCTURE_KIND:
        head_config = structure_head_shape(parts, encoder_config.width, path)
        with NoInitialValues():
            shapes = {key: value.shape for key, value in PairResNet(head_config).state_dict().items()}
        head = _gather(parts.head, shapes, parts.layout.head_sources, misfits)
        tensors = {f"encoder.{key}": value for key, value in tensors.items()}
        tensors |= {f"head.{key}": value for key, value in head.items()}
        config = {"encoder": config, "head": dataclasses.asdict(head_config)}
        misfits.unexpected += parts.head
    elif parts.head:
        parts.dropped.append(f"structure head ({len(parts.head)} tensors)")
    misfits.unexpected += parts.encoder
    misfits.raise_any(path)
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: {key} holds values that are not finite", hint="fetch the file again")
    source = {
        "file": path.name,
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        "layout": parts.layout.name,
        "mask_row": row_effect,
        "dropped": [*parts.dropped, *checkpoint.extras],
    }
    return tensors, Card(name=name, kind=kind, config=config, mask_row=mask_row, source=source)


@dataclass
class _Misfits:
    """Everything about a file that does not fit, told at once."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)

    def raise_any(self, path: Path) -> None:
        told = [f"missing {_some(self.missing)}"] if self.missing else []
        told += [f"unexpected {_some(self.unexpected)}"] if self.unexpected else []
        told += [_some(self.shapes)] if self.shapes else []
        if told:
            raise WeightsError(f"{path}: its tensors do not fit: {'; '.join(told)}")


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def _shapes(config: EncoderConfig) -> dict[str, torch.Size]:
    with NoInitialValues():
        return {name: tensor.shape for name, tensor in Encoder(config).state_dict().items()}


def _gather(
    theirs: dict[str, Tensor],
    shapes: Mapping[str, torch.Size],
    sources: Callable[[str], tuple[str, ...]],
    misfits: _Misfits,
) -> dict[str, Tensor]:
    """Our tensors from theirs, which are taken out of the dictionary."""
    ours: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if name.endswith(".num_batches_tracked"):
            continue
        names = sources(name)
        share = (shape[0] // len(names), *shape[1:])
        pieces = [theirs.pop(source, None) for source in names]
        misfits.missing += [source for source, piece in zip(names, pieces, strict=True) if piece is None]
        misfits.shapes += [
            f"{source} is {list(piece.shape)} instead of {list(share)}"
            for source, piece in zip(names, pieces, strict=True)
            if piece is not None and piece.shape != share
        ]
        found = [piece for piece in pieces if piece is not None and piece.shape == share]
        if len(found) == len(names):
            ours[name] = found[0] if len(found) == 1 else torch.cat(found)
    return ours


def _settle_table(parts: Parts, checkpoint: Checkpoint, mask_row: MaskRow, alphabet: Alphabet) -> str:
    """Bring the embedding table into our token order, one table for input and output; what became of <mask>."""
    layout = parts.layout
    table = parts.encoder[layout.table]
    second = parts.encoder.pop(layout.second_table, None)
    effect = "as in the file"
    if layout is MULTIMOLECULE:
        parts.encoder[layout.table] = table = table[_rows(layout, alphabet)]
        bias = "lm_head.bias"
        if bias in parts.encoder:
            parts.encoder[bias] = parts.encoder[bias][_rows(layout, alphabet)]
        zeroed = True
    else:
        zeroed = checkpoint.wrapped
        if second is not None and not _same_memory(table, second):
            table, zeroed = second, False
            effect = f"as in {layout.second_table}"
    if zeroed and mask_row == "upstream":
        table = table.clone()
        table[alphabet.mask] = 0
        effect = "zeroed"
    parts.encoder[layout.table] = table
    return effect


def _rows(layout: Layout, alphabet: Alphabet) -> Tensor:
    """Where each of our tokens stands in a layout's vocabulary; the unused ones share a row there."""
    place = {token: row for row, token in enumerate(layout.vocabulary(alphabet))}
    return torch.tensor([place["<null>" if token.startswith("<null") else token] for token in alphabet.tokens])


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() and a.shape == b.shape
