"""Foreign tensor layouts: which published names make up each of our tensors, and the network shapes read off them.

Two layouts are known: upstream's (``fm`` and its structure files) and multimolecule's, whose vocabulary
has another order. Names are taken after the wrappings of trainers and task models have been cut off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from rnafm_cli.encoder.config import ENCODER_PRESETS, EncoderConfig
from rnafm_cli.encoder.resnet import PairResNetConfig
from rnafm_cli.errors import ConfigError, UsageError, WeightsError
from rnafm_cli.rna.alphabet import CODON, NUCLEOTIDE, Alphabet
from rnafm_cli.weights.checkpoints import Checkpoint


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Names of one layout, keyed by our module paths; ``{}`` stands for the number of a layer or block."""

    name: str
    wrapping: re.Pattern[str]
    """What may stand in front of the encoder's names and is cut off."""
    head_wrapping: re.Pattern[str]
    """What the names of a structure head begin with; cut off."""
    table: str
    """The embedding table."""
    second_table: str
    """The output head's copy of the embedding table."""
    names: Mapping[str, str | tuple[str, ...]]
    """Our module, of the encoder or the structure head -> theirs; several are stacked along the first axis."""
    aliases: Mapping[str, str]
    """Second names under which a tensor may be present."""
    dropped: re.Pattern[str]
    """Tensors that have no place in ours: untrained heads, buffers."""
    vocabularies: Callable[[Alphabet], tuple[tuple[str, ...], ...]]
    """Tokens in the order of the rows of the embedding table, of which there were several over time."""

    def sources(self, name: str) -> tuple[str, ...]:
        """The published names that make up one of our tensors."""
        module, leaf = name.rsplit(".", 1)
        number = re.search(r"(?<=\.)\d+(?=\.)", module)
        pattern = module if number is None else f"{module[: number.start()]}{{}}{module[number.end() :]}"
        theirs = self.names[pattern]
        each = (theirs,) if isinstance(theirs, str) else theirs
        return tuple(f"{one.format('' if number is None else number[0])}.{leaf}" for one in each)

    def source(self, name: str) -> str:
        """The published name of a tensor that is whole in the file."""
        (theirs,) = self.sources(name)
        return theirs


def _count(source: str, names: Iterable[str]) -> int:
    """How many layers or blocks there are, by a published name of the one with number 0."""
    pattern = re.compile(re.escape(source).replace(r"\.0\.", r"\.(\d+)\."))
    return 1 + max((int(found[1]) for found in map(pattern.fullmatch, names) if found), default=-1)


@dataclass
class Parts:
    """A checkpoint's tensors by part, wrappings cut off; users take out what they need."""

    layout: Layout
    encoder: dict[str, Tensor]
    head: dict[str, Tensor]
    """Of a structure head, empty if there is none."""
    dropped: list[str]
    contact_size: int | None
    """Weights of the (untrained) contact head, layers x attention heads, if there is one."""

    @classmethod
    def split(cls, checkpoint: Checkpoint) -> Parts:
        """Sort a checkpoint's tensors.

        Raises:
            WeightsError: when they are no RNA-FM encoder, or hold two tensors of one name.
        """
        names = list(checkpoint.tensors)
        known = (one for one in (MULTIMOLECULE, UPSTREAM) if one.table in {one.wrapping.sub("", n) for n in names})
        if (layout := next(known, None)) is None:
            shown = ", ".join(names[:4])
            raise WeightsError(
                f"{checkpoint.path}: holds no RNA-FM encoder "
                f"(no embedding table among its {len(names)} tensors: {shown}, ...)"
            )
        parts = cls(layout, {}, {}, [], None)
        for full_name, tensor in checkpoint.tensors.items():
            name, into = layout.wrapping.sub("", full_name), parts.encoder
            if layout.dropped.match(name):
                parts.dropped.append(full_name)
                if name.endswith(("contact_head.regression.weight", "_head.decoder.weight")):
                    parts.contact_size = tensor.numel()
                continue
            if layout.head_wrapping.match(full_name):
                name, into = layout.head_wrapping.sub("", full_name), parts.head
                if name.endswith(".num_batches_tracked"):
                    continue
            name = layout.aliases.get(name, name)
            if name in into and not torch.equal(into[name], tensor):
                raise WeightsError(f"{checkpoint.path}: holds two different tensors {name}")
            into[name] = tensor
        return parts


def _multimolecule_vocabularies(alphabet: Alphabet) -> tuple[tuple[str, ...], ...]:
    specials = ("<pad>", "<cls>", "<eos>", "<unk>", "<mask>", "<null>")
    # The second one is that of its first releases.
    choices = ("ACGUNRYSWKMBDHVIX|.*-?", "ACGUNRYSWKMBDHV.X*-I") if alphabet.unit == 1 else ("ACGUN",)
    return tuple(
        (*specials, *("".join(word) for word in product(letters, repeat=alphabet.unit))) for letters in choices
    )


