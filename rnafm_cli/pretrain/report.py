"""Every figure by which an encoder is judged: masked-token loss held out, transfer of RNA type, linear probe."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rnafm_cli.encoder.embed import embed
from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.encoder.network import Encoder, untrained
from rnafm_cli.encoder.vectors import (
    Transfer,
    chosen_per_label,
    fit_pca,
    kmer_frequencies,
    knn_transfer,
    one_hot,
    score_types,
)
from rnafm_cli.encoder.workers import window_starts
from rnafm_cli.errors import InputError, UsageError
from rnafm_cli.io.fasta import read_fasta
from rnafm_cli.pretrain.config import BatchSection
from rnafm_cli.pretrain.model import MaskedTokenModel
from rnafm_cli.pretrain.sampling import EpochPlan, TypeSampler, corrupt
from rnafm_cli.pretrain.shards import Corpus, Split, verify_corpus
from rnafm_cli.pretrain.validation import HeldOutPart, HeldOutScore
from rnafm_cli.rna.alphabet import NUCLEOTIDE
from rnafm_cli.rna.kmers import separate_folds
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.training.labelled_rows import read_classes
from rnafm_cli.training.trainer import Progress, Report

_BATCH_TOKENS = 8192


def held_out_figures(
    model: NamedModel,
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
    encoder, device = model.encoder, model.runtime.device
    if encoder.token_head is None:
        raise InputError("this model has no masked-token head", hint="leave out --corpus, or evaluate another model")
    if crop > encoder.config.max_tokens:
        raise UsageError(f"--crop {crop} is more than the model's {encoder.config.max_tokens} tokens")
    verify_corpus(folder)
    corpus = Corpus(folder)
    report("counting letters and 6-mers of the training part")
    tables = markov_tables(corpus)
    asked = MaskedTokenModel(encoder).eval()
    figures: dict[str, Any] = {"crop": crop, "seed": seed, "corpus": corpus.fingerprint}
    section = BatchSection(layout="bucket", tokens=_BATCH_TOKENS)
    for split in (Split.RANDOM, Split.GROUP):
        if not len(corpus.members(split)):
            continue
        part = HeldOutPart(corpus, split, sequences=sequences, section=section, crop=crop, seed=seed)
        report(f"masked tokens of {len(part.plan):,} sequences of the {part.name} hold-out")
        told = partial(progress, f"batches of the {part.name} hold-out")
        scores = {
            "model": part.score(asked, device, bf16=False, progress=told),
            "unigram": markov_score(tables[:1], corpus, part.plan),
            "markov_5": markov_score(tables, corpus, part.plan),
        }
        rounded = {
            name: {key: round(value, 6) for key, value in dataclasses.asdict(score).items()}
            for name, score in scores.items()
        }
        figures[part.name] = {"sequences": len(part.plan), **rounded}
    return figures


_FIRST = NUCLEOTIDE.letters.start
_BASES = 4
_LETTERS = NUCLEOTIDE.letters.stop - _FIRST
_CHUNK = 1 << 22


def markov_tables(corpus: Corpus, *, exponent: float = 0.5, order: int = 5) -> list[np.ndarray]:
    """Log probabilities of the letters (4 ** k, letters) after k true letters, k from 0 to ``order``.

    They are counted in the training part. Types are weighted as in training (share proportional to size ** exponent),
    which suits the chain better than the raw corpus when a few types dominate it. Contexts are A, C, G, U.
    """
    sampler = TypeSampler(corpus, exponent, window=1 << 30, seed=0)
    is_trained = corpus.splits == Split.TRAIN
    sizes = np.bincount(corpus.types[is_trained], corpus.lengths[is_trained])
    weight_of_type = np.zeros(int(corpus.types.max()) + 1)
    for kind, share in sampler.shares().items():
        weight_of_type[kind] = share * sizes.sum() / sizes[kind]
    weights = np.where(is_trained, weight_of_type[corpus.types], 0.0)
    counts = [np.full((_BASES**k, _LETTERS), 0.01) for k in range(order + 1)]
    for first, last in corpus.blocks(_CHUNK):
        lengths = corpus.lengths[first:last]
        codes, weight = corpus.tokens(first, last).astype(np.int64) - _FIRST, np.repeat(weights[first:last], lengths)
        for table, (is_known, context) in zip(counts, _contexts(codes, lengths, order), strict=True):
            keys = context[is_known] * _LETTERS + codes[is_known]
            table += np.bincount(keys, weight[is_known], minlength=table.size).reshape(table.shape)
    return [np.log(table / table.sum(axis=1, keepdims=True)) for table in counts]


def markov_score(tables: list[np.ndarray], corpus: Corpus, plan: EpochPlan) -> HeldOutScore:
    """Loss and accuracy of a chain at the very positions of held-out windows that a model is asked for.

    The chain sees the true letters to the left, which a model sees with 15 % of them corrupted. A position whose
    context is cut short by the window's start or by another letter falls back to a shorter one.
    """
    windows = [corpus.tokens(sequence)[start : start + length] for sequence, start, length, _ in plan.tolist()]
    chosen = [corrupt(window, key)[1] for window, key in zip(windows, plan.keys, strict=True)]
    asked = np.concatenate(chosen) + np.repeat(np.cumsum(plan.lengths) - plan.lengths, [len(one) for one in chosen])
    codes = np.concatenate(windows).astype(np.int64) - _FIRST
    log_p = np.zeros((len(asked), _LETTERS))
    for table, (is_known, context) in zip(tables, _contexts(codes, plan.lengths, len(tables) - 1), strict=True):
        known = is_known[asked]
        log_p[known] = table[context[asked[known]]]
    truth = codes[asked]
    loss, right = -log_p[np.arange(len(truth)), truth].sum(), (log_p.argmax(axis=1) == truth).sum()
    return HeldOutScore.of(float(loss), int(right), len(truth))


def _contexts(codes: np.ndarray, lengths: np.ndarray, order: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For k from 0 to ``order``: which letters have k bases to their left, and the number of the word of these.

    Args:
        codes: letters, those below 4 being bases, of sequences of some lengths one after another.
    """
    place = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    context, is_known = np.zeros(len(codes), dtype=np.int64), np.ones(len(codes), dtype=bool)
    yield is_known, context
    for k in range(1, order + 1):
        left = np.concatenate([np.full(k, _BASES), codes[:-k]])[: len(codes)]
        is_known = is_known & (place >= k) & (left < _BASES)
        context = context + np.where(is_known, left, 0) * _BASES ** (k - 1)
        yield is_known, context


