"""Feeds a run with the micro-batches of its optimiser steps, in an order that no machine changes.

An epoch's micro-batches form one list; step s takes the next ``micro_batches`` of them, and of these process r of w
computes those numbered r, r + w, ... The incomplete step at the end of an epoch is dropped.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from rnafm_cli.data.batching import MicroBatch, build_batch, build_twin_batch, plan_batches
from rnafm_cli.data.sampling import EpochPlan, TypeSampler, twin_views
from rnafm_cli.data.shards import Corpus, Split
from rnafm_cli.errors import ConfigError
from rnafm_cli.training.config import PretrainConfig

__all__ = ["Feed", "StepBatches"]


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
        self._plan_of: tuple[int, tuple[EpochPlan, ...], list[list[np.ndarray]]] | None = None

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
        plans = self._plan(epoch)[0]
        config = self._config
        crop, count = config.data.crop, config.batch.tokens // config.data.crop
        if len(plans) == 2:
            return build_twin_batch(
                self._corpus, (plans[0], plans[1]), rows, config.mask, row_tokens=crop, row_count=count // 2
            )
        layout = config.batch.layout
        return build_batch(self._corpus, plans[0], rows, config.mask, layout=layout, row_tokens=crop, row_count=count)

    def _plan(self, epoch: int) -> tuple[tuple[EpochPlan, ...], list[list[np.ndarray]]]:
        if self._plan_of is None or self._plan_of[0] != epoch:
            twins = self._config.twins
            plan = self.sampler.epoch(epoch)
            plans: tuple[EpochPlan, ...] = (plan,)
            if twins.weight:
                plans = twin_views(plan, twins.least, same_length=twins.same_length)
            batches = plan_batches(
                np.maximum.reduce([part.lengths for part in plans]),
                layout=self._config.batch.layout,
                budget=self._config.batch.tokens // len(plans),
                row_tokens=self._config.data.crop,
                seed=self._config.run.seed,
                epoch=epoch,
            )
            self._plan_of = (epoch, plans, batches)
        return self._plan_of[1], self._plan_of[2]
