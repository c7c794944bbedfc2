"""RNAs through the encoder: length-bucketed batches, windows for long RNAs, results in input order; one row per
nucleotide, or one vector per RNA.

Shape suffixes: L nucleotides (or codons), T tokens with <cls>/<eos>, D width, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from rnafm_cli import __version__
from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import Runtime, mixed_precision
from rnafm_cli.encoder.workers import blend_weights, buckets, read_ahead, window_starts, worked
from rnafm_cli.errors import InputError, Reject, UsageError, raise_rejected
from rnafm_cli.rna.records import SequenceRecord

if TYPE_CHECKING:
    from rnafm_cli.encoder.model import NamedModel


_Made = TypeVar("_Made")

LongRnas = Literal["window", "error", "skip"]
"""What happens to RNAs beyond the encoder's limit."""
Pooling = Literal["none", "mean", "max", "cls"]
_POOLED: dict[Pooling, Callable[[Encoded], Tensor]] = {
    "none": lambda one: one.rows_LD,
    "mean": lambda one: one.rows_LD.mean(0),
    "max": lambda one: one.rows_LD.amax(0),
    "cls": lambda one: one.cls_D,
}

DEFAULT_BATCH_TOKENS = 4096
OVERLAP_SHARE = 4
"""Neighbouring windows share a quarter of a window."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """One record's representations of one layer."""

    record: SequenceRecord
    rows_LD: Tensor
    """float32 on the CPU; row i is nucleotide (codon) i."""
    cls_D: Tensor
    """float32; the <cls> row, averaged over windows where there are several."""


