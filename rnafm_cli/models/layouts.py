"""Foreign tensor layouts: which published names make up each of our tensors.

Two layouts are known: upstream's (``fm`` and its structure files) and multimolecule's, whose vocabulary
has another order. Names are taken after the wrappings of trainers and task models have been cut off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from rnafm_cli.errors import WeightsError
from rnafm_cli.models.checkpoints import Checkpoint
from rnafm_cli.rna.alphabet import Alphabet

__all__ = ["MULTIMOLECULE", "UPSTREAM", "Layout", "Parts", "layout_of"]


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
    encoder: Mapping[str, tuple[str, ...]]
    """Our module -> theirs, stacked along the first axis if several."""
    aliases: Mapping[str, str]
    """Second names under which a tensor may be present."""
    head: Mapping[str, str]
    """Our module of the structure head -> theirs."""
    dropped: re.Pattern[str]
    """Tensors that have no place in ours: untrained heads, buffers."""
    vocabulary: Callable[[Alphabet], tuple[str, ...]]
    """Tokens in the order of the rows of the embedding table."""

    def sources(self, name: str) -> tuple[str, ...]:
        """The published names that make up one of our encoder's tensors."""
        module, leaf = name.rsplit(".", 1)
        pattern, number = _numbered(module)
        return tuple(f"{theirs.format(number)}.{leaf}" for theirs in self.encoder[pattern])

    def head_sources(self, name: str) -> tuple[str, ...]:
        """The published name of one of our structure head's tensors."""
        module, leaf = name.rsplit(".", 1)
        pattern, number = _numbered(module)
        return (f"{self.head[pattern].format(number)}.{leaf}",)

    def count(self, source: str, names: Iterable[str]) -> int:
        """How many layers or blocks there are, by a published name of the one with number 0."""
        pattern = re.compile(re.escape(source).replace(r"\.0\.", r"\.(\d+)\."))
        return 1 + max((int(found[1]) for found in map(pattern.fullmatch, names) if found), default=-1)


def _numbered(module: str) -> tuple[str, str]:
    found = re.search(r"(?<=\.)\d+(?=\.)", module)
    return (module[: found.start()] + "{}" + module[found.end() :], found[0]) if found else (module, "")


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
        layout = layout_of(checkpoint.tensors)
        if layout is None:
            shown = ", ".join(list(checkpoint.tensors)[:4])
            raise WeightsError(
                f"{checkpoint.path}: holds no RNA-FM encoder "
                f"(no embedding table among its {len(checkpoint.tensors)} tensors: {shown}, ...)"
            )
        parts = cls(layout, {}, {}, [], None)
        for full_name, tensor in checkpoint.tensors.items():
            parts._sort(full_name, tensor, checkpoint)
        return parts

    def _sort(self, full_name: str, tensor: Tensor, checkpoint: Checkpoint) -> None:
        name, into = self.layout.wrapping.sub("", full_name), self.encoder
        if self.layout.dropped.match(name):
            self.dropped.append(full_name)
            if name.endswith(("contact_head.regression.weight", "_head.decoder.weight")):
                self.contact_size = tensor.numel()
            return
        if self.layout.head_wrapping.match(full_name):
            name, into = self.layout.head_wrapping.sub("", full_name), self.head
            if name.endswith(".num_batches_tracked"):
                return
        name = self.layout.aliases.get(name, name)
        if name in into and not torch.equal(into[name], tensor):
            raise WeightsError(f"{checkpoint.path}: holds two different tensors {name}")
        into[name] = tensor


def layout_of(names: Iterable[str]) -> Layout | None:
    """The layout that a file's tensor names belong to; None for something else."""
    names = list(names)
    for layout in (MULTIMOLECULE, UPSTREAM):
        if any(layout.wrapping.sub("", name) == layout.table for name in names):
            return layout
    return None


