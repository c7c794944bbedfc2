from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from support.closeness import kmer_set

from rnafm_cli.encoder.config import ENCODER_PRESETS
from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.encoder.vectors import kmer_frequencies, knn_transfer, one_hot
from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.pretrain.report import (
    held_out_figures,
    linear_probe,
    markov_score,
    markov_tables,
    probe_figures,
    transfer_figures,
)
from rnafm_cli.pretrain.sampling import held_out_plan
from rnafm_cli.pretrain.shards import Corpus, Split
from rnafm_cli.rna.kmers import separate_folds
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.files import save_model_file


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NamedModel:
    torch.manual_seed(1)
    encoder, path = Encoder(ENCODER_PRESETS["rnafm-tiny"]), tmp_path_factory.mktemp("model") / "tiny.safetensors"
    card = Card(name="tiny", kind="encoder", config=dataclasses.asdict(encoder.config))
    save_model_file(path, encoder.state_dict(), card)
    return NamedModel(str(path), Runtime.create("cpu", threads=1))


def silent(line: str) -> None:
    assert line


def test_the_chain_counts_what_stands_left_of_a_letter(corpus_folder: Path) -> None:
    corpus = Corpus(corpus_folder)
    tables = markov_tables(corpus, exponent=1.0, order=2)
    counts = np.full((4, 4, 4), 0.01)
    for index in corpus.members(Split.TRAIN):
        codes = corpus.tokens(int(index)).astype(int) - 4
        for a, b, c in zip(codes, codes[1:], codes[2:], strict=False):
            counts[a, b, c] += 1
    # The number of a context counts its last letter first.
    assert np.exp(tables[2][1])[:4] == pytest.approx(counts[0, 1] / (counts[0, 1].sum() + 0.12), rel=0.02)
    letters = np.concatenate([corpus.tokens(int(index)) for index in corpus.members(Split.TRAIN)])
    assert np.exp(tables[0][0])[:4] == pytest.approx(np.bincount(letters - 4)[:4] / len(letters), rel=0.01)
    assert all(np.exp(table).sum(axis=1) == pytest.approx(np.ones(len(table))) for table in tables)


def test_a_longer_context_helps_on_text_that_repeats(tmp_path: Path) -> None:
    from rnafm_cli.pretrain.holdout import HoldoutRules
    from rnafm_cli.pretrain.prepare import prepare_corpus

    rng = np.random.default_rng(0)
    lines = []
    for k in range(60):
        letters = [int(rng.integers(0, 4))]
        while len(letters) < 80:
            letters.append((letters[-1] + 1) % 4 if rng.random() < 0.9 else int(rng.integers(0, 4)))
        lines.append(f">s{k}\n" + "".join("ACGU"[c] for c in letters))
    (tmp_path / "x.fa").write_text("\n".join(lines))
    rules = HoldoutRules(sequences=20, groups=0, filter_near=False)
    prepare_corpus([tmp_path / "x.fa"], tmp_path / "c", rules)
    corpus = Corpus(tmp_path / "c")
    tables = markov_tables(corpus)
    plan = held_out_plan(corpus, Split.RANDOM, sequences=0, window=62, seed=1)
    flat = markov_score(tables[:1], corpus, plan)
    first = markov_score(tables[:2], corpus, plan)
    assert flat.loss == pytest.approx(np.log(4), abs=0.03)
    assert first.loss < 0.6 and first.accuracy > 0.85
    assert flat.masked == first.masked > 100


def test_features_of_the_baselines() -> None:
    shares = kmer_frequencies(["ACGUA", "NNNN", "AC"])
    assert shares.shape == (3, 256)
    assert shares[0, 0b00011011] == 0.5 and shares[0].sum() == 1
    assert not shares[1:].any()
    letters = one_hot(["AU", "N", "CCCC"], length=3).toarray()
    assert letters.sum(axis=1).tolist() == [2, 0, 3]
    assert letters[0, 0] == letters[0, 4 + 3] == 1


def test_near_copies_stay_in_one_fold() -> None:
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(12):
        base = rng.integers(0, 4, size=90)
        for _ in range(4):
            copy = base.copy()
            copy[rng.integers(0, 90, size=2)] = rng.integers(0, 4, size=2)
            sequences.append("".join("ACGU"[c] for c in copy))
    fold = separate_folds(sequences, folds=4)
    assert all(len(set(fold[start : start + 4])) == 1 for start in range(0, 48, 4))
    assert np.bincount(fold).tolist() == [12] * 4
    sets = [kmer_set(sequence) for sequence in sequences]
    for a in range(48):
        for b in range(a):
            if len(sets[a] & sets[b]) > 0.5 * max(len(sets[a]), len(sets[b])):
                assert fold[a] == fold[b]


