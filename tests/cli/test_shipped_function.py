"""The shipped RBP and MRL heads: known motifs come out, upstream starts cost ribosomes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from support.command import Command

from rnafm_cli.function.mrl import MrlPredictor, ribosome_load, scan
from rnafm_cli.function.rbp import BindingPredictor, bind, matching
from rnafm_cli.model import load_model
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.weights.cards import read_card
from rnafm_cli.weights.store import shipped_dir

MOTIFS = {
    "PUM2": "UGUAAAUA",
    "QKI": "ACUAACACUAAC",
    "TIA1": "UUUUUUUUUU",
    "HNRNPC": "UUUUUUUU",
    "ELAVL1": "UUUAUUUAUUU",
    "TDP43": "GUGUGUGUGUGU",
}
START = 45
"""Where a motif begins in its window."""
BACKGROUNDS = 24
EXPLAINED = 2
"""Windows of each motif whose saliency is computed: each is 303 windows through the encoder."""


def windows(motif: str, count: int = BACKGROUNDS) -> tuple[list[SequenceRecord], list[SequenceRecord]]:
    """Random windows with a motif in the middle, and the same with its letters shuffled or replaced."""
    rng, size = np.random.default_rng(0), len(motif)
    marked, plain = [], []
    for k in range(count):
        text = "".join(rng.choice(list("ACGU"), 101))
        # Letters of one kind stay what they are however they are shuffled.
        other = "".join(rng.permutation(list(motif))) if len(set(motif)) > 2 else text[START : START + size]
        marked.append(SequenceRecord(f"m{k}", text[:START] + motif + text[START + size :]))
        plain.append(SequenceRecord(f"p{k}", text[:START] + other + text[START + size :]))
    return marked, plain


@pytest.mark.parametrize("protein", MOTIFS)
def test_known_motifs_are_bound(protein: str) -> None:
    model = load_model(device="cpu")
    predictor = BindingPredictor(model)
    (name, *_) = [name for name in matching(predictor.proteins, protein) if name.startswith("RBP31")]
    number = predictor.proteins.index(name)
    odds = []
    for part in windows(MOTIFS[protein]):
        p = np.array([one.probabilities_P[number] for one in bind(part, predictor)])
        odds.append(np.log(p / (1 - p)))
    assert np.mean(odds[0] - odds[1]) > 0.5
    assert (odds[0] > odds[1]).mean() > 0.7


@pytest.mark.parametrize("protein", MOTIFS)
def test_known_motifs_come_out_of_saliency(protein: str, rnafm: Command, tmp_path: Path) -> None:
    motif, folder = MOTIFS[protein], tmp_path / "why"
    marked, _ = windows(motif, EXPLAINED)
    fasta = "".join(f">{one.id}\n{one.sequence}\n" for one in marked)
    result = rnafm("rbp", "--protein", protein, "--saliency", folder, stdin=fasta)
    assert result.returncode == 0, result.stderr
    with (folder / "saliency.tsv").open(newline="") as lines:
        table = [row for row in csv.DictReader(lines, delimiter="\t") if row["protein"].startswith("RBP31")]
    profiles, kept = [], []
    inside = np.arange(START, START + len(motif))
    for one in marked:
        rows = [row for row in table if row["id"] == one.id]
        assert "".join(row["base"] for row in rows) == one.sequence
        profiles.append([float(row["importance"]) for row in rows])
        kept += [max(float(rows[k][f"to_{letter}"]) for letter in "ACGU") <= 0.1 for k in inside]
        assert list(folder.glob(f"{one.id}.RBP31_{protein}_*.svg"))
    importance_L = np.mean(profiles, axis=0)
    # The most important word of the motif's length is the motif, or overlaps most of it.
    heights = np.convolve(importance_L, np.ones(len(motif)), mode="valid")
    assert abs(int(heights.argmax()) - START) <= len(motif) // 3
    assert importance_L[inside].mean() > 3 * np.abs(np.delete(importance_L, inside)).mean()
    # Few letters of the motif could be replaced by one that the protein likes better.
    assert np.mean(kept) > 0.7


def test_the_rbp_card_holds_its_figures() -> None:
    card = read_card(shipped_dir() / "rnafm-mini-rbp.safetensors")
    assert len(card.config["proteins"]) == 24 == len(card.config["calibration"])
    figures = [card.metrics[name]["auprc"] for name in card.config["proteins"] if name.startswith("RBP31")]
    assert len(figures) == 20 and np.mean(figures) > 0.6


def test_upstream_starts_cost_ribosomes() -> None:
    model = load_model(device="cpu")
    predictor = MrlPredictor(model)
    rng = np.random.default_rng(0)
    plain, shifted, framed = [], [], []
    for k in range(30):
        text = "".join(rng.choice(list("ACGU"), 51)).replace("AUG", "ACG").replace("UAA", "UCA")
        text = text.replace("UAG", "UCG").replace("UGA", "UCA").replace("AUG", "ACG")
        plain.append(SequenceRecord(f"p{k}", text))
        shifted.append(SequenceRecord(f"s{k}", text[:20] + "AUG" + text[23:]))
        framed.append(SequenceRecord(f"f{k}", text[:21] + "AUG" + text[24:]))
    means = [np.mean([one.mrl for one in ribosome_load(part, predictor)]) for part in (plain, shifted, framed)]
    assert means[0] - means[1] > 1.5
    assert means[0] - means[2] < 0.5 * (means[0] - means[1])


def test_a_scan_finds_the_variant_that_makes_a_start() -> None:
    model = load_model(device="cpu")
    record = SequenceRecord("u", "CCAACCUCACCUACUCAUCCACCACAAUCCACAACACCUCUCAACCUCCA")
    effects = next(scan([record], MrlPredictor(model)))
    worst = min(effects, key=lambda effect: effect.change)
    assert record.sequence[worst.position - 2 : worst.position] + worst.alt == "AUG" and worst.change < -1
    assert Path(shipped_dir() / "rnafm-mini-mrl.json").exists()