def _multimolecule_vocabulary(alphabet: Alphabet) -> tuple[str, ...]:
    letters = "ACGUNRYSWKMBDHVIX|.*-?" if alphabet.unit == 1 else "ACGUN"
    specials = ("<pad>", "<cls>", "<eos>", "<unk>", "<mask>", "<null>")
    return (*specials, *("".join(word) for word in product(letters, repeat=alphabet.unit)))


UPSTREAM = Layout(
    name="upstream",
    wrapping=re.compile(r"^(?:(?:module|backbone|encoder|sentence_encoder|model)\.)+"),
    head_wrapping=re.compile(r"^(?:module\.)?downstream_modules\.[^.]*\."),
    table="embed_tokens.weight",
    second_table="lm_head.weight",
    encoder={
        "embed": ("embed_tokens",),
        "positions": ("embed_positions",),
        "norm_before": ("emb_layer_norm_before",),
        "norm_after": ("emb_layer_norm_after",),
        "layers.{}.attention_norm": ("layers.{}.self_attn_layer_norm",),
        "layers.{}.qkv": tuple(f"layers.{{}}.self_attn.{part}_proj" for part in "qkv"),
        "layers.{}.out": ("layers.{}.self_attn.out_proj",),
        "layers.{}.ffn_norm": ("layers.{}.final_layer_norm",),
        "layers.{}.ffn_in": ("layers.{}.fc1",),
        "layers.{}.ffn_out": ("layers.{}.fc2",),
        "token_head": ("lm_head",),
        "token_head.dense": ("lm_head.dense",),
        "token_head.norm": ("lm_head.layer_norm",),
    },
    aliases={},
    head={
        "reduce": "pre_reduction",
        "first": "proj.first.0",
        "blocks.{}.norm": "proj.resnet.{}.bn1",
        "blocks.{}.conv1": "proj.resnet.{}.conv1",
        "blocks.{}.conv2": "proj.resnet.{}.conv2",
        "last": "proj.final",
    },
    dropped=re.compile(r"^(?:contact_head\.|(?:\w+\.)*(?:version|_float_tensor|position_ids)$)"),
    vocabulary=lambda alphabet: alphabet.tokens,
)

MULTIMOLECULE = Layout(
    name="multimolecule",
    wrapping=re.compile(r"^(?:(?:module|model|rnafm)\.)+"),
    head_wrapping=re.compile(r"^(?:module\.)?ss_head\."),
    table="embeddings.word_embeddings.weight",
    second_table="lm_head.decoder.weight",
    encoder={
        "embed": ("embeddings.word_embeddings",),
        "positions": ("embeddings.position_embeddings",),
        "norm_before": ("embeddings.layer_norm",),
        "norm_after": ("encoder.layer_norm",),
        "layers.{}.attention_norm": ("encoder.layer.{}.attention.layer_norm",),
        "layers.{}.qkv": tuple(f"encoder.layer.{{}}.attention.self.{part}" for part in ("query", "key", "value")),
        "layers.{}.out": ("encoder.layer.{}.attention.output.dense",),
        "layers.{}.ffn_norm": ("encoder.layer.{}.layer_norm",),
        "layers.{}.ffn_in": ("encoder.layer.{}.intermediate.dense",),
        "layers.{}.ffn_out": ("encoder.layer.{}.output.dense",),
        "token_head": ("lm_head",),
        "token_head.dense": ("lm_head.transform.dense",),
        "token_head.norm": ("lm_head.transform.layer_norm",),
    },
    aliases={"lm_head.decoder.bias": "lm_head.bias"},
    head={
        "reduce": "reduction",
        "first": "projection",
        "blocks.{}.norm": "convnet.layers.{}.bn1",
        "blocks.{}.conv1": "convnet.layers.{}.conv1",
        "blocks.{}.conv2": "convnet.layers.{}.conv2",
        "last": "prediction",
    },
    dropped=re.compile(r"^(?:pooler\.|contact_head\.|ss_head\.decoder\.|(?:\w+\.)*(?:position_ids|inv_freq)$)"),
    vocabulary=_multimolecule_vocabulary,
)
