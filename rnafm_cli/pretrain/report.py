"""Every figure by which an encoder is judged: masked-token loss held out, transfer of RNA type, linear probe.

Shape suffixes: N sequences, D features, B batch, T tokens with <cls>/<eos>.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnafm_cli.encoder.network import Encoder, untrained
from rnafm_cli.encoder.vectors import Transfer, fit_pca, kmer_frequencies, knn_transfer, one_hot, score_types
from rnafm_cli.encoder.workers import buckets, window_starts
from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.fasta import read_fasta
from rnafm_cli.pretrain.config import BatchSection
from rnafm_cli.pretrain.model import MaskedTokenModel
from rnafm_cli.pretrain.shards import Corpus, Split, verify_corpus
from rnafm_cli.pretrain.validation import HeldOutPart, MarkovChain, Score
from rnafm_cli.rna.kmers import separate_folds
from rnafm_cli.training.labelled_rows import read_classes
from rnafm_cli.training.trainer import Progress, Report

_POOL = 2048
"""Sequences that are sorted by length together."""


@torch.inference_mode()
def mean_pooled(
    encoder: Encoder,
    sequences: Sequence[str],
    *,
    batch_tokens: int = 8192,
    layer: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """(N, D) float32: the mean over a sequence's nucleotides of one layer's representations.

    A sequence beyond the encoder's limit is cut into even windows that overlap as little as possible; a
    nucleotide in two windows counts once for each.

    Args:
        layer: 0 to the number of layers; the last (after the final norm) if None.
        report: called with the number of sequences that are done, and of all.
    """
    config = encoder.config
    layer = config.layers if layer is None else layer
    sums = np.zeros((len(sequences), config.width), dtype=np.float64)
    counts = np.zeros(len(sequences))
    for first in range(0, len(sequences), _POOL):
        owners: list[int] = []
        windows: list[np.ndarray] = []
        for number, sequence in enumerate(sequences[first : first + _POOL], start=first):
            for start in window_starts(len(sequence), config.max_length, 0):
                owners.append(number)
                windows.append(config.alphabet.encode(sequence[start : start + config.max_length]))
        for group in buckets([len(window) for window in windows], batch_tokens):
            for k, total_D in zip(group, _window_sums(encoder, [windows[k] for k in group], layer), strict=True):
                sums[owners[k]] += total_D
                counts[owners[k]] += len(windows[k]) - 2
        report(min(first + _POOL, len(sequences)), len(sequences))
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)


def _window_sums(encoder: Encoder, windows: list[np.ndarray], layer: int) -> np.ndarray:
    device = encoder.embed.weight.device
    width = max(len(window) for window in windows)
    tokens_BT = np.full((len(windows), width), encoder.config.alphabet.pad, dtype=np.int64)
    inside_BT = np.zeros((len(windows), width), dtype=np.float32)
    for row, window in enumerate(windows):
        tokens_BT[row, : len(window)] = window
        inside_BT[row, 1 : len(window) - 1] = 1
    x_BTD = encoder(torch.from_numpy(tokens_BT).to(device), layers=(layer,)).hidden[layer].float()
    inside = torch.from_numpy(inside_BT).to(device)
    return torch.einsum("btd,bt->bd", x_BTD, inside).cpu().numpy()


def linear_probe(
    train: np.ndarray, train_labels: Sequence[str], dev: np.ndarray, dev_labels: Sequence[str], *, strength: float = 0.1
) -> Transfer:
    """Multinomial logistic regression on standardised vectors, ``strength`` being scikit-learn's C."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000)).fit(train, train_labels)
    return score_types(np.asarray(dev_labels), probe.predict(dev))


