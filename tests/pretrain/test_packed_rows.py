"""RNAs that share a row are encoded as if each were alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from rnafm_cli.encoder.config import ENCODER_PRESETS
from rnafm_cli.encoder.network import Encoder


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("bf16", [False, True])
def test_packed_rows_equal_separate_ones(positions: str, bf16: bool) -> None:
    torch.manual_seed(3)
    config = dataclasses.replace(ENCODER_PRESETS["rnafm-tiny"], positions=positions)
    encoder = Encoder(config).eval()
    if encoder.positions is not None:
        torch.nn.init.normal_(encoder.positions.weight)
    alphabet = config.alphabet
    rnas = [alphabet.encode(text).astype(np.int64) for text in ("GGCAUUCGAUC", "ACGUACGUACGUACG", "UUUGC")]
    tokens = np.full((2, 40), alphabet.pad, dtype=np.int64)
    segments = np.full((2, 40), -1, dtype=np.int32)
    places = [(0, 0), (0, 13), (1, 0)]
    for number, ((row, column), rna) in enumerate(zip(places, rnas, strict=True)):
        tokens[row, column : column + len(rna)] = rna
        segments[row, column : column + len(rna)] = number
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        packed = encoder(torch.from_numpy(tokens), segments_BT=torch.from_numpy(segments)).hidden[config.layers]
        for (row, column), rna in zip(places, rnas, strict=True):
            alone = encoder(torch.from_numpy(rna)[None]).hidden[config.layers][0]
            difference = (packed[row, column : column + len(rna)].float() - alone.float()).abs().max()
            assert difference < (0.06 if bf16 else 2e-6)
    assert bool(torch.isfinite(packed).all())
