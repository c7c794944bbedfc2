"""Encoders in the forms that other programs read: upstream's ``.pth``, a folder for multimolecule, ONNX.

The reverse of :mod:`rnafm_cli.encoder.official`. Heads stay in our own files: no other program has them.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnafm_cli.encoder.layouts import MORE_POSITIONS, MULTIMOLECULE, SETTINGS, UPSTREAM, TensorLayout
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.errors import UsageError, WeightsError
from rnafm_cli.io.streams import atomic_path


def export_upstream(encoder: Encoder, output: Path) -> None:
    """Write a checkpoint that upstream's ``fm.pretrained.rna_fm_t12(FILE)`` loads.

    The output head's copy of the embedding table is written too: upstream's loader zeroes the row of ``<mask>`` in
    the first table and takes the second one last, so that the row comes back.

    Raises:
        UsageError: for an encoder that upstream's network cannot hold.
        WeightsError: when the masked-token head, which upstream's loader asks for, is missing.
    """
    tensors, settings = _renamed(encoder, UPSTREAM)
    model = {
        f"encoder.{name}" if name.startswith("lm_head.") else f"encoder.sentence_encoder.{name}": tensor
        for name, tensor in tensors.items()
    }
    with atomic_path(output) as part:
        torch.save({"args": argparse.Namespace(arch="roberta_large", **settings), "model": model}, part)


def export_multimolecule(encoder: Encoder, folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors``, a folder for multimolecule's ``RnaFmModel.from_pretrained``.

    Its alphabet has symbols that RNA-FM has no token for (X, I, ``|``, ``.``, ``*``, ``?``): they get ``<unk>``'s row.
    """
    from safetensors.torch import save_file

    tensors, settings = _renamed(encoder, MULTIMOLECULE)
    tensors["lm_head.decoder.bias"] = tensors["lm_head.bias"].clone()
    named = {name if name.startswith("lm_head.") else f"model.{name}": value for name, value in tensors.items()}
    settings["max_position_embeddings"] += MORE_POSITIONS
    settings |= {
        "model_type": "rnafm",
        "architectures": ["RnaFmForMaskedLM"],
        "codon": encoder.config.tokens == "codon",
        "vocab_size": len(tensors[MULTIMOLECULE.table]),
        "embed_norm": encoder.config.norm_before,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "model.safetensors") as part:
        save_file(named, part, metadata={"format": "pt"})
    with atomic_path(folder / "config.json") as part:
        part.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def export_onnx(encoder: Encoder, output: Path) -> None:
    """Write an ONNX graph: ``tokens`` (B, T) int64 -> ``last_hidden_state`` (B, T, D) float32, B and T free.

    Tokens are those of :meth:`rnafm_cli.rna.alphabet.Alphabet.encode`, padded on the right with its ``pad``; rows at
    pads mean nothing.

    Raises:
        UsageError: when torch's exporter lacks its packages.
    """
    example = torch.full((2, 12), encoder.config.alphabet.pad)
    for row, sequence in enumerate(("ACGUACGUAC", "GGCCAA")):
        tokens = torch.from_numpy(encoder.config.alphabet.encode(sequence).astype("int64"))
        example[row, : len(tokens)] = tokens
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=encoder.config.max_tokens)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which nothing here needs
    try:
        with atomic_path(output) as part:
            torch.onnx.export(
                _LastHidden(encoder).eval(),
                (example,),
                part,
                input_names=["tokens"],
                output_names=["last_hidden_state"],
                dynamic_shapes={"tokens": {0: batch, 1: length}},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except ImportError as error:
        raise UsageError(
            f"writing ONNX needs the package {error.name or 'onnxscript'}", hint="pip install 'rnafm[onnx]'"
        ) from error


EXPORTS = {"upstream": export_upstream, "multimolecule": export_multimolecule, "onnx": export_onnx}


class _LastHidden(nn.Module):
    """The encoder as a function of tensors alone."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: Tensor) -> Tensor:
        return self.encoder(tokens).hidden[self.encoder.config.layers]


def _renamed(encoder: Encoder, layout: TensorLayout) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The encoder's tensors, rows of the vocabulary in a layout's order, and its settings, under the layout's names."""
    config = encoder.config
    if config.positions != "learned":
        raise UsageError(
            f"an encoder with {config.positions} positions does not fit the {layout.name} layout",
            hint="export one with learned positions, rna-fm for example, or use --layout onnx",
        )
    if encoder.token_head is None:
        raise WeightsError(f"these weights hold no masked-token head, which the {layout.name} layout has")
    tensors: dict[str, Tensor] = {}
    for name, tensor in encoder.state_dict().items():
        sources = layout.sources(name)
        tensors |= {source: piece.clone() for source, piece in zip(sources, tensor.chunk(len(sources)), strict=True)}
    place = {token: row for row, token in enumerate(config.alphabet.tokens)} | {"<null>": len(config.alphabet) - 2}
    rows = [place.get(token, config.alphabet.unk) for token in layout.vocabularies(config.alphabet)[0]]
    for name in (layout.table, "lm_head.bias"):
        tensors[name] = tensors[name][rows]
    tensors[layout.second_table] = tensors[layout.table].clone()
    return tensors, {theirs[layout.column]: getattr(config, ours) for ours, theirs in SETTINGS.items()}
