"""The shipped RBP and MRL heads: known motifs come out, upstream starts cost ribosomes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnafm_cli.models.binding import matching
from rnafm_cli.models.files import read_card
from rnafm_cli.models.folders import shipped_dir
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.tasks.model import load_model
from rnafm_cli.tasks.mrl import LoadPredictor, load
from rnafm_cli.tasks.rbp import BindingPredictor, bind
from rnafm_cli.tasks.saliency import saliency
from rnafm_cli.tasks.utr_variants import scan

MOTIFS = [
    ("PUM2", "UGUAAAUA"),
    ("QKI", "ACUAACACUAAC"),
    ("TIA1", "UUUUUUUUUU"),
    ("HNRNPC", "UUUUUUUU"),
    ("ELAVL1", "UUUAUUUAUUU"),
    ("TDP43", "GUGUGUGUGUGU"),
]
BACKGROUNDS = 24


def usable(task: str) -> bool:
    """Whether the head is shipped and belongs to the shipped encoder."""
    head, encoder = (shipped_dir() / f"rnafm-mini{part}.safetensors" for part in (f"-{task}", ""))
    return head.exists() and encoder.exists() and read_card(head).encoder_sha256 == read_card(encoder).weights_sha256


needs_rbp = pytest.mark.skipif(not usable("rbp"), reason="weights/ holds no RBP head of the shipped encoder yet")
needs_mrl = pytest.mark.skipif(not usable("mrl"), reason="weights/ holds no MRL head of the shipped encoder yet")


def windows(motif: str) -> tuple[list[SequenceRecord], list[SequenceRecord]]:
    """Random windows with a motif in the middle, and the same with its letters shuffled or replaced."""
    rng, size = np.random.default_rng(0), len(motif)
    marked, plain = [], []
    for k in range(BACKGROUNDS):
        text = "".join(rng.choice(list("ACGU"), 101))
        # Letters of one kind stay what they are however they are shuffled.
        other = "".join(rng.permutation(list(motif))) if len(set(motif)) > 2 else text[45 : 45 + size]
        marked.append(SequenceRecord(f"m{k}", text[:45] + motif + text[45 + size :]))
        plain.append(SequenceRecord(f"p{k}", text[:45] + other + text[45 + size :]))
    return marked, plain


@needs_rbp
@pytest.mark.parametrize(("protein", "motif"), MOTIFS)
def test_known_motifs_come_out(protein: str, motif: str) -> None:
    model = load_model(device="cpu")
    predictor = BindingPredictor(model)
    (name, *_) = [name for name in matching(predictor.proteins, protein) if name.startswith("RBP31")]
    number = predictor.proteins.index(name)
    marked, plain = windows(motif)
    odds = []
    for part in (marked, plain):
        p = np.array([one.probabilities_P[number] for one in bind(part, predictor, model)])
        odds.append(np.log(p / (1 - p)))
    assert np.mean(odds[0] - odds[1]) > 0.5
    assert (odds[0] > odds[1]).mean() > 0.7
    best = marked[int(np.argmax(odds[0]))]
    importance_L = saliency(best, predictor, model, batch_tokens=8192).importance_PL[number]
    inside, outside = importance_L[45 : 45 + len(motif)], np.delete(importance_L, np.s_[45 : 45 + len(motif)])
    assert inside.mean() > 3 * np.abs(outside).mean()


@needs_rbp
def test_the_rbp_card_holds_its_figures() -> None:
    card = read_card(shipped_dir() / "rnafm-mini-rbp.safetensors")
    assert len(card.config["proteins"]) == 24 == len(card.config["calibration"])
    figures = [card.metrics[name]["auprc"] for name in card.config["proteins"] if name.startswith("RBP31")]
    assert len(figures) == 20 and np.mean(figures) > 0.6


@needs_mrl
def test_upstream_starts_cost_ribosomes() -> None:
    model = load_model(device="cpu")
    predictor = LoadPredictor(model)
    rng = np.random.default_rng(0)
    plain, shifted, framed = [], [], []
    for k in range(30):
        text = "".join(rng.choice(list("ACGU"), 51)).replace("AUG", "ACG").replace("UAA", "UCA")
        text = text.replace("UAG", "UCG").replace("UGA", "UCA").replace("AUG", "ACG")
        plain.append(SequenceRecord(f"p{k}", text))
        shifted.append(SequenceRecord(f"s{k}", text[:20] + "AUG" + text[23:]))
        framed.append(SequenceRecord(f"f{k}", text[:21] + "AUG" + text[24:]))
    means = [np.mean([one.mrl for one in load(part, predictor, model)]) for part in (plain, shifted, framed)]
    assert means[0] - means[1] > 1.5
    assert means[0] - means[2] < 0.5 * (means[0] - means[1])


@needs_mrl
def test_a_scan_finds_the_variant_that_makes_a_start() -> None:
    model = load_model(device="cpu")
    record = SequenceRecord("u", "CCAACCUCACCUACUCAUCCACCACAAUCCACAACACCUCUCAACCUCCA")
    effects = list(scan(record, LoadPredictor(model), model))
    worst = min(effects, key=lambda effect: effect.change)
    assert record.sequence[worst.position - 2 : worst.position] + worst.alt == "AUG" and worst.change < -1
    assert Path(shipped_dir() / "rnafm-mini-mrl.json").exists()
