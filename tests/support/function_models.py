"""Small random encoder and heads on disk, made anew for a test."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from rnafm_cli.encoder.config import ENCODER_PRESETS
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.function.heads import BindingConfig, BindingHead, MrlConfig, MrlHead
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import save_model_file

PROTEINS = ("RBP31_TIA1_Hela_ICLIP", "PrismNet_TIA1_Hela", "RBP31_PUM2_HEK293_PARCLIP")
ASSAYS = ("random_25to100", "egfp_unmod_1")


def save_models(folder: Path, *, embedding: bool = True, seed: int = 0) -> Path:
    """Write the model ``tiny``: an encoder, an RBP head that takes structure, and an MRL head of two members.

    Without ``embedding`` the heads read letters alone and know no encoder.

    Returns:
        the folder.
    """
    torch.manual_seed(seed)
    config = ENCODER_PRESETS["rnafm-tiny"]
    encoder = Encoder(config)
    card = save_model_file(
        folder / "tiny.safetensors",
        encoder.state_dict(),
        Card(name="tiny", kind="encoder", config=dataclasses.asdict(config)),
    )
    sha256 = card.weights_sha256 if embedding else None
    width = config.width if embedding else 0
    binding = BindingHead(BindingConfig(proteins=PROTEINS, embedding=width, reduced=4, structure=True, channels=8))
    curve = {"slope": 2.0, "intercept": -0.5, "threshold": 0.4, "prevalence": 0.2}
    figures = {PROTEINS[0]: {"auprc": 0.61, "auroc": 0.88, "calibration_error": 0.01, "rows": 9, "positives": 3}}
    loads = MrlHead(
        MrlConfig(
            assays=ASSAYS,
            means=(5.2, 5.7),
            deviations=(1.4, 1.8),
            embedding=width,
            reduced=4,
            channels=8,
            members=2,
        )
    )
    for head, name, extra, metrics in (
        (binding, "rbp", {"calibration": {PROTEINS[0]: curve}}, figures),
        (loads, "mrl", {"sd_factors": {ASSAYS[0]: 1.5}}, {}),
    ):
        if head.reduction is not None:
            torch.nn.init.normal_(head.reduction.weight, std=0.5)
        save_model_file(
            folder / f"tiny-{name}.safetensors",
            head.state_dict(),
            Card(
                name=f"tiny-{name}",
                kind=name,
                config=dataclasses.asdict(head.config) | extra,
                encoder_sha256=sha256,
                metrics=metrics,
            ),
        )
    return folder
