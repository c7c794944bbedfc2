"""Foreign tensor layouts: which published names make up each of our tensors, and the network shapes read off them.

Two layouts are known: upstream's (``fm`` and its structure files) and multimolecule's, whose vocabulary
has another order. Names are taken after the wrappings of trainers and task models have been cut off.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import torch
from torch import Tensor

from rnafm_cli.encoder.config import ENCODER_PRESETS, EncoderConfig
from rnafm_cli.encoder.resnet import PairResNetConfig
from rnafm_cli.errors import ConfigError, UsageError, WeightsError
from rnafm_cli.rna.alphabet import CODON, NUCLEOTIDE, Alphabet
from rnafm_cli.weights.foreign import ForeignFile

_NAMES = """
embed                     embed_tokens                     embeddings.word_embeddings
positions                 embed_positions                  embeddings.position_embeddings
norm_before               emb_layer_norm_before            embeddings.layer_norm
norm_after                emb_layer_norm_after             encoder.layer_norm
layers.{}.attention_norm  layers.{}.self_attn_layer_norm   encoder.layer.{}.attention.layer_norm
layers.{}.qkv             layers.{}.self_attn.q_proj       encoder.layer.{}.attention.self.query
layers.{}.qkv             layers.{}.self_attn.k_proj       encoder.layer.{}.attention.self.key
layers.{}.qkv             layers.{}.self_attn.v_proj       encoder.layer.{}.attention.self.value
layers.{}.out             layers.{}.self_attn.out_proj     encoder.layer.{}.attention.output.dense
layers.{}.ffn_norm        layers.{}.final_layer_norm       encoder.layer.{}.layer_norm
layers.{}.ffn_in          layers.{}.fc1                    encoder.layer.{}.intermediate.dense
layers.{}.ffn_out         layers.{}.fc2                    encoder.layer.{}.output.dense
token_head                lm_head                          lm_head
token_head.dense          lm_head.dense                    lm_head.transform.dense
token_head.norm           lm_head.layer_norm               lm_head.transform.layer_norm
reduce                    pre_reduction                    reduction
first                     proj.first.0                     projection
blocks.{}.norm            proj.resnet.{}.bn1               convnet.layers.{}.bn1
blocks.{}.conv1           proj.resnet.{}.conv1             convnet.layers.{}.conv1
blocks.{}.conv2           proj.resnet.{}.conv2             convnet.layers.{}.conv2
last                      proj.final                       prediction
"""
"""Modules of our encoder and structure head, upstream's and multimolecule's; several are stacked as rows."""

SETTINGS = {
    "layers": ("encoder_layers", "num_hidden_layers"),
    "width": ("encoder_embed_dim", "hidden_size"),
    "ffn": ("encoder_ffn_embed_dim", "intermediate_size"),
    "heads": ("encoder_attention_heads", "num_attention_heads"),
    "max_tokens": ("max_positions", "max_position_embeddings"),
    "token_dropout": ("token_dropout", "token_dropout"),
}
"""What each of our settings is called in upstream's options and in multimolecule's ``config.json``."""
MORE_POSITIONS = 2
"""multimolecule counts the rows of the position table, which has two more than there may be tokens."""

_HEAD = re.compile(r"^(?:module\.)?(?:ss_head|downstream_modules\.[^.]*)\.")
"""What the names of a structure head begin with."""
_DROPPED = re.compile(
    r"^(?:pooler\.|contact_head\.|ss_head\.decoder\.|(?:\w+\.)*(?:version|_float_tensor|position_ids|inv_freq)$)"
)
"""Tensors that have no place in ours: untrained heads, buffers."""


@dataclass(frozen=True)
class TensorLayout:
    """Names of one layout."""

    name: str
    column: int
    """Its place in the tables of names and settings."""
    wrapping: re.Pattern[str]
    """What may stand in front of the encoder's names and is cut off."""
    second_table: str
    """The output head's copy of the embedding table."""
    vocabularies: Callable[[Alphabet], list[tuple[str, ...]]]
    """Tokens in the order of the rows of the embedding table, of which there were several over time."""

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for line in _NAMES.split("\n")[1:-1]:
            ours, *theirs = line.split()
            names.setdefault(ours, []).append(theirs[self.column])
        return names

    def sources(self, name: str) -> list[str]:
        """The published names that make up one of our tensors."""
        module, leaf = name.rsplit(".", 1)
        number = re.search(r"\d+", module)
        names = self._names[re.sub(r"\.\d+\.", ".{}.", module)]
        return [f"{theirs.format(number[0] if number else '')}.{leaf}" for theirs in names]

    def source(self, name: str) -> str:
        """The published name of a tensor that is whole in the file."""
        (theirs,) = self.sources(name)
        return theirs

    @property
    def table(self) -> str:
        """The embedding table."""
        return self.source("embed.weight")