def held_out_figures(
    encoder: Encoder,
    folder: Path,
    *,
    sequences: int = 0,
    crop: int = 256,
    seed: int = 1,
    report: Report,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Masked-token loss (nats) and accuracy on both held-out parts, beside unigram and order-5 Markov.

    Args:
        folder: prepared corpus.
        sequences: of each part; 0 takes all.
        crop: longest window in tokens; the same windows and masks for every model with the same seed.
    """
    if encoder.token_head is None:
        raise InputError("this model has no masked-token head", hint="leave out --corpus, or evaluate another model")
    if crop > encoder.config.max_tokens:
        raise UsageError(f"--crop {crop} is more than the model's {encoder.config.max_tokens} tokens")
    verify_corpus(folder)
    corpus = Corpus(folder)
    report("counting letters and 6-mers of the training part")
    chain = MarkovChain(corpus)
    model = MaskedTokenModel(encoder).eval()
    figures: dict[str, Any] = {"crop": crop, "seed": seed, "corpus": corpus.fingerprint}
    section = BatchSection(layout="bucket", tokens=8192)
    for split in (Split.RANDOM, Split.GROUP):
        if not len(corpus.members(split)):
            continue
        part = HeldOutPart(corpus, split, sequences=sequences, section=section, crop=crop, seed=seed)
        report(f"masked tokens of {len(part.plan):,} sequences of the {part.name} hold-out")
        told = partial(progress, f"batches of the {part.name} hold-out")
        figures[part.name] = {
            "sequences": len(part.plan),
            "model": _score(part.score(model, encoder.embed.weight.device, bf16=False, progress=told)),
            "unigram": _score(chain.score(corpus, part.plan, order=0)),
            "markov_5": _score(chain.score(corpus, part.plan, order=5)),
        }
    return figures


def transfer_figures(
    encoder: Encoder,
    fasta: Path,
    *,
    per_type: int = 0,
    seed: int = 0,
    batch_tokens: int = 8192,
    report: Report,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Nearest-neighbour transfer of the ``type=`` of FASTA records, beside 4-mers, one-hot and random weights.

    All but one-hot also whitened, by the covariance of these very sequences.

    Args:
        per_type: at most this many records of each type, a seeded choice; 0 takes all.
    """
    sequences, labels = _typed(fasta, per_type, seed)
    report(f"{len(sequences):,} sequences of {len(set(labels))} types: folds without near copies")
    fold = separate_folds(sequences, seed=seed)
    figures: dict[str, Any] = {
        "file": fasta.name,
        "sequences": len(sequences),
        "types": len(set(labels)),
        "per_type": per_type,
        "seed": seed,
    }

    def vectors(which: Encoder, name: str) -> np.ndarray:
        return mean_pooled(
            which,
            sequences,
            batch_tokens=batch_tokens,
            report=partial(progress, f"embedding by {name}"),
        )

    compared = {"model": vectors(encoder, "the model"), "random_encoder": vectors(untrained(encoder), "random weights")}
    report("4-mers and one-hot")
    compared["kmer_4"] = kmer_frequencies(sequences)
    for name, points in compared.items():
        figures[name] = _transfer(knn_transfer(points, labels, fold))
        figures[f"{name}_whitened"] = _transfer(knn_transfer(_whiten(points, points), labels, fold))
    figures["one_hot"] = _transfer(knn_transfer(one_hot(sequences), labels, fold))
    return figures


def probe_figures(
    encoder: Encoder,
    table: Path,
    *,
    batch_tokens: int = 8192,
    report: Report,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Linear probe on a TSV with columns ``sequence``, ``label``, ``split`` (train, dev), beside 4-mers and random.

    All also whitened, by the covariance of the training rows.
    """
    rows = read_classes(table, "label")
    train = [(sequence, label) for sequence, label, split in rows if split == "train"]
    dev = [(sequence, label) for sequence, label, split in rows if split == "dev"]
    if not train or not dev:
        raise InputError(f"{table}: needs rows of split train and of split dev")
    if unknown := sorted({label for _, label in dev} - {label for _, label in train}):
        raise InputError(f"{table}: no training row has the label {', '.join(unknown)} of development rows")
    report(f"linear probe: {len(train):,} training and {len(dev):,} dev rows")

    sequences, labels = [sequence for sequence, _ in train + dev], [label for _, label in train]

    def vectors(which: Encoder, name: str) -> np.ndarray:
        told = partial(progress, f"embedding by {name}")
        return mean_pooled(which, sequences, batch_tokens=batch_tokens, report=told)

    def fitted(points: np.ndarray) -> dict[str, Any]:
        return _transfer(linear_probe(points[: len(train)], labels, points[len(train) :], [label for _, label in dev]))

    figures: dict[str, Any] = {"file": table.name, "train": len(train), "dev": len(dev)}
    compared = {
        "model": vectors(encoder, "the model"),
        "random_encoder": vectors(untrained(encoder), "random weights"),
        "kmer_4": kmer_frequencies(sequences),
    }
    for name, points in compared.items():
        figures[name] = fitted(points)
        figures[f"{name}_whitened"] = fitted(_whiten(points, points[: len(train)]))
    return figures


def _whiten(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Coordinates of equal variance along the principal axes of ``reference``."""
    return fit_pca(reference, reference.shape[1], whiten=True).coordinates(points)


def _typed(fasta: Path, per_type: int, seed: int) -> tuple[list[str], list[str]]:
    sequences: list[str] = []
    labels: list[str] = []
    for record in read_fasta([fasta]):
        values = dict(word.partition("=")[::2] for word in record.description.split())
        if "type" in values:
            sequences.append(record.sequence)
            labels.append(values["type"])
    if not sequences:
        raise InputError(f"{fasta}: no record has type= in its header")
    if per_type:
        order = np.random.default_rng(seed).permutation(len(sequences))
        shuffled = np.asarray(labels)[order]
        kept = np.sort(np.concatenate([order[shuffled == label][:per_type] for label in np.unique(shuffled)]))
        sequences, labels = [sequences[k] for k in kept], [labels[k] for k in kept]
    return sequences, labels


def _score(score: Score) -> dict[str, float]:
    return {key: round(value, 6) for key, value in dataclasses.asdict(score).items()}


def _transfer(transfer: Transfer) -> dict[str, Any]:
    return {
        "macro_accuracy": round(transfer.macro_accuracy, 6),
        "accuracy": round(transfer.accuracy, 6),
        "by_type": {name: round(value, 4) for name, value in transfer.by_type.items()},
    }
