"""Exported encoders: they come back as they were, and other programs get our numbers from them."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command import command_in
from support.tiny import save_tiny_encoder
from torch import Tensor

from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.encoder.export import export_multimolecule, export_onnx, export_upstream
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.official import convert
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import save_model_file

LEARNED = EncoderConfig(layers=2, width=32, heads=4, ffn=64, max_tokens=64)
SEQUENCES = ("ACGUNRYACGUU", "GGCCAA")


def made(config: EncoderConfig = LEARNED) -> Encoder:
    torch.manual_seed(3)
    encoder = Encoder(config).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder.requires_grad_(False)


def padded(encoder: Encoder) -> Tensor:
    rows = [torch.from_numpy(encoder.config.alphabet.encode(s).astype(np.int64)) for s in SEQUENCES]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=encoder.config.alphabet.pad)


def agree(ours: Tensor, theirs: Tensor) -> None:
    for row, sequence in enumerate(SEQUENCES):
        length = len(sequence) + 2
        torch.testing.assert_close(theirs[row, :length], ours[row, :length], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("export", "name", "file"),
    [(export_upstream, "x.pth", "x.pth"), (export_multimolecule, "x", "x/model.safetensors")],
)
@pytest.mark.parametrize("tokens", ["rna", "codon"])
def test_what_is_exported_comes_back(
    tmp_path: Path, export: Callable[[Encoder, Path], None], name: str, file: str, tokens: str
) -> None:
    encoder = made(dataclasses.replace(LEARNED, tokens=tokens, token_dropout=True))  # type: ignore[arg-type]
    export(encoder, tmp_path / name)
    tensors, card = convert(tmp_path / file, name="back", mask_row="keep")
    assert EncoderConfig(**card.config) == encoder.config
    unused = [row for row, token in enumerate(encoder.config.alphabet.tokens) if token.startswith("<null")]
    for key, tensor in encoder.state_dict().items():
        found = tensors[key]
        if key in ("embed.weight", "token_head.bias"):
            # The layouts have one row for all unused tokens.
            tensor, found = (np.delete(one.numpy(), unused, axis=0) for one in (tensor, found))
        np.testing.assert_array_equal(found, tensor, err_msg=key)


@pytest.mark.filterwarnings("ignore:Regression weights")
def test_upstreams_loader_gives_our_numbers(tmp_path: Path) -> None:
    fm = pytest.importorskip("fm")
    encoder = made(dataclasses.replace(LEARNED, max_tokens=1024))
    export_upstream(encoder, tmp_path / "RNA-FM_x.pth")
    with torch.serialization.safe_globals([argparse.Namespace]):
        model, _ = fm.pretrained.rna_fm_t12(str(tmp_path / "RNA-FM_x.pth"))
    tokens = padded(encoder)
    ours = encoder(tokens, logits=True)
    theirs = model.eval()(tokens, repr_layers=[2])
    agree(ours.hidden[2], theirs["representations"][2])
    agree(ours.logits, theirs["logits"])


def test_multimolecule_gives_our_numbers(tmp_path: Path) -> None:
    multimolecule = pytest.importorskip("multimolecule")
    encoder = made()
    export_multimolecule(encoder, tmp_path)
    model = multimolecule.RnaFmModel.from_pretrained(tmp_path).eval()
    theirs = model(**multimolecule.RnaTokenizer()(list(SEQUENCES), return_tensors="pt", padding=True))
    agree(encoder(padded(encoder)).hidden[2], theirs.last_hidden_state)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_onnx_gives_our_numbers(tmp_path: Path, positions: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    encoder = made(dataclasses.replace(LEARNED, positions=positions))  # type: ignore[arg-type]
    export_onnx(encoder, tmp_path / "x.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    tokens = padded(encoder)
    (theirs,) = session.run(None, {"tokens": tokens.numpy()})
    agree(encoder(tokens).hidden[2], torch.from_numpy(theirs))


def test_command_writes_the_file(tmp_path: Path) -> None:
    encoder = made()
    card = Card(name="mine", kind="encoder", config=dataclasses.asdict(LEARNED))
    save_model_file(tmp_path / "mine.safetensors", encoder.state_dict(), card)
    target = tmp_path / "mine.pth"
    rnafm = command_in(tmp_path)
    run = rnafm("weights", "export", tmp_path / "mine.safetensors", "--layout", "upstream", "-o", target)
    assert (run.returncode, run.stdout) == (0, f"{target}\n")
    assert torch.equal(convert(target, name="back")[0]["positions.weight"], encoder.state_dict()["positions.weight"])
    again = rnafm("weights", "export", tmp_path / "mine.safetensors", "--layout", "upstream", "-o", target)
    assert again.returncode == 2 and "exists" in again.stderr


def test_rotary_encoders_do_not_fit_upstream(tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path / "tiny.safetensors")
    run = command_in(tmp_path)(
        "weights", "export", tmp_path / "tiny.safetensors", "--layout", "upstream", "-o", tmp_path / "x.pth"
    )
    assert run.returncode == 2
    assert "rotary positions" in run.stderr and not (tmp_path / "x.pth").exists()
