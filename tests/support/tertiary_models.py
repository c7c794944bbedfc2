"""A tiny encoder with random contact and distance heads, as files that the commands take."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.structure.pair import PairConfig
from rnafm_cli.structure.tertiary_head import TertiaryConfig, TertiaryHead
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import save_model_file

WIDTH = 16


def tiny_pair(inputs: tuple[str, ...] = ("embedding", "sequence", "prior")) -> PairConfig:
    return PairConfig(
        embedding=WIDTH if "embedding" in inputs else 0,
        width=8,
        channels=8,
        dilations=(1, 2),
        heads=2,
        fine=4,
        axial_every=2,
        dropout=0.1,
        inputs=inputs,
    )


def tiny_section() -> dict[str, object]:
    """``[head]`` of a fold recipe for :func:`tiny_pair`."""
    shape = tiny_pair()
    section: dict[str, object] = {"blocks": len(shape.dilations)}
    return section | {
        name: getattr(shape, name)
        for name in ("width", "mixer_layers", "channels", "heads", "fine", "axial_every", "dropout")
    }


def tiny_config(inputs: tuple[str, ...] = ("embedding", "sequence", "prior"), *, blocks: int = 2) -> TertiaryConfig:
    return TertiaryConfig(pair=tiny_pair(inputs), channels=8, blocks=blocks, fine=4, patch=4, dropout=0.1)


def tiny_head(config: TertiaryConfig | None = None, *, seed: int = 0) -> TertiaryHead:
    """A head whose last layers are not zero, in evaluation mode."""
    torch.manual_seed(seed)
    head = TertiaryHead(config or tiny_config())
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return head.eval()


def tiny_model(folder: Path, *, heads: tuple[str, ...] = ("contact",)) -> Path:
    """The encoder's file; the heads lie beside it."""
    torch.manual_seed(3)
    shape = EncoderConfig(layers=1, width=WIDTH, heads=2, ffn=16, positions="rotary")
    path = folder / "tiny.safetensors"
    encoder = Encoder(shape)
    card = save_model_file(
        path, encoder.state_dict(), Card(name="tiny", kind="encoder", config=dataclasses.asdict(shape))
    )
    for number, task in enumerate(heads):
        head = tiny_head(seed=number)
        save_model_file(
            folder / f"tiny-{task}.safetensors",
            head.state_dict(),
            Card(
                name=f"tiny-{task}",
                kind=task,
                config=dataclasses.asdict(head.config),
                encoder_sha256=card.weights_sha256,
            ),
        )
    return path


def codon_model(folder: Path) -> Path:
    """The file of an encoder that reads codons."""
    shape = EncoderConfig(layers=1, width=WIDTH, heads=2, ffn=16, tokens="codon")
    path = folder / "codons.safetensors"
    save_model_file(
        path, Encoder(shape).state_dict(), Card(name="codons", kind="encoder", config=dataclasses.asdict(shape))
    )
    return path
