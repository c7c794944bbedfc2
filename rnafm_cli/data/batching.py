"""Micro-batches of windows under a token budget: packed rows of one shape, or rows of similar length.

Shape suffixes: B rows, T tokens with <cls>/<eos>, N chosen (masked) positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rnafm_cli.data.masking import MaskRule, corrupt
from rnafm_cli.data.sampling import EpochPlan
from rnafm_cli.data.shards import Corpus
from rnafm_cli.rna.alphabet import NUCLEOTIDE

__all__ = ["Layout", "MicroBatch", "build_batch", "build_twin_batch", "plan_batches"]

Layout = Literal["pack", "bucket"]

_POOL_BATCHES = 64
"""Windows are sorted by length within pools of this many micro-batches, which are shuffled again."""
_ROUND_TO = 8


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass needs."""

    tokens_BT: np.ndarray
    """int64, corrupted."""
    segments_BT: np.ndarray | None
    """int32 number of the window within its row, -1 at pads; None when every row is one window without pads."""
    chosen_N: np.ndarray
    """int64 flat positions (row * T + column) to predict."""
    truth_N: np.ndarray
    """int64 true tokens there."""
    windows: int
    """Windows, twins counted twice."""
    real_tokens: int
    """Tokens that are not pads."""


def plan_batches(
    lengths: np.ndarray, *, layout: Layout, budget: int, row_tokens: int, seed: int, epoch: int
) -> list[list[np.ndarray]]:
    """Arrange an epoch's windows into micro-batches.

    Args:
        lengths: (n,) nucleotides of each sample's window; of twins, of the longer one.
        layout: ``pack`` puts several windows into each row of ``row_tokens``; ``bucket`` one a row, padded to the
            longest of the micro-batch.
        budget: tokens (rows x width) of a micro-batch.
        row_tokens: longest row, specials included.

    Returns:
        Micro-batches, each a list of rows, each an array of sample numbers.
    """
    sizes = lengths + 2
    pool_tokens = _POOL_BATCHES * budget
    pools = np.cumsum(sizes) // pool_tokens
    bounds = np.flatnonzero(np.diff(pools)) + 1
    batches: list[list[np.ndarray]] = []
    for number, pool in enumerate(np.split(np.arange(len(lengths)), bounds)):
        rng = np.random.default_rng([seed, 3, epoch, number])
        if layout == "pack":
            rows = _pack(pool, sizes[pool], row_tokens)
            rows = [rows[i] for i in rng.permutation(len(rows))]
            per_batch = max(1, budget // row_tokens)
            cut = [rows[i : i + per_batch] for i in range(0, len(rows), per_batch)]
        else:
            cut = _bucket(pool, sizes[pool], budget)
            cut = [cut[i] for i in rng.permutation(len(cut))]
        batches += cut
    return batches


def build_batch(
    corpus: Corpus,
    plan: EpochPlan,
    rows: list[np.ndarray],
    rule: MaskRule,
    *,
    layout: Layout,
    row_tokens: int,
    row_count: int = 0,
) -> MicroBatch:
    """Read, corrupt and lay out the windows of one micro-batch.

    Args:
        row_count: pack only: fill up with empty rows to this number, so that the shape never changes.
    """
    if layout == "pack":
        width, height = row_tokens, max(len(rows), row_count)
    else:
        longest = max(int(plan.lengths[samples].sum()) + 2 for samples in rows)
        width, height = min(-(-longest // _ROUND_TO) * _ROUND_TO, max(row_tokens, longest)), len(rows)
    tokens = np.full((height, width), NUCLEOTIDE.pad, dtype=np.int64)
    segments = np.full((height, width), -1, dtype=np.int32)
    chosen: list[np.ndarray] = []
    truth: list[np.ndarray] = []
    windows = 0
    for row, samples in enumerate(rows):
        column = 0
        for number, sample in enumerate(samples):
            start, length = int(plan.starts[sample]), int(plan.lengths[sample])
            window = corpus.tokens(int(plan.sequences[sample]))[start : start + length]
            shown, places = corrupt(window, plan.keys[sample], rule)
            tokens[row, column] = NUCLEOTIDE.cls
            tokens[row, column + 1 : column + 1 + length] = shown
            tokens[row, column + 1 + length] = NUCLEOTIDE.eos
            segments[row, column : column + length + 2] = number
            chosen.append(places + (row * width + column + 1))
            truth.append(window[places])
            column += length + 2
            windows += 1
    real = int((segments >= 0).sum())
    plain = layout == "bucket" and real == tokens.size
    return MicroBatch(
        tokens,
        None if plain else segments,
        np.concatenate(chosen),
        np.concatenate(truth).astype(np.int64),
        windows,
        real,
    )


def build_twin_batch(
    corpus: Corpus,
    views: tuple[EpochPlan, EpochPlan],
    rows: list[np.ndarray],
    rule: MaskRule,
    *,
    row_tokens: int,
    row_count: int,
) -> MicroBatch:
    """Packed rows of the first views, and below them the same rows of the second: row r + B/2 is the twin of row r."""
    first, second = (
        build_batch(corpus, view, rows, rule, layout="pack", row_tokens=row_tokens, row_count=row_count)
        for view in views
    )
    assert first.segments_BT is not None and second.segments_BT is not None
    return MicroBatch(
        np.concatenate([first.tokens_BT, second.tokens_BT]),
        np.concatenate([first.segments_BT, second.segments_BT]),
        np.concatenate([first.chosen_N, second.chosen_N + first.tokens_BT.size]),
        np.concatenate([first.truth_N, second.truth_N]),
        first.windows + second.windows,
        first.real_tokens + second.real_tokens,
    )


def _bucket(pool: np.ndarray, sizes: np.ndarray, budget: int) -> list[list[np.ndarray]]:
    order = pool[np.argsort(-sizes, kind="stable")]
    ordered = -np.sort(-sizes, kind="stable")
    batches = []
    first = 0
    while first < len(order):
        width = -(-int(ordered[first]) // _ROUND_TO) * _ROUND_TO
        count = max(1, budget // width)
        batches.append([order[i : i + 1] for i in range(first, min(first + count, len(order)))])
        first += count
    return batches


def _pack(pool: np.ndarray, sizes: np.ndarray, row_tokens: int) -> list[np.ndarray]:
    """Best-fit decreasing: each window goes into the fullest row that still has room."""
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(row_tokens + 1)]
    for index in np.argsort(-sizes, kind="stable"):
        size = int(sizes[index])
        room = next((r for r in range(size, row_tokens) if by_room[r]), None)
        if room is None:
            rows.append([int(pool[index])])
            by_room[row_tokens - size].append(len(rows) - 1)
        else:
            row = by_room[room].pop()
            rows[row].append(int(pool[index]))
            by_room[room - size].append(row)
    return [np.asarray(row) for row in rows]