@pytest.mark.parametrize("as_sparse", [False, True])
def test_neighbours_recover_separated_types(as_sparse: bool) -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(3, 8) * 5
    truth = rng.integers(0, 3, size=150)
    vectors = centres[truth] + rng.normal(size=(150, 8)) * 0.3
    labels = ["abc"[k] for k in truth]
    fold = rng.integers(0, 5, size=150)
    result = knn_transfer(sparse.csr_matrix(vectors) if as_sparse else vectors, labels, fold)
    assert result.accuracy == result.macro_accuracy == 1.0
    shuffled = knn_transfer(vectors, list(rng.permutation(labels)), fold)
    assert shuffled.macro_accuracy < 0.6


def test_the_neighbours_of_another_fold_decide() -> None:
    vectors = np.asarray([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [0.01, 1.0]])
    # The only near neighbour of each row is in its own fold, so it may not vote.
    result = knn_transfer(vectors, ["a", "a", "b", "b"], np.asarray([0, 0, 1, 1]), neighbours=2)
    assert result.accuracy == 0.0


def test_the_probe_minimises_its_objective() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, size=200)
    x = rng.normal(size=(200, 5)) + np.eye(3, 5)[truth] * 3
    labels = ["abc"[k] for k in truth]
    assert linear_probe(x, labels, 150).accuracy > 0.85
    assert linear_probe(x[:, 3:], labels, 150).accuracy < 0.6


def test_figures_of_an_encoder(model: NamedModel, corpus_folder: Path, tmp_path: Path) -> None:
    held_out = held_out_figures(model, corpus_folder, crop=64, report=silent)
    for part in ("random", "group"):
        figures = held_out[part]
        assert figures["model"]["masked"] == figures["unigram"]["masked"] == figures["markov_5"]["masked"]
        assert figures["unigram"]["loss"] == pytest.approx(np.log(4), abs=0.1)
        assert figures["model"]["loss"] > 2
    again = held_out_figures(model, corpus_folder, crop=64, report=silent)
    assert again == held_out

    from corpora import family_fasta

    transfer = transfer_figures(model, family_fasta(tmp_path / "t.fa"), per_type=30, report=silent)
    assert transfer["types"] == 4 and transfer["sequences"] == 120
    assert set(transfer["model"]["by_type"]) == {"tRNA", "snoRNA", "riboswitch", "lncRNA"}
    assert {"random_encoder", "kmer_4", "one_hot"} <= set(transfer)
    assert {"model_whitened", "random_encoder_whitened", "kmer_4_whitened"} <= set(transfer)

    table = tmp_path / "p.tsv"
    rows = [f"{'AAC' * 12}\ta", f"{'GGU' * 12}\tb", f"{'AAC' * 9}\ta", f"{'GGU' * 9}\tb"]
    splits = ["train", "train", "dev", "dev"]
    table.write_text("sequence\tlabel\tsplit\n" + "\n".join(f"{r}\t{s}" for r, s in zip(rows, splits, strict=True)))
    probe = probe_figures(model, table, report=silent)
    assert probe["kmer_4"]["accuracy"] == probe["model"]["accuracy"] == probe["model_whitened"]["accuracy"] == 1.0
    # DNA in small letters is the same.
    table.write_text(table.read_text().replace("AAC", "aac").replace("GGU", "ggt"))
    assert probe_figures(model, table, report=silent) == probe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ACGUACGUA\ta\ttrain\nACGUACGUA\ta\n", "p.tsv:3: 2 cells under 3 columns"),
        ("ACGUACGUA\ta\ttrain\nACGUACGUA\tzz\tdev\n", "no training row has the label zz"),
        ("ACJ\ta\ttrain\n", "p.tsv:2: 'J' is no nucleotide"),
        ("ACGUACGUA\ta\ttrain\n", "needs rows of split train and of split dev"),
    ],
)
def test_rows_that_cannot_be_probed_are_named(model: NamedModel, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.tsv").write_text("sequence\tlabel\tsplit\n" + text)
    with pytest.raises(InputError, match=message):
        probe_figures(model, tmp_path / "p.tsv", report=silent)


def test_windows_longer_than_the_model_are_refused(model: NamedModel, corpus_folder: Path) -> None:
    with pytest.raises(UsageError, match="--crop 5000 is more than the model's"):
        held_out_figures(model, corpus_folder, crop=5000, report=silent)