def encode(
    records: Sequence[SequenceRecord],
    encoder: Encoder,
    runtime: Runtime,
    *,
    layer: int | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
) -> list[Encoded]:
    """Every record's representations, in input order.

    A record beyond the encoder's limit is cut into windows of full length that overlap by at least a
    quarter; rows that several windows hold are averaged with weights falling linearly towards a cut.

    Args:
        records: clean sequences, of whole codons for a codon model.
        layer: 0 (embedding) to ``encoder.config.layers`` (default: the last, after the final norm).
        batch_tokens: tokens per batch, pads included.
    """
    config = encoder.config
    unit, size = config.alphabet.unit, config.max_length
    layer = config.layers if layer is None else layer
    windows = [
        (owner, start)
        for owner, record in enumerate(records)
        for start in window_starts(len(record.sequence) // unit, size, size // OVERLAP_SHARE)
    ]
    texts = [records[owner].sequence[start * unit : (start + size) * unit] for owner, start in windows]
    outputs: list[list[tuple[int, Tensor]]] = [[] for _ in records]
    for group in buckets([len(text) // unit + 2 for text in texts], batch_tokens):
        with torch.inference_mode():
            tokens_BT = _tokens([texts[k] for k in group], encoder).to(runtime.device)
            hidden_BTD = encoder(tokens_BT, layers=(layer,)).hidden[layer].float().cpu()
        for k, rows_TD in zip(group, hidden_BTD, strict=True):
            owner, start = windows[k]
            outputs[owner].append((start, rows_TD[: len(texts[k]) // unit + 2]))
    # The windows of an RNA are equally long: they stay in order when sorted by length.
    return [_blended(record, found, config) for record, found in zip(records, outputs, strict=True)]


def _tokens(sequences: Sequence[str], encoder: Encoder) -> Tensor:
    """(B, T) tokens, padded on the right."""
    alphabet = encoder.config.alphabet
    rows = [torch.from_numpy(alphabet.encode(sequence).astype(np.int64)) for sequence in sequences]
    return pad_sequence(rows, batch_first=True, padding_value=alphabet.pad)


def _blended(record: SequenceRecord, windows: list[tuple[int, Tensor]], config: EncoderConfig) -> Encoded:
    """One record from the starts and (T, D) rows of its windows."""
    if len(windows) == 1:
        rows_TD = windows[0][1]
        return Encoded(record, rows_TD[1:-1], rows_TD[0])
    length, size = len(record.sequence) // config.alphabet.unit, config.max_length
    rows_LD, total_L = torch.zeros(length, config.width), torch.zeros(length)
    for start, rows_TD in windows:
        weights = torch.from_numpy(blend_weights(start, size, length, size // OVERLAP_SHARE))
        rows_LD[start : start + size] += weights[:, None] * rows_TD[1:-1]
        total_L[start : start + size] += weights
    return Encoded(record, rows_LD / total_L[:, None], torch.stack([rows_TD[0] for _, rows_TD in windows]).mean(0))


def shared_out(
    records: Iterable[SequenceRecord],
    work: Callable[[Sequence[SequenceRecord]], Sequence[_Made | InputError]],
    runtime: Runtime,
    *,
    encoder: Encoder | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    long: LongRnas = "window",
    reject: Reject = raise_rejected,
    alone: Callable[[Sequence[SequenceRecord]], bool] = lambda records: False,
) -> Iterator[_Made]:
    """Yield what ``work`` makes of every record, in input order; batches go to the runtime's workers.

    Args:
        work: gives a result, or why there is none, for each record of a batch; it may run in another process.
        encoder: what ``work`` uses, if it does; what that cannot take is rejected before.
        batch_tokens: tokens of the first batches; later ones are larger.
        long: what happens to records beyond the encoder's limit.
        reject: called with the error of a record that cannot be used; when it returns, the record is left out.
        alone: batches that need all the memory there is.
    """
    if encoder is not None:
        records = within_limit(records, encoder, long, reject)
    unit = 1 if encoder is None else encoder.config.alphabet.unit
    # Large batches have more RNAs of one length in them, small ones keep every worker busy to the end.
    cap = 2 if runtime.workers > 1 else 16
    batches = read_ahead(records, lambda record: len(record.sequence) // unit + 2, batch_tokens, cap=cap)
    for results in worked(work, batches, processes=runtime.workers, alone=alone):
        for result in results:
            if isinstance(result, InputError):
                reject(result)
            else:
                yield result


def within_limit(
    records: Iterable[SequenceRecord], encoder: Encoder, long: LongRnas, reject: Reject
) -> Iterator[SequenceRecord]:
    """The records that the encoder takes: whole codons, and within its limit unless ``long`` is ``window``."""
    if long not in get_args(LongRnas):
        raise UsageError(f"'{long}' is no way to treat long RNAs", hint=f"known are {', '.join(get_args(LongRnas))}")
    config = encoder.config
    limit = config.max_length * config.alphabet.unit
    for record in records:
        if len(record.sequence) % config.alphabet.unit:
            reject(
                InputError(
                    f"{record.where}: length {len(record.sequence)} is not a multiple of 3",
                    hint="this model reads coding sequences codon by codon: give whole codons from the start codon",
                )
            )
        elif len(record.sequence) > limit and long != "window":
            problem = f"{record.where}: {len(record.sequence)} nt, the model takes {limit}"
            reject(InputError(problem, hint="--long window blends overlapping windows"))
        else:
            yield record


def embed(
    records: Iterable[SequenceRecord],
    encoder: Encoder,
    runtime: Runtime,
    *,
    layer: int = -1,
    pool: Pooling = "none",
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    long: LongRnas = "window",
    reject: Reject = raise_rejected,
) -> Iterator[tuple[SequenceRecord, np.ndarray]]:
    """Yield (record, float32 array) in input order.

    The array is (L, D) with row i for nucleotide (codon) i, specials stripped; or (D,) when pooled:
    ``mean`` and ``max`` over the L rows, ``cls`` the row of the <cls> token.

    Raises:
        UsageError: when the layer or the pooling does not exist.
    """
    if pool not in _POOLED:
        raise UsageError(f"there is no pooling '{pool}'", hint=f"known are {', '.join(_POOLED)}")
    number = resolve_layer(layer, encoder.config.layers)

    def work(batch: Sequence[SequenceRecord]) -> list[tuple[SequenceRecord, np.ndarray]]:
        encoded = encode(batch, encoder, runtime, layer=number, batch_tokens=batch_tokens)
        return [(one.record, _POOLED[pool](one).numpy()) for one in encoded]

    yield from shared_out(records, work, runtime, encoder=encoder, batch_tokens=batch_tokens, long=long, reject=reject)


def resolve_layer(layer: int, layers: int) -> int:
    """The number of a layer, 0 (embedding) to ``layers``; negative numbers count from the end."""
    number = layer + layers + 1 if layer < 0 else layer
    if not 0 <= number <= layers:
        raise UsageError(f"layer {layer} does not exist", hint=f"this encoder has 0 (embedding) to {layers}")
    return number


def embedding_provenance(model: NamedModel, *, layer: int, pool: Pooling, command: str = "") -> dict[str, str | int]:
    """What a file of embeddings says about how they were made."""
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


def embed_batch(encoder: Encoder, sequences: Sequence[str], *, bf16: bool) -> list[Tensor]:
    """Per-nucleotide representations of the last layer, (L, D) float32 each, gradients kept if they are on."""
    device = encoder.embed.weight.device
    with mixed_precision(device.type, bf16=bf16):
        hidden_BTD = encoder(_tokens(sequences, encoder).to(device)).hidden[encoder.config.layers].float()
    return [hidden_BTD[k, 1 : len(sequence) + 1] for k, sequence in enumerate(sequences)]


def embed_padded(encoder: Encoder, sequences: Sequence[str], width: int, *, bf16: bool) -> Tensor:
    """(B, ``width``, D) of the same, zero after the end of each sequence."""
    rows = embed_batch(encoder, sequences, bf16=bf16)
    return torch.stack([F.pad(row_LD, (0, 0, 0, width - len(row_LD))) for row_LD in rows])
