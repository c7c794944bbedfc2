"""The shipped head for contacts and distances: it needs no encoder and knows the helices of a tRNA, family or not."""

from __future__ import annotations

import pytest

from rnafm_cli.io.fasta import as_records
from rnafm_cli.model import load_model
from rnafm_cli.structure.predict import predict
from rnafm_cli.structure.tertiary import load_tertiary_predictor
from rnafm_cli.weights.cards import read_card
from rnafm_cli.weights.store import shipped_dir

pytest.importorskip("RNA")
TASKS = ("contact", "distance")
TRNA = "GCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA"
ACCEPTOR = [(k, 71 - k) for k in range(7)]


def test_the_head_reads_no_encoder() -> None:
    card = read_card(shipped_dir() / "rnafm-mini-contact.safetensors")
    assert (card.kind, card.encoder_sha256, card.config["pair"]["embedding"]) == ("contact", None, 0)
    assert card.metrics["cross_validated"]


@pytest.mark.parametrize("families", [(), ("shipped",)])
def test_the_acceptor_stem_of_a_trna(families: tuple[str, ...]) -> None:
    model = load_model()
    predictor = load_tertiary_predictor(model, TASKS, prior=True, families=families, warn=pytest.fail)
    (record,) = as_records([("tRNA", TRNA)])
    (maps,) = predict([record], predictor)
    assert maps.relatives == (["tRNA"] if families else [])
    assert maps.contact_LL is not None and maps.distance_LL is not None
    for i, j in ACCEPTOR:
        assert maps.contact_LL[i, j] > 0.5
        assert maps.distance_LL[i, j] < 8
    assert maps.distance_LL[0, 34] > 15
    if families:
        # Elbow: the D loop touches the T loop, as no helix tells.
        assert maps.contact_LL[17:20, 53:57].max() > 0.8
