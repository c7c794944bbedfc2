from __future__ import annotations

import numpy as np
import pytest
import torch

from rnafm_cli.encoder.config import ENCODER_PRESETS, EncoderConfig
from rnafm_cli.encoder.embed import embed, encode, resolve_layer
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.rna.records import SequenceRecord

RUNTIME = Runtime.create("cpu")


def made(config: EncoderConfig, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    encoder = Encoder(config)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return encoder.eval()


def records(lengths: list[int], seed: int = 0) -> list[SequenceRecord]:
    letters = np.random.default_rng(seed)
    return [SequenceRecord(f"r{k}", "".join(letters.choice(list("ACGU"), n))) for k, n in enumerate(lengths)]


@pytest.fixture(scope="module")
def tiny() -> Encoder:
    return made(ENCODER_PRESETS["rnafm-tiny"])


def test_results_keep_input_order_and_do_not_depend_on_the_budget(tiny: Encoder) -> None:
    rnas = records([50, 3, 200, 1, 70, 70, 12])
    small = encode(rnas, tiny, RUNTIME, batch_tokens=80)
    large = encode(rnas, tiny, RUNTIME, batch_tokens=10_000)
    assert [e.record.id for e in small] == [r.id for r in rnas]
    for one, other, rna in zip(small, large, rnas, strict=True):
        assert one.rows_LD.shape == (len(rna.sequence), 32)
        torch.testing.assert_close(one.rows_LD, other.rows_LD, atol=1e-5, rtol=1e-5)


def test_rows_equal_a_plain_pass(tiny: Encoder) -> None:
    (rna,) = records([40])
    (encoded,) = encode([rna], tiny, RUNTIME, layer=1)
    tokens = torch.from_numpy(tiny.config.alphabet.encode(rna.sequence).astype(np.int64))[None]
    with torch.no_grad():
        hidden = tiny(tokens, layers=[1]).hidden[1][0]
    torch.testing.assert_close(encoded.rows_LD, hidden[1:-1])
    torch.testing.assert_close(encoded.cls_D, hidden[0])


def test_long_records_are_windowed_with_exact_ends(tiny: Encoder) -> None:
    encoder = made(EncoderConfig(layers=2, width=32, heads=2, ffn=64, max_tokens=42))
    (rna,) = records([100])
    (encoded,) = encode([rna], encoder, RUNTIME)
    assert encoded.rows_LD.shape == (100, 32)
    assert torch.isfinite(encoded.rows_LD).all()
    (head,) = encode([SequenceRecord("head", rna.sequence[:40])], encoder, RUNTIME)
    torch.testing.assert_close(encoded.rows_LD[:20], head.rows_LD[:20], atol=1e-5, rtol=1e-5)


def test_long_records_can_be_refused_or_left_out() -> None:
    encoder = made(EncoderConfig(layers=1, width=32, heads=2, ffn=64, max_tokens=42))
    rnas = records([10, 100, 20])
    with pytest.raises(InputError, match="'r1'.*100 nt, the model takes 40"):
        list(embed(rnas, encoder, RUNTIME, long="error"))
    problems: list[InputError] = []
    kept = list(embed(rnas, encoder, RUNTIME, long="skip", reject=problems.append))
    assert [record.id for record, _ in kept] == ["r0", "r2"]
    assert len(problems) == 1


def test_codons_need_whole_triplets_and_give_a_row_each() -> None:
    encoder = made(EncoderConfig(layers=1, width=32, heads=2, ffn=64, tokens="codon", norm_before=False))
    (encoded,) = encode(records([30]), encoder, RUNTIME)
    assert encoded.rows_LD.shape == (10, 32)
    with pytest.raises(InputError, match="'r0'.*not a multiple of 3"):
        list(embed(records([31]), encoder, RUNTIME))


@pytest.mark.parametrize("pool", ["mean", "max", "cls"])
def test_pooled_vectors(tiny: Encoder, pool: str) -> None:
    rnas = records([5, 9])
    rows = [array for _, array in embed(rnas, tiny, RUNTIME)]
    pooled = [array for _, array in embed(rnas, tiny, RUNTIME, pool=pool)]  # type: ignore[arg-type]
    assert all(vector.shape == (32,) for vector in pooled)
    if pool == "mean":
        np.testing.assert_allclose(pooled[0], rows[0].mean(0), atol=1e-5)
    if pool == "max":
        np.testing.assert_allclose(pooled[1], rows[1].max(0), atol=1e-6)


def test_layers_are_numbered_from_the_embedding() -> None:
    assert resolve_layer(-1, 12) == 12
    assert resolve_layer(0, 12) == 0
    with pytest.raises(UsageError, match="layer 13"):
        resolve_layer(13, 12)


def test_an_unknown_pooling_or_treatment_of_long_rnas_is_named(tiny: Encoder) -> None:
    with pytest.raises(UsageError, match="no pooling 'median'"):
        list(embed(records([5]), tiny, RUNTIME, pool="median"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'cut' is no way"):
        list(embed(records([5]), tiny, RUNTIME, long="cut"))  # type: ignore[arg-type]


def test_bf16_stays_close(tiny: Encoder) -> None:
    encoder = made(ENCODER_PRESETS["rnafm-tiny"]).to(torch.bfloat16)
    rnas = records([60])
    (exact,) = encode(rnas, tiny, RUNTIME)
    (rough,) = encode(rnas, encoder, Runtime(torch.device("cpu"), torch.bfloat16))
    assert rough.rows_LD.dtype == torch.float32
    assert (exact.rows_LD - rough.rows_LD).abs().mean() < 0.05
