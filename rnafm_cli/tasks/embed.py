"""Embeddings of RNAs: one row per nucleotide, or one vector per RNA."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from rnafm_cli import __version__
from rnafm_cli.errors import Reject, UsageError, raise_rejected
from rnafm_cli.models.encoder import Encoder
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.tasks.encode import DEFAULT_BATCH_TOKENS, Encoded, encode
from rnafm_cli.tasks.runtime import Runtime

if TYPE_CHECKING:
    from rnafm_cli.tasks.model import Model

__all__ = ["Pooling", "embed", "embedding_provenance", "resolve_layer"]

Pooling = Literal["none", "mean", "max", "cls"]


def embed(
    records: Iterable[SequenceRecord],
    encoder: Encoder,
    runtime: Runtime,
    *,
    layer: int = -1,
    pool: Pooling = "none",
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    long: Literal["window", "error", "skip"] = "window",
    reject: Reject = raise_rejected,
) -> Iterator[tuple[SequenceRecord, np.ndarray]]:
    """Yield (record, float32 array) in input order.

    The array is (L, D) with row i for nucleotide (codon) i, specials stripped; or (D,) when pooled:
    ``mean`` and ``max`` over the L rows, ``cls`` the row of the <cls> token.

    Raises:
        UsageError: when the layer or the pooling does not exist.
    """
    if pool not in get_args(Pooling):
        raise UsageError(f"there is no pooling '{pool}'", hint=f"known are {', '.join(get_args(Pooling))}")
    number = resolve_layer(layer, encoder.config.layers)
    for encoded in encode(records, encoder, runtime, layer=number, batch_tokens=batch_tokens, long=long, reject=reject):
        yield encoded.record, _pooled(encoded, pool)


def resolve_layer(layer: int, layers: int) -> int:
    """The number of a layer, 0 (embedding) to ``layers``; negative numbers count from the end."""
    number = layer + layers + 1 if layer < 0 else layer
    if not 0 <= number <= layers:
        raise UsageError(f"layer {layer} does not exist", hint=f"this encoder has 0 (embedding) to {layers}")
    return number


def embedding_provenance(model: Model, *, layer: int, pool: Pooling, command: str = "") -> dict[str, str | int]:
    """What a file of embeddings says about how they were made.

    Raises:
        UsageError: when the layer does not exist.
    """
    config = model.encoder.config
    return {
        "rnafm_version": __version__,
        "model": model.name,
        "weights_sha256": model.encoder_card.weights_sha256,
        "layer": resolve_layer(layer, config.layers),
        "pooling": pool,
        "precision": model.runtime.precision,
        "unit": "codon" if config.alphabet.unit == 3 else "nucleotide",
        "dim": config.width,
        "command": command,
    }


def _pooled(encoded: Encoded, pool: Pooling) -> np.ndarray:
    rows_LD = encoded.rows_LD
    if pool == "mean":
        return rows_LD.mean(0).numpy()
    if pool == "max":
        return rows_LD.amax(0).numpy()
    if pool == "cls":
        return encoded.cls_D.numpy()
    return rows_LD.numpy()