def _multimolecule_vocabularies(alphabet: Alphabet) -> list[tuple[str, ...]]:
    specials = ("<pad>", "<cls>", "<eos>", "<unk>", "<mask>", "<null>")
    # The second one is that of its first releases.
    choices = ("ACGUNRYSWKMBDHVIX|.*-?", "ACGUNRYSWKMBDHV.X*-I") if alphabet.unit == 1 else ("ACGUN",)
    return [(*specials, *map("".join, product(letters, repeat=alphabet.unit))) for letters in choices]


UPSTREAM = TensorLayout(
    name="upstream",
    column=0,
    wrapping=re.compile(r"^(?:(?:module|backbone|encoder|sentence_encoder|model)\.)+"),
    second_table="lm_head.weight",
    vocabularies=lambda alphabet: [alphabet.tokens],
)
MULTIMOLECULE = TensorLayout(
    name="multimolecule",
    column=1,
    wrapping=re.compile(r"^(?:(?:module|model|rnafm)\.)+"),
    second_table="lm_head.decoder.weight",
    vocabularies=_multimolecule_vocabularies,
)


@dataclass
class Parts:
    """A file's tensors by part, wrappings cut off; users take out what they need."""

    layout: TensorLayout
    encoder: dict[str, Tensor]
    head: dict[str, Tensor]
    """Of a structure head, empty if there is none."""
    dropped: list[str]
    contact_size: int = 0
    """Weights of the (untrained) contact head, layers x attention heads; 0 without one."""

    @classmethod
    def split(cls, file: ForeignFile) -> Parts:
        """Sort a file's tensors."""
        names = list(file.tensors)
        known = (one for one in (MULTIMOLECULE, UPSTREAM) if one.table in {one.wrapping.sub("", n) for n in names})
        if (layout := next(known, None)) is None:
            raise WeightsError(
                f"{file.path}: holds no RNA-FM encoder "
                f"(no embedding table among its {len(names)} tensors: {', '.join(names[:4])}, ...)"
            )
        parts = cls(layout, {}, {}, [])
        for full_name, tensor in file.tensors.items():
            name, into = layout.wrapping.sub("", full_name), parts.encoder
            if _DROPPED.match(name):
                parts.dropped.append(full_name)
                if name.endswith(("contact_head.regression.weight", "_head.decoder.weight")):
                    parts.contact_size = tensor.numel()
                continue
            if _HEAD.match(full_name):
                name, into = _HEAD.sub("", full_name), parts.head
                if name.endswith(".num_batches_tracked"):
                    continue
            # multimolecule's second name of it.
            name = name.replace("lm_head.decoder.bias", "lm_head.bias")
            if name in into and not torch.equal(into[name], tensor):
                raise WeightsError(f"{file.path}: holds two different tensors {name}")
            into[name] = tensor
        return parts

    def encoder_shape(self, file: ForeignFile, heads: int | None) -> EncoderConfig:
        """The configuration of the encoder.

        Args:
            heads: attention heads, for files that do not tell.
        """
        path, layout, said = file.path, self.layout, _settings(file.options)
        if file.options.get("arch") not in (None, "roberta_large"):
            raise WeightsError(f"{path}: is of architecture {file.options['arch']}, only roberta_large is known")
        names = [layout.source(f"{name}.weight") for name in ("embed", "positions", "layers.0.ffn_in")]
        if missing := [name for name in names if name not in self.encoder]:
            raise WeightsError(f"{path}: its tensors do not fit: missing {missing[0]}")
        (rows, width), (positions, _), (ffn, _) = (self.encoder[name].shape for name in names)
        layers = _count(names[2], self.encoder)
        counted: dict[str, Any] = {"layers": layers, "width": width, "ffn": ffn}
        counted["max_tokens"] = positions - MORE_POSITIONS
        for what, number in counted.items():
            if said.get(what, number) != number:
                raise WeightsError(
                    f"{path}: says that it has {said[what]} {_COUNTED[what]}, but its tensors have {number}"
                )
        vocabularies = {len(one): alphabet for alphabet in (NUCLEOTIDE, CODON) for one in layout.vocabularies(alphabet)}
        if rows not in vocabularies:
            known = " or ".join(map(str, vocabularies))
            raise WeightsError(f"{path}: has {rows} tokens, where the {layout.name} layout has {known}")
        presets = (one for one in ENCODER_PRESETS.values() if one.positions == "learned")
        usual = next((one.heads for one in presets if vars(one).items() >= counted.items()), None)
        told = said.get("heads") or self.contact_size // layers or usual
        if told and heads not in (None, told):
            raise UsageError(f"{path}: has {told} attention heads, not {heads}")
        if not (heads := told or heads):
            raise UsageError(
                f"{path}: does not tell how many attention heads it has",
                hint="put its config.json beside it, or give --heads N",
            )
        try:
            return EncoderConfig(
                **counted,
                heads=heads,
                tokens="rna" if vocabularies[rows] is NUCLEOTIDE else "codon",
                norm_before=layout.source("norm_before.weight") in self.encoder,
                token_dropout=bool(said.get("token_dropout")),
                token_head=layout.source("token_head.dense.weight") in self.encoder,
            )
        except ConfigError as error:
            raise WeightsError(f"{path}: {error.message}") from error

    def head_shape(self, file: ForeignFile, width: int) -> PairResNetConfig:
        """The configuration of the structure head."""
        last, *others = [self.layout.source(f"{name}.weight") for name in ("last", "reduce", "first", "blocks.0.conv1")]
        if last in self.head and len(self.head[last]) == 2:
            raise WeightsError(
                f"{file.path}: has the two-class structure head of 2022, which is not supported",
                hint="use RNA-FM-ResNet_PDB-All.pth or RNA-FM-ResNet_bpRNA.pth, which replaced it",
            )
        if missing := [name for name in (last, *others) if name not in self.head]:
            raise WeightsError(f"{file.path}: its structure head does not fit: missing {missing[0]}")
        reduced, channels = (len(self.head[name]) for name in others[:2])
        return PairResNetConfig(width=width, reduced=reduced, channels=channels, blocks=_count(others[2], self.head))


_COUNTED = {"layers": "layers", "width": "channels", "ffn": "feed-forward channels", "max_tokens": "positions"}


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """What a file's options say about its network, under our names."""
    # The part of a name before ``encoder_`` does not count.
    named = {key.split("encoder_")[-1]: value for key, value in options.items()}
    found = {
        ours: named[bare]
        for ours, theirs in SETTINGS.items()
        for bare in (name.split("encoder_")[-1] for name in theirs)
        if isinstance(named.get(bare), int)
    }
    if "max_position_embeddings" in named:
        found["max_tokens"] -= MORE_POSITIONS
    return found


def _count(name: str, names: Iterable[str]) -> int:
    """How many layers or blocks there are, by a published name of the one with number 0."""
    return next(number for number in itertools.count() if name.replace(".0.", f".{number}.") not in names)
