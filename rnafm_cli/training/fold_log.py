"""The metrics file of a fold run."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from rnafm_cli.data.pair_batches import PairBatch
from rnafm_cli.training.run_log import CsvLog

__all__ = ["TrainingLog"]

_COLUMNS = ("step", "round", "loss", "rate", "grad_norm", "cells_per_s", "mean_length", "seconds")


class TrainingLog:
    """Collects steps and writes a row of their means when asked.

    Args:
        path: CSV file, gone on with; rows after ``step`` are dropped.
    """

    def __init__(self, path: Path, step: int) -> None:
        self._table = CsvLog(path, _COLUMNS, step)
        self._clear()

    def add(self, loss: float, norm: float, batch: PairBatch) -> None:
        """Note one step."""
        self._losses.append(loss)
        self._norms.append(norm)
        count, width = batch.inputs.letters_BL.shape
        self._cells += count * width * width
        self._bases += int(batch.inputs.lengths_B.sum())
        self._count += count

    def write(self, step: int, number: int, rate: float, seconds: float) -> None:
        """Write the means since the last row; ``cells_per_s`` counts cells of padded maps."""
        self._table.add(
            {
                "step": step,
                "round": number,
                "loss": float(np.mean(self._losses)),
                "rate": rate,
                "grad_norm": float(np.mean(self._norms)),
                "cells_per_s": self._cells / (time.monotonic() - self._start),
                "mean_length": self._bases / max(1, self._count),
                "seconds": seconds,
            }
        )
        self._clear()

    def close(self) -> None:
        """Flush and close the file."""
        self._table.close()

    def _clear(self) -> None:
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._cells = self._bases = self._count = 0
        self._start = time.monotonic()
