"""A fold head that another one learns from: what it makes of every base, instead of a known structure alone.

Known structures are of the families that were trained on; a teacher also says what it does not know. A head for a new
encoder learns from the one before it and keeps what that one does on families nobody has labelled. Shape suffixes:
B batch, L bases.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from rnafm_cli.encoder.embed import embed_padded
from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.errors import ConfigError
from rnafm_cli.structure.batches import PairBatch
from rnafm_cli.structure.pair import PairConfig, PairHead, PairLogits
from rnafm_cli.weights.files import load_tensors
from rnafm_cli.weights.store import encoder_path, load_component

__all__ = ["FoldTeacher", "divergence", "load_teacher"]


class FoldTeacher:
    """A head with its own encoder, both fixed.

    Args:
        encoder: None for a head without embeddings.
    """

    def __init__(self, head: PairHead, encoder: Encoder | None, *, bf16: bool) -> None:
        self._head, self._encoder, self._bf16 = head.requires_grad_(False).eval(), encoder, bf16
        if encoder is not None:
            encoder.requires_grad_(False).eval()

    @torch.no_grad()
    def log_choices(self, batch: PairBatch) -> Tensor:
        """(B, L, L + 1) log-probability of each base's choice, from all inputs, whatever the batch withholds."""
        width = batch.inputs.letters_BL.shape[1]
        embedding_BLD = None
        if self._encoder is not None:
            embedding_BLD = embed_padded(self._encoder, batch.sequences, width, bf16=self._bf16)
        inputs = dataclasses.replace(
            batch.inputs,
            embedding_BLD=embedding_BLD,
            has_embedding_B=None,
            has_sequence_B=None,
            has_prior_B=None,
        )
        with mixed_precision("cpu", bf16=self._bf16):
            return self._head(inputs).log_choices()


def load_teacher(
    name_or_file: str | Path, parameters: tuple[str, ...], *, weights_dir: Path | None, bf16: bool
) -> FoldTeacher:
    """The fold head of a model, or a head's own file, with its encoder.

    Args:
        parameters: energy parameters of the prior that the batches hold.

    Raises:
        WeightsError: when head or encoder cannot be had.
        ConfigError: when the head was trained with the prior of other energy parameters.
    """
    tensors, card = load_component(name_or_file, "fold", weights_dir=weights_dir)
    config = PairConfig.from_dict(card.config)
    if "prior" in config.inputs and set(config.parameters) != set(parameters):
        raise ConfigError(
            f"{name_or_file}: reads the prior of {' and '.join(config.parameters)}, not of {' and '.join(parameters)}",
            hint="give the teacher's as head.parameters",
        )
    head = PairHead(config)
    load_tensors(head, tensors, card)
    encoder = None
    if config.embedding:
        encoder, _ = load_encoder(encoder_path(name_or_file, "fold", weights_dir=weights_dir), weights_dir=weights_dir)
    return FoldTeacher(head, encoder, bf16=bf16)


def divergence(logits: PairLogits, teacher_BLK: Tensor, lengths_B: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence (nats a base) of a head's choices from its teacher's.

    Args:
        teacher_BLK: (B, L, L + 1) log-probabilities.
    """
    own_BLK = logits.log_choices()
    possible_BLK = teacher_BLK.isfinite() & own_BLK.isfinite()
    gap_BLK = torch.where(possible_BLK, teacher_BLK - own_BLK, 0.0)
    each_BL = (teacher_BLK.exp() * gap_BLK).sum(dim=-1)
    real_BL = torch.arange(each_BL.shape[1], device=each_BL.device) < lengths_B[:, None]
    return each_BL[real_BL].mean()
