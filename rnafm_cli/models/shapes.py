"""Network shapes read off published tensors, checked against what their file says about itself."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from rnafm_cli.errors import ConfigError, UsageError, WeightsError
from rnafm_cli.models.checkpoints import Checkpoint
from rnafm_cli.models.config import ENCODER_PRESETS, EncoderConfig
from rnafm_cli.models.layouts import Parts
from rnafm_cli.models.resnet import PairResNetConfig
from rnafm_cli.rna.alphabet import CODON, NUCLEOTIDE

__all__ = ["encoder_shape", "structure_head_shape"]


def encoder_shape(parts: Parts, checkpoint: Checkpoint, heads: int | None) -> EncoderConfig:
    """The configuration of a published encoder.

    Args:
        heads: attention heads, for files that do not tell.

    Raises:
        WeightsError: when tensors needed for it are missing, or contradict the file's settings.
        UsageError: when the number of heads is needed and not given, or contradicts the file.
    """
    path, said, layout = checkpoint.path, checkpoint.settings, parts.layout
    if said.arch not in (None, "roberta_large"):
        raise WeightsError(f"{path}: is of architecture {said.arch}, only roberta_large is known")
    (ffn_name,) = layout.sources("layers.0.ffn_in.weight")
    (positions_name,) = layout.sources("positions.weight")
    (norm_name,) = layout.sources("norm_before.weight")
    (dense_name,) = layout.sources("token_head.dense.weight")
    rows, width = _matrix(parts.encoder, layout.table, path)
    positions, _ = _matrix(parts.encoder, positions_name, path)
    ffn, _ = _matrix(parts.encoder, ffn_name, path)
    layers = layout.count(ffn_name, parts.encoder)
    for what, told, counted in (
        ("layers", said.layers, layers),
        ("channels", said.width, width),
        ("feed-forward channels", said.ffn, ffn),
        ("position rows", said.positions, positions),
    ):
        if told not in (None, counted):
            raise WeightsError(f"{path}: says that it has {told} {what}, but its tensors have {counted}")
    vocabularies = {len(layout.vocabulary(alphabet)): alphabet for alphabet in (NUCLEOTIDE, CODON)}
    if rows not in vocabularies:
        known = " or ".join(map(str, vocabularies))
        raise WeightsError(f"{path}: has {rows} tokens, where the {layout.name} layout has {known}")
    try:
        return EncoderConfig(
            layers=layers,
            width=width,
            heads=_heads(parts, checkpoint, heads, (layers, width, ffn)),
            ffn=ffn,
            tokens="rna" if vocabularies[rows] is NUCLEOTIDE else "codon",
            max_tokens=positions - 2,
            norm_before=norm_name in parts.encoder,
            token_dropout=said.token_dropout,
            token_head=dense_name in parts.encoder,
        )
    except ConfigError as error:
        raise WeightsError(f"{path}: {error.message}") from error


def structure_head_shape(parts: Parts, width: int, path: Path) -> PairResNetConfig:
    """The configuration of a published structure head.

    Raises:
        WeightsError: when tensors needed for it are missing, and for the two-class files of 2022.
    """
    layout = parts.layout
    (reduce_name,) = layout.head_sources("reduce.weight")
    (first_name,) = layout.head_sources("first.weight")
    (block_name,) = layout.head_sources("blocks.0.conv1.weight")
    (last_name,) = layout.head_sources("last.weight")
    for needed in (last_name, reduce_name, first_name, block_name):
        if needed not in parts.head:
            raise WeightsError(f"{path}: its structure head does not fit: missing {needed}")
        if needed == last_name and parts.head[last_name].shape[0] == 2:
            raise WeightsError(
                f"{path}: has the two-class structure head of 2022, which is not supported",
                hint="use RNA-FM-ResNet_PDB-All.pth or RNA-FM-ResNet_bpRNA.pth, which replaced it",
            )
    return PairResNetConfig(
        width=width,
        reduced=parts.head[reduce_name].shape[0],
        channels=parts.head[first_name].shape[0],
        blocks=layout.count(block_name, parts.head),
    )


def _matrix(tensors: dict[str, Tensor], name: str, path: Path) -> tuple[int, int]:
    if name not in tensors:
        raise WeightsError(f"{path}: its tensors do not fit: missing {name}")
    if tensors[name].ndim != 2:
        raise WeightsError(f"{path}: its tensors do not fit: {name} has shape {list(tensors[name].shape)}")
    rows, columns = tensors[name].shape
    return rows, columns


def _heads(parts: Parts, checkpoint: Checkpoint, given: int | None, shape: tuple[int, int, int]) -> int:
    """Attention heads leave no trace in the encoder's tensors; what else there is may tell."""
    told = checkpoint.settings.heads
    if told is None and parts.contact_size is not None and shape[0]:
        told = parts.contact_size // shape[0]
    if told is None:
        presets = {(c.layers, c.width, c.ffn): c.heads for c in ENCODER_PRESETS.values() if c.positions == "learned"}
        told = presets.get(shape)
    if told is None and given is None:
        raise UsageError(
            f"{checkpoint.path}: does not tell how many attention heads it has",
            hint="put its config.json beside it, or give --heads N",
        )
    if told is not None and given not in (None, told):
        raise UsageError(f"{checkpoint.path}: has {told} attention heads, not {given}")
    return told if told is not None else int(given or 0)
