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
import torch
from torch import Tensor

from rnafm_cli.errors import ConfigError
from rnafm_cli.pretrain.config import BatchSection, MaskRule, PretrainConfig, TargetSection
from rnafm_cli.pretrain.sampling import EpochPlan, TypeSampler, corrupt
from rnafm_cli.pretrain.shards import Corpus, Split
from rnafm_cli.pretrain.targets import AlignedRows, Shown, Targets, targets_of
from rnafm_cli.rna.alphabet import NUCLEOTIDE

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

    def on(self, device: torch.device) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Tokens, segments, chosen positions and truth on a device."""

        def move(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(device, non_blocking=True)

        segments = None if self.segments_BT is None else move(self.segments_BT)
        return move(self.tokens_BT), segments, move(self.chosen_N), move(self.truth_N)


def plan_batches(
    lengths: np.ndarray, section: BatchSection, crop: int, *, seed: int, epoch: int = 0
) -> list[list[np.ndarray]]:
    """Arrange an epoch's windows into micro-batches.

    Args:
        lengths: (n,) nucleotides of each sample's window.
        section: how large a micro-batch is, and whether several windows share a row (``pack``) or each has its own,
            padded to the longest of the micro-batch (``bucket``).
        crop: longest row, specials included.

    Returns:
        Micro-batches, each a list of rows, each an array of sample numbers.
    """
    sizes = lengths + 2
    pools = np.cumsum(sizes) // (_POOL_BATCHES * section.tokens)
    bounds = np.flatnonzero(np.diff(pools)) + 1
    batches: list[list[np.ndarray]] = []
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


def _bucket(pool: np.ndarray, sizes: np.ndarray, budget: int) -> list[list[np.ndarray]]:
    longest_first = np.argsort(-sizes, kind="stable")
    order, ordered = pool[longest_first], sizes[longest_first]
    batches = []
    first = 0
    while first < len(order):
        count = max(1, budget // _rounded(int(ordered[first])))
        batches.append([order[i : i + 1] for i in range(first, min(first + count, len(order)))])
        first += count
    return batches


def _rounded(width: int) -> int:
    return -(-width // _ROUND_TO) * _ROUND_TO


def _pack(pool: np.ndarray, sizes: np.ndarray, crop: int) -> list[np.ndarray]:
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
    rows: list[np.ndarray],
    section: BatchSection,
    crop: int,
    *,
    mask: MaskRule,
    targets: TargetSection | None = None,
    aligned: AlignedRows | None = None,
) -> MicroBatch:
    """Read, corrupt and lay out the windows of one micro-batch; packed ones have always the same number of rows.

    Args:
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
        for number, sample in enumerate(samples):
            start, length = int(plan.starts[sample]), int(plan.lengths[sample])
            sequence, key, relatives = int(plan.sequences[sample]), plan.keys[sample], None
            if sequence < 0 and aligned is not None:
                relatives = aligned.window(sequence, start, length, key)
                window = relatives.tokens_L
            else:
                window = corpus.tokens(sequence)[start : start + length]
            corrupted, places = corrupt(window, key, mask)
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
        len(shown),
        real,
        None if targets is None else targets_of(shown, targets),
    )


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

    Raises:
        ConfigError: when it does not, or an epoch holds not even one step.
    """

    def __init__(self, corpus: Corpus, config: PretrainConfig, *, rank: int = 0, world: int = 1) -> None:
        self._size = config.batch.micro_batches
        if self._size % world:
            raise ConfigError(
                f"batch.micro_batches {self._size} is not a multiple of the {world} processes",
                hint="micro_batches = processes x accumulation steps",
            )
        self._corpus, self._config, self._rank, self._world = corpus, config, rank, world
        self.sampler = TypeSampler(corpus, config.sampling, window=config.data.crop - 2, seed=config.run.seed)
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
        """Optimiser steps in an epoch."""
        steps = len(self._plan(epoch)[1]) // self._size
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
        if done + self._size > len(self._plan(epoch)[1]):
            epoch, done = epoch + 1, 0
            self.steps_per_epoch(epoch)
        config = self._config
        plan, batches = self._plan(epoch)
        last = done + self._size
        mine = [
            build_batch(
                self._corpus,
                plan,
                rows,
                config.batch,
                config.data.crop,
                mask=config.mask,
                targets=self._targets,
                aligned=self.aligned,
            )
            for rows in batches[done + self._rank : last : self._world]
        ]
        return StepBatches(epoch, last, mine)

    def _plan(self, epoch: int) -> tuple[EpochPlan, list[list[np.ndarray]]]:
        if self._plan_of is None or self._plan_of[0] != epoch:
            config = self._config
            plan = self.sampler.epoch(epoch)
            if self.aligned is not None:
                plan = self.aligned.among(plan, config.targets.share, epoch)
            batches = plan_batches(plan.lengths, config.batch, config.data.crop, seed=config.run.seed, epoch=epoch)
            self._plan_of = (epoch, plan, batches)
        return self._plan_of[1:]