UPSTREAM = Layout(
    name="upstream",
    wrapping=re.compile(r"^(?:(?:module|backbone|encoder|sentence_encoder|model)\.)+"),
    head_wrapping=re.compile(r"^(?:module\.)?downstream_modules\.[^.]*\."),
    table="embed_tokens.weight",
    second_table="lm_head.weight",
    names={
        "embed": "embed_tokens",
        "positions": "embed_positions",
        "norm_before": "emb_layer_norm_before",
        "norm_after": "emb_layer_norm_after",
        "layers.{}.attention_norm": "layers.{}.self_attn_layer_norm",
        "layers.{}.qkv": tuple(f"layers.{{}}.self_attn.{part}_proj" for part in "qkv"),
        "layers.{}.out": "layers.{}.self_attn.out_proj",
        "layers.{}.ffn_norm": "layers.{}.final_layer_norm",
        "layers.{}.ffn_in": "layers.{}.fc1",
        "layers.{}.ffn_out": "layers.{}.fc2",
        "token_head": "lm_head",
        "token_head.dense": "lm_head.dense",
        "token_head.norm": "lm_head.layer_norm",
        "reduce": "pre_reduction",
        "first": "proj.first.0",
        "blocks.{}.norm": "proj.resnet.{}.bn1",
        "blocks.{}.conv1": "proj.resnet.{}.conv1",
        "blocks.{}.conv2": "proj.resnet.{}.conv2",
        "last": "proj.final",
    },
    aliases={},
    dropped=re.compile(r"^(?:contact_head\.|(?:\w+\.)*(?:version|_float_tensor|position_ids)$)"),
    vocabularies=lambda alphabet: (alphabet.tokens,),
)

MULTIMOLECULE = Layout(
    name="multimolecule",
    wrapping=re.compile(r"^(?:(?:module|model|rnafm)\.)+"),
    head_wrapping=re.compile(r"^(?:module\.)?ss_head\."),
    table="embeddings.word_embeddings.weight",
    second_table="lm_head.decoder.weight",
    names={
        "embed": "embeddings.word_embeddings",
        "positions": "embeddings.position_embeddings",
        "norm_before": "embeddings.layer_norm",
        "norm_after": "encoder.layer_norm",
        "layers.{}.attention_norm": "encoder.layer.{}.attention.layer_norm",
        "layers.{}.qkv": tuple(f"encoder.layer.{{}}.attention.self.{part}" for part in ("query", "key", "value")),
        "layers.{}.out": "encoder.layer.{}.attention.output.dense",
        "layers.{}.ffn_norm": "encoder.layer.{}.layer_norm",
        "layers.{}.ffn_in": "encoder.layer.{}.intermediate.dense",
        "layers.{}.ffn_out": "encoder.layer.{}.output.dense",
        "token_head": "lm_head",
        "token_head.dense": "lm_head.transform.dense",
        "token_head.norm": "lm_head.transform.layer_norm",
        "reduce": "reduction",
        "first": "projection",
        "blocks.{}.norm": "convnet.layers.{}.bn1",
        "blocks.{}.conv1": "convnet.layers.{}.conv1",
        "blocks.{}.conv2": "convnet.layers.{}.conv2",
        "last": "prediction",
    },
    aliases={"lm_head.decoder.bias": "lm_head.bias"},
    dropped=re.compile(r"^(?:pooler\.|contact_head\.|ss_head\.decoder\.|(?:\w+\.)*(?:position_ids|inv_freq)$)"),
    vocabularies=_multimolecule_vocabularies,
)


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
    ffn_name = layout.source("layers.0.ffn_in.weight")
    rows, width = _matrix(parts.encoder, layout.table, path)
    positions, _ = _matrix(parts.encoder, layout.source("positions.weight"), path)
    ffn, _ = _matrix(parts.encoder, ffn_name, path)
    layers = _count(ffn_name, parts.encoder)
    for what, told, counted in (
        ("layers", said.layers, layers),
        ("channels", said.width, width),
        ("feed-forward channels", said.ffn, ffn),
        ("position rows", said.positions, positions),
    ):
        if told not in (None, counted):
            raise WeightsError(f"{path}: says that it has {told} {what}, but its tensors have {counted}")
    vocabularies = {len(one): alphabet for alphabet in (NUCLEOTIDE, CODON) for one in layout.vocabularies(alphabet)}
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
            norm_before=layout.source("norm_before.weight") in parts.encoder,
            token_dropout=said.token_dropout,
            token_head=layout.source("token_head.dense.weight") in parts.encoder,
        )
    except ConfigError as error:
        raise WeightsError(f"{path}: {error.message}") from error


def structure_head_shape(parts: Parts, width: int, path: Path) -> PairResNetConfig:
    """The configuration of a published structure head.

    Raises:
        WeightsError: when tensors needed for it are missing, and for the two-class files of 2022.
    """
    last, reduce, first, block = (
        parts.layout.source(f"{name}.weight") for name in ("last", "reduce", "first", "blocks.0.conv1")
    )
    if last in parts.head and parts.head[last].shape[0] == 2:
        raise WeightsError(
            f"{path}: has the two-class structure head of 2022, which is not supported",
            hint="use RNA-FM-ResNet_PDB-All.pth or RNA-FM-ResNet_bpRNA.pth, which replaced it",
        )
    if missing := [name for name in (last, reduce, first, block) if name not in parts.head]:
        raise WeightsError(f"{path}: its structure head does not fit: missing {missing[0]}")
    return PairResNetConfig(
        width=width,
        reduced=parts.head[reduce].shape[0],
        channels=parts.head[first].shape[0],
        blocks=_count(block, parts.head),
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
    layers = shape[0]
    told = checkpoint.settings.heads
    if told is None and parts.contact_size is not None and layers:
        told = parts.contact_size // layers
    if told is None:
        presets = {(c.layers, c.width, c.ffn): c.heads for c in ENCODER_PRESETS.values() if c.positions == "learned"}
        told = presets.get(shape)
    if told is not None and given not in (None, told):
        raise UsageError(f"{checkpoint.path}: has {told} attention heads, not {given}")
    if told or given:
        return int(told or given or 0)
    raise UsageError(
        f"{checkpoint.path}: does not tell how many attention heads it has",
        hint="put its config.json beside it, or give --heads N",
    )