def transfer_figures(
    model: NamedModel,
    fasta: Path,
    *,
    per_type: int = 0,
    seed: int = 0,
    batch_tokens: int = _BATCH_TOKENS,
    report: Report,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Nearest-neighbour transfer of the ``type=`` of FASTA records, beside 4-mers, one-hot and random weights.

    All but one-hot also whitened, by the covariance of these very sequences.

    Args:
        per_type: at most this many records of each type, a seeded choice; 0 takes all.
    """
    sequences, labels = _typed(fasta, per_type, seed)
    types = len(set(labels))
    report(f"{len(sequences):,} sequences of {types} types: folds without near copies")
    fold = separate_folds(sequences, seed=seed)
    figures: dict[str, Any] = {"file": fasta.name, "sequences": len(sequences), "types": types}
    figures |= {"per_type": per_type, "seed": seed}
    for name, points in _compared(model, sequences, len(sequences), batch_tokens, progress):
        figures[name] = _transfer(knn_transfer(points, labels, fold))
    figures["one_hot"] = _transfer(knn_transfer(one_hot(sequences), labels, fold))
    return figures


def probe_figures(
    model: NamedModel,
    table: Path,
    *,
    batch_tokens: int = _BATCH_TOKENS,
    report: Report,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Linear probe on a TSV with columns ``sequence``, ``label``, ``split`` (train, dev), beside 4-mers and random.

    All also whitened, by the covariance of the training rows.
    """
    rows = read_classes(table, "label")
    train, dev = ([(sequence, label) for sequence, label, split in rows if split == part] for part in ("train", "dev"))
    if not train or not dev:
        raise InputError(f"{table}: needs rows of split train and of split dev")
    if unknown := sorted({label for _, label in dev} - {label for _, label in train}):
        raise InputError(f"{table}: no training row has the label {', '.join(unknown)} of development rows")
    report(f"linear probe: {len(train):,} training and {len(dev):,} dev rows")
    sequences, labels = zip(*train, *dev, strict=True)
    figures: dict[str, Any] = {"file": table.name, "train": len(train), "dev": len(dev)}
    for name, points in _compared(model, sequences, len(train), batch_tokens, progress):
        figures[name] = _transfer(linear_probe(points, labels, len(train)))
    return figures


def linear_probe(points: np.ndarray, labels: Sequence[str], train: int) -> Transfer:
    """Multinomial logistic regression (C 0.1) on the first ``train`` vectors, standardised, scored on the others."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    probe.fit(points[:train], labels[:train])
    return score_types(np.asarray(labels[train:]), probe.predict(points[train:]))


def _compared(
    model: NamedModel, sequences: Sequence[str], reference: int, batch_tokens: int, progress: Progress
) -> Iterator[tuple[str, np.ndarray]]:
    """Mean vectors by the model, by random weights, and 4-mer shares, each also whitened by the first ``reference``.

    A sequence beyond the encoder's limit is cut into even windows that overlap as little as possible; a nucleotide in
    two windows counts once for each.
    """
    size = model.encoder.config.max_length
    starts = [window_starts(len(sequence), size, 0) for sequence in sequences]
    owners = np.repeat(np.arange(len(sequences)), [len(some) for some in starts])
    windows = [
        SequenceRecord("", sequence[start : start + size])
        for sequence, some in zip(sequences, starts, strict=True)
        for start in some
    ]

    def vectors(encoder: Encoder, by: str) -> np.ndarray:
        sums = np.zeros((len(sequences), encoder.config.width))
        rows = embed(windows, encoder, model.runtime, pool="mean", batch_tokens=batch_tokens)
        for number, (owner, (_, vector)) in enumerate(zip(owners, rows, strict=True), start=1):
            sums[owner] += vector
            progress(f"embedding by {by}", number, len(windows))
        return (sums / np.bincount(owners)[:, None]).astype(np.float32)

    makers = {
        "model": lambda: vectors(model.encoder, "the model"),
        "random_encoder": lambda: vectors(untrained(model.encoder), "random weights"),
        "kmer_4": lambda: kmer_frequencies(sequences),
    }
    for name, make in makers.items():
        points = make()
        yield name, points
        # Equal variance along the principal axes.
        yield f"{name}_whitened", fit_pca(points[:reference], points.shape[1], whiten=True).coordinates(points)


def _typed(fasta: Path, per_type: int, seed: int) -> tuple[list[str], list[str]]:
    records = [record for record in read_fasta([fasta]) if "type" in record.attributes]
    if not records:
        raise InputError(f"{fasta}: no record has type= in its header")
    labels = [record.attributes["type"] for record in records]
    kept = chosen_per_label(labels, per_type, seed=seed) if per_type else range(len(records))
    return [records[k].sequence for k in kept], [labels[k] for k in kept]


def _transfer(transfer: Transfer) -> dict[str, Any]:
    return {
        "macro_accuracy": round(transfer.macro_accuracy, 6),
        "accuracy": round(transfer.accuracy, 6),
        "by_type": {name: round(value, 4) for name, value in transfer.by_type.items()},
    }
