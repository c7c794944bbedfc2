"""A projection after which mean representations vary equally in all directions.

Shape suffixes: N points, D dimensions.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import nn

from rnafm_cli.data.sampling import TypeSampler
from rnafm_cli.data.shards import Corpus, Split
from rnafm_cli.models.encoder import Encoder
from rnafm_cli.rna.alphabet import NUCLEOTIDE
from rnafm_cli.training.config import PretrainConfig
from rnafm_cli.training.pooled import mean_pooled

__all__ = ["corpus_windows", "unprojected", "whitened", "whitening"]

_PER_DIMENSION = 16
"""Windows of the corpus that are looked at, per dimension."""
_RIDGE = 1e-7
"""Added to every direction's variance, as a share of the mean one: what is less is noise of arithmetic."""


def corpus_windows(corpus: Corpus, config: PretrainConfig, width: int) -> list[str]:
    """Windows of the training part, drawn by type as in the training itself: 16 for each of ``width`` dimensions."""
    sampler = TypeSampler(
        corpus,
        corpus.members(Split.TRAIN),
        window=config.data.crop - 2,
        exponent=config.sampling.exponent,
        max_repeats=config.sampling.max_repeats,
        seed=config.run.seed,
    )
    plan = sampler.epoch(0)
    texts = []
    for number in range(min(_PER_DIMENSION * width, len(plan))):
        start, length = int(plan.starts[number]), int(plan.lengths[number])
        texts.append(NUCLEOTIDE.decode(corpus.tokens(int(plan.sequences[number]))[start : start + length]))
    return texts


def unprojected(encoder: Encoder) -> Encoder:
    """A copy of the encoder that ends with its final LayerNorm."""
    plain = Encoder(dataclasses.replace(encoder.config, projection=False))
    plain.load_state_dict(encoder.state_dict(), strict=False)
    return plain.to(encoder.embed.weight.device).eval()


@torch.no_grad()
def whitened(encoder: Encoder, sequences: list[str]) -> Encoder:
    """The encoder with a projection that whitens the mean representations of ``sequences``, in place of any it has."""
    plain = unprojected(encoder)
    points_ND = mean_pooled(plain, sequences)
    result = Encoder(dataclasses.replace(encoder.config, projection=True))
    result.load_state_dict(plain.state_dict(), strict=False)
    assert isinstance(result.projection, nn.Linear)
    weight_DD, bias_D = whitening(points_ND)
    result.projection.weight.copy_(torch.from_numpy(weight_DD))
    result.projection.bias.copy_(torch.from_numpy(bias_D))
    return result.to(encoder.embed.weight.device).eval()


def whitening(points_ND: np.ndarray, *, ridge: float = _RIDGE) -> tuple[np.ndarray, np.ndarray]:
    """Weight (D, D) and bias (D,), float32, of the linear map that decorrelates points and turns them least.

    The map is symmetric (ZCA: Kessy et al. 2018; for embeddings of sequences: Su et al. 2021). Mapped points have mean
    0 and, on the mean over dimensions, variance 1. There must be several times as many points as dimensions, or
    directions are found that are not there.
    """
    mean_D = points_ND.mean(axis=0, dtype=np.float64)
    centred_ND = points_ND - mean_D
    covariance_DD = centred_ND.T @ centred_ND / max(1, len(points_ND) - 1)
    value_D, vector_DD = np.linalg.eigh(covariance_DD)
    weight_DD = (vector_DD / np.sqrt(np.maximum(value_D, 0) + ridge * value_D.mean())) @ vector_DD.T
    weight_DD /= np.sqrt(np.einsum("ij,jk,ik->i", weight_DD, covariance_DD, weight_DD).mean())
    return weight_DD.astype(np.float32), (-weight_DD @ mean_D).astype(np.float32)
