"""How well a pair head folds development records, with chosen inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rnafm_cli.data.buckets import buckets
from rnafm_cli.data.prior_cache import PriorCache
from rnafm_cli.models.encoder import Encoder
from rnafm_cli.models.pair import PairHead, pair_probabilities
from rnafm_cli.rna.decode import DecodeOptions, decode
from rnafm_cli.rna.metrics import FoldScore, score_fold
from rnafm_cli.rna.records import StructureRecord

__all__ = ["ALL_INPUTS", "embed_batch", "prior_scores", "score_head"]

ALL_INPUTS = frozenset({"embedding", "sequence", "prior"})


def embed_batch(encoder: Encoder, sequences: Sequence[str], *, bf16: bool) -> list[Tensor]:
    """Per-nucleotide representations of the last layer, (L, D) float32 each, gradients kept if they are on."""
    alphabet = encoder.config.alphabet
    device = encoder.embed.weight.device
    widest = max(map(len, sequences)) + 2
    tokens_BT = torch.full((len(sequences), widest), alphabet.pad)
    for row, sequence in zip(tokens_BT, sequences, strict=True):
        row[: len(sequence) + 2] = torch.from_numpy(alphabet.encode(sequence).astype(np.int64))
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        hidden_BTD = encoder(tokens_BT.to(device)).hidden[encoder.config.layers].float()
    return [hidden_BTD[k, 1 : len(sequence) + 1] for k, sequence in enumerate(sequences)]


@torch.inference_mode()
def score_head(
    head: PairHead,
    encoder: Encoder | None,
    records: Sequence[StructureRecord],
    cache: PriorCache | None,
    *,
    inputs: frozenset[str] = ALL_INPUTS,
    options: DecodeOptions | None = None,
    pair_budget: int = 400_000,
    bf16: bool = True,
) -> list[FoldScore]:
    """Fold every record with the given inputs and score it; in the order of the records.

    Args:
        cache: holds every record's pair probabilities; not needed without ``prior`` among the inputs.
    """
    scores: dict[int, FoldScore] = {}
    for group in buckets([len(record.sequence) ** 2 for record in records], pair_budget):
        part = [records[k] for k in group]
        sequences = [record.sequence for record in part]
        embeddings = embed_batch(encoder, sequences, bf16=bf16) if encoder and "embedding" in inputs else None
        priors = [cache[s].dense(len(s)) for s in sequences] if cache is not None and "prior" in inputs else None
        found = pair_probabilities(
            head, sequences, embeddings=embeddings, priors=priors, use_sequence="sequence" in inputs, bf16=bf16
        )
        for k, record, p_LL in zip(group, part, found, strict=True):
            scores[k] = _score(record, p_LL, options)
    return [scores[k] for k in range(len(records))]


def prior_scores(
    records: Sequence[StructureRecord], cache: PriorCache, *, options: DecodeOptions | None = None
) -> list[FoldScore]:
    """The same for the prior alone, decoded in the same way."""
    return [_score(r, cache[r.sequence].dense(len(r.sequence)), options) for r in records]


def _score(record: StructureRecord, p_LL: np.ndarray, options: DecodeOptions | None) -> FoldScore:
    pairs = decode(p_LL, record.sequence, options)
    return score_fold(record.pairs, pairs, length=len(record.sequence), id=record.id, family=record.family)
