"""The checkpoint of a head's run: one file, complete or not there."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from rnafm_cli.errors import ConfigError, InputError, RnafmError
from rnafm_cli.training.optimizers import keeping_settings

__all__ = ["CHECKPOINT", "HeadState", "rows_sha256"]


CHECKPOINT = "checkpoint.pt"


def rows_sha256(sequences: Iterable[str], *values: NDArray[Any]) -> str:
    """SHA-256 (hex) of training rows: their sequences in order, and arrays of what is known of them."""
    digest = hashlib.sha256("\n".join(sequences).encode())
    for array in values:
        digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclass
class HeadState:
    """Everything that a run needs to go on to the same end."""

    trained: dict[str, Tensor]
    mean: dict[str, Tensor]
    """The running mean of ``trained``."""
    optimizer: dict[str, Any]
    step: int
    round: int
    batch: int
    """Batches of the round that are done."""
    seconds: float
    best: float
    since_best: int
    head: dict[str, Any]
    """Settings of the head."""
    rows_sha256: str
    """Of what is trained on."""
    encoder_sha256: str | None
    """Of the encoder whose embeddings are read."""

    def check_same_run(
        self,
        path: Path,
        *,
        trained: Iterable[str],
        head: dict[str, Any],
        rows_sha256: str,
        encoder_sha256: str | None,
        what: str,
    ) -> None:
        """Refuse a checkpoint that belongs to another run.

        Args:
            trained: names of the run's tensors, which follow from its inputs.
            what: how the run calls its records.

        Raises:
            ConfigError: when head, inputs, encoder or training rows differ.
        """
        ours = (set(trained), head, rows_sha256, encoder_sha256)
        if (set(self.trained), self.head, self.rows_sha256, self.encoder_sha256) == ours:
            return
        raise ConfigError(
            f"{path}: belongs to a run with another head or encoder, or other training {what}",
            hint="start a new run in another folder",
        )

    def restore(self, trained: nn.Module, optimizer: Optimizer) -> None:
        """Put weights and moments back; the optimiser keeps its settings."""
        trained.load_state_dict(self.trained)
        with keeping_settings(optimizer):
            optimizer.load_state_dict(self.optimizer)

    def save(self, path: Path) -> None:
        """Write the file; the one before stays until the new one is on disk.

        Raises:
            RnafmError: when the disk is full or not writable.
        """
        scratch = path.with_name(path.name + ".tmp")
        try:
            with open(scratch, "wb") as handle:
                torch.save(vars(self), handle)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(scratch, path)
        except (OSError, RuntimeError) as error:
            scratch.unlink(missing_ok=True)
            raise RnafmError(
                f"{path}: cannot write the checkpoint: {error}", hint="free some space and run the same command again"
            ) from error

    @classmethod
    def load(cls, path: Path) -> HeadState:
        """Read a checkpoint.

        Raises:
            InputError: when the file is no checkpoint of a head.
        """
        try:
            return cls(**torch.load(path, weights_only=True))
        except (OSError, RuntimeError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise InputError(f"{path}: not a checkpoint of a head ({error})") from error
