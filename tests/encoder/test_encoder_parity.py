"""The encoder gives upstream's numbers: recorded outputs of the ``fm`` package and of multimolecule.

The fixtures are small networks of random numbers: 3 layers of 64 channels, 4 heads, six RNAs (three coding
sequences); ``masked`` inputs have every fifth position masked.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.official import convert
from rnafm_cli.rna.alphabet import NUCLEOTIDE
from rnafm_cli.weights.foreign import read_foreign

PARITY = Path(__file__).parents[1] / "data" / "parity"
TOLERANCE = 1e-4
PAD = 1


def encoder_from(path: Path, *, token_dropout: bool = False, heads: int | None = None) -> Encoder:
    tensors, card = convert(path, name="parity", heads=heads)
    encoder = Encoder(dataclasses.replace(EncoderConfig(**card.config), token_dropout=token_dropout))
    encoder.load_state_dict(tensors)
    return encoder.eval()


def recorded(name: str) -> dict[str, Tensor]:
    with np.load(PARITY / name) as file:
        arrays = {key: file[key] for key in file.files if file[key].dtype.kind in "fiu"}
    return {
        key: torch.from_numpy(array if array.dtype.kind == "f" else array.astype(np.int64))
        for key, array in arrays.items()
    }


def multimolecule_copy(folder: Path) -> Path:
    """The weights of ``rnafm_random_small.pth`` under multimolecule's names, in its vocabulary's order."""
    theirs = {
        "embed_tokens": "embeddings.word_embeddings",
        "embed_positions": "embeddings.position_embeddings",
        "emb_layer_norm_before": "embeddings.layer_norm",
        "emb_layer_norm_after": "encoder.layer_norm",
        "self_attn.k_proj": "attention.self.key",
        "self_attn.v_proj": "attention.self.value",
        "self_attn.q_proj": "attention.self.query",
        "self_attn.out_proj": "attention.output.dense",
        "self_attn_layer_norm": "attention.layer_norm",
        "final_layer_norm": "layer_norm",
        "fc1": "intermediate.dense",
        "fc2": "output.dense",
        "lm_head.dense": "lm_head.transform.dense",
        "lm_head.layer_norm": "lm_head.transform.layer_norm",
        "lm_head": "lm_head",
    }
    order = "<pad> <cls> <eos> <unk> <mask> <null_1> A C G U N R Y S W K M B D H V I X | . * - ?".split()
    rows = [NUCLEOTIDE.tokens.index(token) if token in NUCLEOTIDE.tokens else PAD for token in order]
    renamed: dict[str, Tensor] = {}
    for full_name, tensor in read_foreign(PARITY / "rnafm_random_small.pth").tensors.items():
        name = full_name.replace("encoder.sentence_encoder.", "").replace("encoder.lm_head", "lm_head")
        if name == "lm_head.weight":
            continue
        module, leaf = name.rsplit(".", 1)
        layer = module.split(".")[1] if module.startswith("layers.") else None
        module = theirs[module if layer is None else module.split(".", 2)[2]]
        target = f"model.encoder.layer.{layer}.{module}.{leaf}" if layer is not None else f"model.{module}.{leaf}"
        if name in ("embed_tokens.weight", "lm_head.bias"):
            tensor = tensor[rows]
        renamed[target.replace("model.lm_head", "lm_head")] = tensor.contiguous().clone()
    renamed["lm_head.decoder.bias"] = renamed["lm_head.bias"].clone()
    renamed["model.pooler.dense.weight"] = torch.ones(64, 64)
    save_file(renamed, folder / "model.safetensors")
    return folder / "model.safetensors"


CASES = {
    "upstream": ("rnafm_random_small.pth", "rnafm_random_small.npz"),
    "trainer's checkpoint": ("rnafm_random_small_trainlike.pth", "rnafm_random_small.npz"),
    "codons": ("mrnafm_random_small.pth", "mrnafm_random_small.npz"),
    "multimolecule names": ("", "rnafm_random_small.npz"),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Encoder, dict[str, Tensor]]:
    weights, outputs = CASES[request.param]
    encoder = encoder_from(PARITY / weights) if weights else encoder_from(multimolecule_copy(tmp_path), heads=4)
    return encoder, recorded(outputs)


def letters(logits_BTV: Tensor | None, encoder: Encoder) -> Tensor:
    """Logits without those of the unused tokens: multimolecule has one where upstream has four."""
    assert logits_BTV is not None
    tokens = encoder.config.alphabet.tokens
    return logits_BTV[..., [index for index, token in enumerate(tokens) if not token.startswith("<null")]]


def largest(found: Tensor | None, wanted: Tensor, real: Tensor | None = None) -> float:
    assert found is not None
    assert found.shape == wanted.shape
    difference = (found - wanted).abs()
    return float((difference if real is None else difference[real]).max())


@torch.no_grad()
def test_every_layer_attentions_and_logits_in_a_padded_batch(case: tuple[Encoder, dict[str, Tensor]]) -> None:
    encoder, wanted = case
    tokens = wanted["tokens"]
    real = tokens != PAD
    found = encoder(tokens, layers=range(4), attentions=True, logits=True)
    for layer in range(4):
        assert largest(found.hidden[layer], wanted[f"repr_{layer:02d}"], real) <= TOLERANCE
    assert largest(found.attentions, wanted["attentions"]) <= TOLERANCE
    assert largest(letters(found.logits, encoder), letters(wanted["logits"], encoder), real) <= TOLERANCE
    assert largest(encoder(tokens).hidden[3], wanted["repr_03"], real) <= TOLERANCE


@torch.no_grad()
def test_masked_input(case: tuple[Encoder, dict[str, Tensor]]) -> None:
    encoder, wanted = case
    tokens = wanted["masked_tokens"]
    assert (tokens == encoder.config.alphabet.mask).any()
    found = encoder(tokens, logits=True)
    assert largest(found.hidden[3], wanted["masked_repr_last"], tokens != PAD) <= TOLERANCE
    found_logits, wanted_logits = letters(found.logits, encoder), letters(wanted["masked_logits"], encoder)
    assert largest(found_logits, wanted_logits, tokens != PAD) <= TOLERANCE


@torch.no_grad()
def test_alone_as_in_a_batch(case: tuple[Encoder, dict[str, Tensor]]) -> None:
    encoder, wanted = case
    for number, row in enumerate(wanted["tokens"]):
        found = encoder(row[row != PAD][None])
        assert largest(found.hidden[3], wanted[f"alone_repr_last_{number}"]) <= TOLERANCE


@torch.no_grad()
def test_token_dropout() -> None:
    encoder = encoder_from(PARITY / "rnafm_random_small.pth", token_dropout=True)
    wanted = recorded("rnafm_random_small_tokdrop.npz")
    tokens, masked = wanted["tokens"], wanted["masked_tokens"]
    found = encoder(tokens, layers=[0, 3], logits=True)
    assert largest(found.hidden[0], wanted["repr_00"], tokens != PAD) <= TOLERANCE
    assert largest(found.hidden[3], wanted["repr_03"], tokens != PAD) <= TOLERANCE
    assert largest(found.logits, wanted["logits"], tokens != PAD) <= TOLERANCE
    found = encoder(masked, logits=True)
    assert largest(found.hidden[3], wanted["masked_repr_last"], masked != PAD) <= TOLERANCE
    assert largest(found.logits, wanted["masked_logits"], masked != PAD) <= TOLERANCE
    for number, row in enumerate(tokens):
        assert largest(encoder(row[row != PAD][None]).hidden[3], wanted[f"alone_repr_last_{number}"]) <= TOLERANCE


@torch.no_grad()
def test_a_file_written_by_multimolecule() -> None:
    encoder = encoder_from(PARITY / "mm_rnafm_random_small" / "model.safetensors")
    wanted = recorded("mm_rnafm_random_small.npz")
    theirs = "<pad> <cls> <eos> <unk> <mask> <null> A C G U N R Y S W K M B D H V I X | . * - ?".split()
    ours = torch.tensor([NUCLEOTIDE.tokens.index(t) if t in NUCLEOTIDE.tokens else NUCLEOTIDE.unk for t in theirs])
    tokens = ours[wanted["input_ids"]]
    real = wanted["attention_mask"].bool()
    assert torch.equal(real, tokens != PAD)
    found = encoder(tokens, layers=range(4), attentions=True)
    for layer in range(3):
        assert largest(found.hidden[layer], wanted[f"hidden_{layer:02d}"], real) <= TOLERANCE
    assert largest(found.hidden[3], wanted["hidden_03"], real) <= TOLERANCE
    assert found.attentions is not None
    pairs = (real[:, :, None] & real[:, None, :])[:, None].expand(-1, 4, -1, -1)
    assert largest(found.attentions[:, 2], wanted["attn_02"], pairs) <= TOLERANCE
