"""The published `rna-fm` package (module `fm`) with random full-size weights, and the same weights in ours."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from torch import nn

from rnafm_cli.encoder.config import ENCODER_PRESETS
from rnafm_cli.encoder.layouts import UPSTREAM
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.resnet import PairResNet

CONFIG = ENCODER_PRESETS["rna-fm"]


def upstream_encoder(seed: int) -> tuple[Any, Any]:
    """Upstream's encoder in its released size, and its alphabet."""
    import fm

    alphabet = fm.Alphabet.from_architecture("roberta_large", "rna")
    arguments = Namespace(
        arch="roberta_large",
        layers=CONFIG.layers,
        embed_dim=CONFIG.width,
        ffn_embed_dim=CONFIG.ffn,
        attention_heads=CONFIG.heads,
        max_positions=CONFIG.max_tokens,
        emb_layer_norm_before=True,
        token_dropout=False,
    )
    torch.manual_seed(seed)
    return _shake(fm.BioBertModel(arguments, alphabet)), alphabet


def upstream_head(seed: int) -> tuple[Any, Any]:
    """Upstream's structure head in its released size, and its alphabet."""
    import fm
    from fm.downstream.pairwise_predictor import choose_pairwise_predictor

    alphabet = fm.Alphabet.from_architecture("roberta_large", "rna")
    arguments = Namespace(embed_dim=CONFIG.width, attention_heads=CONFIG.heads)
    torch.manual_seed(seed)
    return _shake(choose_pairwise_predictor("pc-resnet_1_sym_first", arguments, alphabet)), alphabet


def our_encoder(upstream: nn.Module) -> Encoder:
    """Our encoder with upstream's tensors."""
    theirs = upstream.state_dict()
    encoder = Encoder(CONFIG)
    encoder.load_state_dict(
        {name: torch.cat([theirs[source] for source in UPSTREAM.sources(name)]) for name in encoder.state_dict()}
    )
    return encoder.eval()


def our_head(upstream: nn.Module) -> PairResNet:
    """Our structure head with upstream's tensors."""
    theirs = upstream.state_dict()
    head = PairResNet()
    head.load_state_dict({name: theirs[UPSTREAM.source(name)] for name in head.state_dict()})
    return head.eval()


def _shake(module: nn.Module) -> nn.Module:
    """Move norms, biases and statistics off their initial zeros and ones, so that none can be forgotten unseen."""
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.ndim == 1 and tensor.is_floating_point():
                shift = 0.2 * torch.randn_like(tensor)
                tensor.add_(shift.abs() if name.endswith("running_var") else shift)
    return module.eval()
