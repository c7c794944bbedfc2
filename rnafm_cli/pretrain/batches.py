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
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnafm_cli.errors import ConfigError
from rnafm_cli.pretrain.config import BatchSection, PretrainConfig, TargetSection
from rnafm_cli.pretrain.sampling import PAPERS_SHARE, EpochPlan, TypeSampler, corrupt
from rnafm_cli.pretrain.shards import Corpus, Split
from rnafm_cli.pretrain.targets import AlignedRows, Shown, Targets, targets_of
from rnafm_cli.rna.alphabet import NUCLEOTIDE

_POOL_BATCHES = 64
"""Windows are sorted by length within pools of this many micro-batches, which are shuffled again."""
_ROUND_TO = 8

BatchRows = list[np.ndarray]
"""A micro-batch to be: its rows, each an array of sample numbers."""


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
    real_tokens: int
    """Tokens that are not pads."""
    targets: Targets | None
    """What else its letters shall tell."""

    def on(self, device: torch.device) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Targets | None]:
        """Tokens, segments, chosen positions, truth and targets on a device."""

        def move(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(device, non_blocking=True)

        segments = None if self.segments_BT is None else move(self.segments_BT)
        targets = None if self.targets is None else self.targets.to(device)
        return move(self.tokens_BT), segments, move(self.chosen_N), move(self.truth_N), targets


def plan_batches(
    lengths: np.ndarray, section: BatchSection, crop: int, *, seed: int, epoch: int = 0
) -> list[BatchRows]:
    """Arrange an epoch's windows into micro-batches.

    Args:
        lengths: (n,) nucleotides of each sample's window.
        section: how large a micro-batch is, and whether several windows share a row (``pack``) or each has its own,
            padded to the longest of the micro-batch (``bucket``).
        crop: longest row, specials included.
    """
    sizes = lengths + 2
    pools = np.cumsum(sizes) // (_POOL_BATCHES * section.tokens)
    bounds = np.flatnonzero(np.diff(pools)) + 1
    batches: list[BatchRows] = []
    for number, pool in enumerate(np.split(np.arange(len(lengths)), bounds)):
        rng = np.random.default_rng([seed, 3, epoch, number])
        if section.layout == "pack":
            rows = _pack(pool, sizes[pool], crop)
            rows = [rows[i] for i in rng.permutation(len(rows))]
            count = max(1, section.tokens // crop)
            batches += [rows[i : i + count] for i in range(0, len(rows), count)]
        else:
            cut = _bucket(pool, sizes[pool], section.tokens)
            batches += [cut[i] for i in rng.permutation(len(cut))]
    return batches


def _bucket(pool: np.ndarray, sizes: np.ndarray, budget: int) -> list[BatchRows]:
    longest_first = np.argsort(-sizes, kind="stable")
    order, ordered = pool[longest_first], sizes[longest_first]
    batches: list[BatchRows] = []
    first = 0
    while first < len(order):
        count = max(1, budget // _rounded(int(ordered[first])))
        batches.append(list(order[first : first + count, None]))
        first += count
    return batches


def _rounded(width: int) -> int:
    return -(-width // _ROUND_TO) * _ROUND_TO


def _pack(pool: np.ndarray, sizes: np.ndarray, crop: int) -> BatchRows:
    """Best-fit decreasing: each window goes into the fullest row that still has room."""
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(crop + 1)]
    for index in np.argsort(-sizes, kind="stable"):
        size = int(sizes[index])
        room = next((r for r in range(size, crop) if by_room[r]), crop)
        if room == crop:
            rows.append([])
        row = by_room[room].pop() if room < crop else len(rows) - 1
        rows[row].append(int(pool[index]))
        by_room[room - size].append(row)
    return [np.asarray(row) for row in rows]


def build_batch(
    corpus: Corpus,
    plan: EpochPlan,
    rows: BatchRows,
    section: BatchSection,
    crop: int,
    *,
    share: float = PAPERS_SHARE,
    targets: TargetSection | None = None,
    aligned: AlignedRows | None = None,
) -> MicroBatch:
    """Read, corrupt and lay out the windows of one micro-batch; packed ones have always the same number of rows.

    Args:
        share: of the letters to predict.
        targets: what else its letters shall tell; None for nothing.
        aligned: rows of alignments, for samples numbered below 0.
    """
    packed = section.layout == "pack"
    if packed:
        width, height = crop, max(len(rows), section.tokens // crop)
    else:
        longest = max(int(plan.lengths[samples].sum()) + 2 for samples in rows)
        width, height = min(_rounded(longest), max(crop, longest)), len(rows)
    tokens = np.full((height, width), NUCLEOTIDE.pad, dtype=np.int64)
    segments = np.full((height, width), -1, dtype=np.int32)
    chosen: list[np.ndarray] = []
    truth: list[np.ndarray] = []
    shown: list[Shown] = []
    for row, samples in enumerate(rows):
        column = 0
        for number, (sequence, start, length, key) in enumerate(plan[samples].tolist()):
            relatives = None
            if sequence < 0 and aligned is not None:
                relatives = aligned.window(sequence, start, length, key)
                window = relatives.tokens_L
            else:
                window = corpus.tokens(sequence)[start : start + length]
            corrupted, places = corrupt(window, key, share)
            first = row * width + column + 1
            shown.append((first, window, key, relatives))
            tokens[row, column] = NUCLEOTIDE.cls
            tokens[row, column + 1 : column + 1 + length] = corrupted
            tokens[row, column + 1 + length] = NUCLEOTIDE.eos
            segments[row, column : column + length + 2] = number
            chosen.append(places + first)
            truth.append(window[places])
            column += length + 2
    real = int((segments >= 0).sum())
    return MicroBatch(
        tokens,
        None if not packed and real == tokens.size else segments,
        np.concatenate(chosen),
        np.concatenate(truth).astype(np.int64),
        real,
        None if targets is None else targets_of(shown, targets),
    )


class StepBatches(NamedTuple):
    """One optimiser step's share of a process, and how many micro-batches of the epoch are done after it."""

    epoch: int
    done: int
    batches: list[MicroBatch]


class Feed:
    """Iterates over steps from any place in any epoch.

    Args:
        rank: number of this process.
        world: number of processes.

    Raises:
        ConfigError: when it does not divide ``batch.micro_batches``, or an epoch holds not even one step.
    """

    def __init__(self, corpus: Corpus, config: PretrainConfig, *, rank: int = 0, world: int = 1) -> None:
        config.batch.micro_batches_each(world)
        self._corpus, self._config, self._rank, self._world = corpus, config, rank, world
        section, how = config.targets, {"window": config.data.crop - 2, "seed": config.run.seed}
        self.sampler = TypeSampler(corpus, config.sampling.exponent, **how)
        self.aligned: AlignedRows | None = None
        if section.alignments:
            held_out = np.flatnonzero(np.isin(corpus.splits, (Split.RANDOM, Split.GROUP))).tolist()
            texts = [NUCLEOTIDE.decode(corpus.tokens(k)) for k in held_out]
            self.aligned = AlignedRows(Path(section.alignments), held_out=texts, drawn=section.drawn, **how)
        self._plan_of: tuple[int, EpochPlan, list[BatchRows]] | None = None

    def steps_per_epoch(self, epoch: int = 0) -> int:
        """Optimiser steps in an epoch."""
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
            ahead = pool.submit(self._build, epoch, done)
            while True:
                step = ahead.result()
                ahead = pool.submit(self._build, step.epoch, step.done)
                yield step

    def _build(self, epoch: int, done: int) -> StepBatches:
        """The step that comes after ``done`` micro-batches, which need not be a multiple of a step's."""
        config, size = self._config, self._config.batch.micro_batches
        if done + size > len(self._plan(epoch)[1]):
            epoch, done = epoch + 1, 0
            self.steps_per_epoch(epoch)
        plan, batches = self._plan(epoch)
        build = partial(build_batch, self._corpus, plan, section=config.batch, crop=config.data.crop)
        asked = {"share": config.mask.share, "targets": config.targets if config.targets.on else None}
        build = partial(build, **asked, aligned=self.aligned)
        mine = batches[done + self._rank : done + size : self._world]
        return StepBatches(epoch, done + size, [build(rows) for rows in mine])

    def _plan(self, epoch: int) -> tuple[EpochPlan, list[BatchRows]]:
        if self._plan_of is None or self._plan_of[0] != epoch:
            config = self._config
            plan = self.sampler.epoch(epoch)
            if self.aligned is not None:
                plan = self.aligned.among(plan, config.targets.share, epoch)
            batches = plan_batches(plan.lengths, config.batch, config.data.crop, seed=config.run.seed, epoch=epoch)
            self._plan_of = (epoch, plan, batches)
        return self._plan_of[1:]
