"""Records through the encoder: length-bucketed batches, windows for long RNAs, results in input order.

Shape suffixes: L nucleotides (or codons), T tokens with <cls>/<eos>, D width, B batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rnafm_cli.data.buckets import buckets, read_ahead
from rnafm_cli.data.windows import blend_weights, window_starts
from rnafm_cli.errors import InputError, Reject, raise_rejected
from rnafm_cli.models.encoder import Encoder
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.tasks.runtime import Runtime

__all__ = ["DEFAULT_BATCH_TOKENS", "Encoded", "encode"]

DEFAULT_BATCH_TOKENS = 4096
OVERLAP_SHARE = 4
"""Neighbouring windows share a quarter of a window."""


@dataclass
class Encoded:
    """One record's representations of one layer."""

    record: SequenceRecord
    rows_LD: Tensor
    """float32 on the CPU; row i is nucleotide (codon) i."""
    cls_D: Tensor
    """float32; the <cls> row, averaged over windows where there are several."""


@dataclass(frozen=True)
class _Piece:
    owner: int
    start: int
    tokens: np.ndarray


def encode(
    records: Iterable[SequenceRecord],
    encoder: Encoder,
    runtime: Runtime,
    *,
    layer: int | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    long: Literal["window", "error", "skip"] = "window",
    reject: Reject = raise_rejected,
) -> Iterator[Encoded]:
    """Yield every record's representations, in input order, in flat memory.

    A record beyond the encoder's limit is cut into windows of full length that overlap by at least a
    quarter; rows that several windows hold are averaged with weights falling linearly towards a cut.

    Args:
        records: clean sequences.
        layer: 0 (embedding) to ``encoder.config.layers`` (default: the last, after the final norm).
        batch_tokens: tokens per batch, pads included.
        long: what happens to records beyond the limit.
        reject: called with the error of a record that cannot be used; when it returns, the record is left out.
    """
    layer = encoder.config.layers if layer is None else layer
    usable = _usable(records, encoder, long, reject)
    unit = encoder.config.alphabet.unit
    for chunk in read_ahead(usable, lambda record: len(record.sequence) // unit + 2, batch_tokens):
        pieces = [piece for owner, record in enumerate(chunk) for piece in _pieces(owner, record, encoder)]
        outputs: list[Tensor] = [torch.empty(0)] * len(pieces)
        for group in buckets([len(piece.tokens) for piece in pieces], batch_tokens):
            hidden = _run(encoder, runtime, [pieces[k].tokens for k in group], layer)
            for k, rows_TD in zip(group, hidden, strict=True):
                outputs[k] = rows_TD
        yield from _assemble(chunk, pieces, outputs, encoder)


def _usable(records: Iterable[SequenceRecord], encoder: Encoder, long: str, reject: Reject) -> Iterator[SequenceRecord]:
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


def _pieces(owner: int, record: SequenceRecord, encoder: Encoder) -> list[_Piece]:
    config = encoder.config
    unit, size = config.alphabet.unit, config.max_length
    length = len(record.sequence) // unit
    starts = window_starts(length, size, size // OVERLAP_SHARE)
    return [
        _Piece(owner, start, config.alphabet.encode(record.sequence[start * unit : (start + size) * unit]))
        for start in starts
    ]


@torch.inference_mode()
def _run(encoder: Encoder, runtime: Runtime, batch: list[np.ndarray], layer: int) -> list[Tensor]:
    width = max(len(tokens) for tokens in batch)
    tokens_BT = np.full((len(batch), width), encoder.config.alphabet.pad, dtype=np.int64)
    for row, tokens in zip(tokens_BT, batch, strict=True):
        row[: len(tokens)] = tokens
    hidden_BTD = encoder(torch.from_numpy(tokens_BT).to(runtime.device), layers=(layer,)).hidden[layer]
    hidden_BTD = hidden_BTD.float().cpu()
    return [hidden_BTD[k, : len(tokens)] for k, tokens in enumerate(batch)]


def _assemble(
    chunk: list[SequenceRecord], pieces: list[_Piece], outputs: list[Tensor], encoder: Encoder
) -> Iterator[Encoded]:
    size = encoder.config.max_length
    overlap = size // OVERLAP_SHARE
    first = 0
    for owner, record in enumerate(chunk):
        count = 1
        while first + count < len(pieces) and pieces[first + count].owner == owner:
            count += 1
        mine = range(first, first + count)
        first += count
        if count == 1:
            rows_TD = outputs[mine[0]]
            yield Encoded(record, rows_TD[1:-1], rows_TD[0])
            continue
        length = len(record.sequence) // encoder.config.alphabet.unit
        rows_LD = torch.zeros(length, encoder.config.width)
        total_L = torch.zeros(length)
        for k in mine:
            start = pieces[k].start
            weights = torch.from_numpy(blend_weights(start, size, length, overlap))
            rows_LD[start : start + size] += weights[:, None] * outputs[k][1:-1]
            total_L[start : start + size] += weights
        yield Encoded(record, rows_LD / total_L[:, None], torch.stack([outputs[k][0] for k in mine]).mean(0))
