"""Micro-batches of windows under a token budget, and the feed of a run's optimiser steps in an order that no
machine changes.

Shape suffixes: B rows, T tokens with <cls>/<eos>, N chosen (masked) positions.

An epoch's micro-batches form one list; step s takes the next ``micro_batches`` of them, and of these process r of w
computes those numbered r, r + w, ... The incomplete step at the end of an epoch is dropped.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnafm_cli.errors import ConfigError
from rnafm_cli.pretrain.alignments import AlignedRows
from rnafm_cli.pretrain.config import BatchLayout, PretrainConfig, TargetSection
from rnafm_cli.pretrain.masking import MaskRule, corrupt
from rnafm_cli.pretrain.sampling import EpochPlan, TypeSampler
from rnafm_cli.pretrain.shards import Corpus, Split
from rnafm_cli.pretrain.targets import TargetDraft, Targets
from rnafm_cli.rna.alphabet import NUCLEOTIDE

__all__ = ["Feed", "MicroBatch", "StepBatches", "build_batch", "plan_batches"]


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
    real_tokens: int
    """Tokens that are not pads."""
    targets: Targets | None = None
    """What else its letters shall tell."""


def plan_batches(
    lengths: np.ndarray, *, layout: BatchLayout, budget: int, row_tokens: int, seed: int, epoch: int
) -> list[list[np.ndarray]]:
    """Arrange an epoch's windows into micro-batches.

    Args:
        lengths: (n,) nucleotides of each sample's window.
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
    layout: BatchLayout,
    row_tokens: int,
    row_count: int = 0,
    targets: TargetSection | None = None,
    aligned: AlignedRows | None = None,
) -> MicroBatch:
    """Read, corrupt and lay out the windows of one micro-batch.

    Args:
        row_count: pack only: fill up with empty rows to this number, so that the shape never changes.
        targets: what else its letters shall tell; None for nothing.
        aligned: rows of alignments, for samples numbered below 0.
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
    draft = TargetDraft(targets) if targets is not None else None
    for row, samples in enumerate(rows):
        column = 0
        for number, sample in enumerate(samples):
            start, length = int(plan.starts[sample]), int(plan.lengths[sample])
            sequence, key, relatives = int(plan.sequences[sample]), plan.keys[sample], None
            if sequence < 0 and aligned is not None:
                relatives = aligned.window(sequence, start, length, key)
                window = relatives.tokens_L
            else:
                window = corpus.tokens(sequence)[start : start + length]
            shown, places = corrupt(window, key, rule)
            if draft is not None:
                draft.add(row * width + column + 1, window, key, relatives)
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
        None if draft is None else draft.finish(),
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


@dataclass(frozen=True)
class StepBatches:
    """One optimiser step's share of a process, and where it stands in the epoch."""

    epoch: int
    done: int
    """Micro-batches of the epoch that are done after this step."""
    batches: list[MicroBatch]


class Feed:
    """Iterates over steps from any place in any epoch.

    Args:
        rank: number of this process.
        world: number of processes; divides ``batch.micro_batches``.
    """

    def __init__(self, corpus: Corpus, config: PretrainConfig, *, rank: int = 0, world: int = 1) -> None:
        if config.batch.micro_batches % world:
            raise ConfigError(
                f"batch.micro_batches {config.batch.micro_batches} is not a multiple of the {world} processes",
                hint="micro_batches = processes x accumulation steps",
            )
        self._corpus, self._config, self._rank, self._world = corpus, config, rank, world
        self.sampler = TypeSampler(
            corpus,
            corpus.members(Split.TRAIN),
            window=config.data.crop - 2,
            exponent=config.sampling.exponent,
            max_repeats=config.sampling.max_repeats,
            seed=config.run.seed,
        )
        self._targets = config.targets if config.targets.on else None
        self.aligned = self._aligned_rows()
        self._plan_of: tuple[int, EpochPlan, list[list[np.ndarray]]] | None = None

    def _aligned_rows(self) -> AlignedRows | None:
        section, corpus = self._config.targets, self._corpus
        if not section.alignments:
            return None
        held_out = [corpus.tokens(k) for split in (Split.RANDOM, Split.GROUP) for k in corpus.members(split).tolist()]
        return AlignedRows(
            Path(section.alignments),
            held_out=[NUCLEOTIDE.decode(tokens) for tokens in held_out],
            drawn=section.drawn,
            window=self._config.data.crop - 2,
            seed=self._config.run.seed,
        )

    def steps_per_epoch(self, epoch: int = 0) -> int:
        """Optimiser steps in an epoch.

        Raises:
            ConfigError: when it holds not even one.
        """
        steps = len(self._plan(epoch)[1]) // self._config.batch.micro_batches
        if not steps:
            raise ConfigError(
                "the training part is smaller than one optimiser step",
                hint="lower batch.tokens or batch.micro_batches",
            )
        return steps

    def steps(self, epoch: int, done: int) -> Generator[StepBatches, None, None]:
        """Endless steps from micro-batch ``done`` of ``epoch``; the next one is built while one is used."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            position = self._normal(epoch, done)
            ahead = pool.submit(self._build, *position)
            while True:
                step = ahead.result()
                position = self._normal(step.epoch, step.done)
                ahead = pool.submit(self._build, *position)
                yield step

    def _normal(self, epoch: int, done: int) -> tuple[int, int]:
        # After a change of batch.micro_batches what is done need not be a multiple of it.
        if done + self._config.batch.micro_batches <= len(self._plan(epoch)[1]):
            return epoch, done
        self.steps_per_epoch(epoch + 1)
        return epoch + 1, 0

    def _build(self, epoch: int, done: int) -> StepBatches:
        batches = self._plan(epoch)[1]
        last = done + self._config.batch.micro_batches
        mine = batches[done + self._rank : last : self._world]
        return StepBatches(epoch, last, [self._batch(epoch, rows) for rows in mine])

    def _batch(self, epoch: int, rows: list[np.ndarray]) -> MicroBatch:
        config = self._config
        return build_batch(
            self._corpus,
            self._plan(epoch)[0],
            rows,
            config.mask,
            layout=config.batch.layout,
            row_tokens=config.data.crop,
            row_count=config.batch.tokens // config.data.crop,
            targets=self._targets,
            aligned=self.aligned,
        )

    def _plan(self, epoch: int) -> tuple[EpochPlan, list[list[np.ndarray]]]:
        if self._plan_of is None or self._plan_of[0] != epoch:
            config = self._config
            plan = self.sampler.epoch(epoch)
            if self.aligned is not None:
                plan = self.aligned.among(plan, config.targets.share, epoch)
            batches = plan_batches(
                plan.lengths,
                layout=config.batch.layout,
                budget=config.batch.tokens,
                row_tokens=config.data.crop,
                seed=config.run.seed,
                epoch=epoch,
            )
            self._plan_of = (epoch, plan, batches)
        return self._plan_of[1:]
