"""The shipped contact and distance heads: they fit their encoder and know the helices of a tRNA."""

from __future__ import annotations

import pytest

from rnafm_cli.io.fasta import clean_record
from rnafm_cli.model import load_model
from rnafm_cli.structure.predict import predict
from rnafm_cli.structure.tertiary import load_tertiary_predictor
from rnafm_cli.weights.files import read_card
from rnafm_cli.weights.store import shipped_dir

pytest.importorskip("RNA")
TASKS = ("contact", "distance")
TRNA = "GCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA"
ACCEPTOR = [(k, 71 - k) for k in range(7)]


def test_the_heads_belong_to_the_encoder() -> None:
    folder = shipped_dir()
    encoder = read_card(folder / "rnafm-mini.safetensors").weights_sha256
    for task in TASKS:
        card = read_card(folder / f"rnafm-mini-{task}.safetensors")
        assert (card.kind, card.encoder_sha256) == (task, encoder)
        assert card.metrics["cross_validated"]


def test_the_acceptor_stem_of_a_trna() -> None:
    model = load_model()
    predictor = load_tertiary_predictor(model, TASKS, prior=True, warn=pytest.fail)
    record = clean_record("tRNA", TRNA)
    (maps,) = predict([record], predictor)
    assert maps.contact_LL is not None and maps.distance_LL is not None
    for i, j in ACCEPTOR:
        assert maps.contact_LL[i, j] > 0.5
        assert maps.distance_LL[i, j] < 8
    assert maps.distance_LL[0, 34] > 15
