"""The encoder with its masked-token loss as one module, so that DDP and FSDP see a single forward.

Shape suffixes: B rows, T tokens with <cls>/<eos>, N chosen positions, D width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.models.encoder import Encoder
from rnafm_cli.training.config import TwinSection
from rnafm_cli.training.sketch import Sketch, sketch_loss

__all__ = ["MaskedTokenModel", "spread_loss", "twin_loss", "uncorrupted"]

_RATE_SCALE = 4.0
"""Of the coding rate: D / (N error^2) in its authors' terms."""


class MaskedTokenModel(nn.Module):
    """Sum of the cross-entropies at the chosen positions, how many of them are right, and the losses of mean vectors.

    Args:
        twins: what the twins' loss is in training mode; None when batches hold no twins.
        sketch: what mean representations shall hold in training mode; None does not ask for it.
    """

    def __init__(self, encoder: Encoder, *, twins: TwinSection | None = None, sketch: Sketch | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self._twins = twins
        self.sketch = sketch

    def forward(
        self, tokens_BT: Tensor, segments_BT: Tensor | None, chosen_N: Tensor, truth_N: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loss sum (float32 scalar, nats), number of correct predictions, the twins' loss and the sketches' (else 0).

        Args:
            tokens_BT: corrupted tokens.
            segments_BT: RNA numbers of packed rows, or None.
            chosen_N: flat positions to predict.
            truth_N: true tokens there.
        """
        # Through forward itself while evaluating: a compiled graph with gradients is of no use there.
        run = self.encoder if torch.is_grad_enabled() else self.encoder.forward
        x_BTD = run(tokens_BT, segments_BT=segments_BT).hidden[self.encoder.config.layers]
        x_ND = x_BTD.flatten(0, 1).index_select(0, chosen_N)
        logits_NV = self.encoder.token_logits(x_ND).float()
        loss = F.cross_entropy(logits_NV, truth_N, reduction="sum")
        with torch.no_grad():
            right = (logits_NV.argmax(dim=-1) == truth_N).sum()
        sketched = x_BTD.new_zeros(())
        if self.sketch is not None and self.training:
            sketched = sketch_loss(x_BTD, uncorrupted(tokens_BT, chosen_N, truth_N), segments_BT, self.sketch)
        return loss, right, self._twin_loss(x_BTD, segments_BT), sketched

    def _twin_loss(self, x_BTD: Tensor, segments_BT: Tensor | None) -> Tensor:
        if self._twins is None or not self.training or segments_BT is None:
            return x_BTD.new_zeros(())
        if self._twins.spread:
            return spread_loss(x_BTD, segments_BT, self._twins.spread)
        return twin_loss(x_BTD, segments_BT, self._twins.temperature)


def uncorrupted(tokens_BT: Tensor, chosen_N: Tensor, truth_N: Tensor) -> Tensor:
    """(B, T) tokens as they were before some were masked; arguments as in :meth:`MaskedTokenModel.forward`."""
    return tokens_BT.flatten().index_copy(0, chosen_N, truth_N).view_as(tokens_BT)


def twin_loss(x_BTD: Tensor, segments_BT: Tensor, temperature: float) -> Tensor:
    """How badly windows find their twins by the cosine of mean representations: cross-entropy in nats, scalar.

    Args:
        x_BTD: representations; row r + B/2 holds the twins of row r's windows under the same numbers.
        segments_BT: number of the window within its row, -1 at pads.
    """
    first_ND, second_ND = _twin_means(x_BTD, segments_BT)
    with torch.autocast(x_BTD.device.type, enabled=False):
        cosine_NN = first_ND @ second_ND.T / temperature
    own_N = torch.arange(len(cosine_NN), device=x_BTD.device)
    return 0.5 * (F.cross_entropy(cosine_NN, own_N) + F.cross_entropy(cosine_NN.T, own_N))


def spread_loss(x_BTD: Tensor, segments_BT: Tensor, spread: float) -> Tensor:
    """How unlike twins are, and in how few directions the mean representations of all parts lie; scalar.

    Minus the mean cosine of twins, minus ``spread`` times the coding rate of the unit vectors (Yu et al. 2020), in nats
    a vector. Shapes as in :func:`twin_loss`.
    """
    first_ND, second_ND = _twin_means(x_BTD, segments_BT)
    both_ND = torch.cat([first_ND, second_ND])
    with torch.autocast(x_BTD.device.type, enabled=False):
        gram_NN = torch.eye(len(both_ND), device=x_BTD.device) + _RATE_SCALE * (both_ND @ both_ND.T)
        factor_NN, failed = torch.linalg.cholesky_ex(gram_NN)
        # What is not finite has no factor: the step is then skipped like any other.
        rate = torch.where(failed == 0, factor_NN.diagonal().log().mean(), torch.nan)
    return -(first_ND * second_ND).sum(dim=-1).mean() - spread * rate


def _twin_means(x_BTD: Tensor, segments_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Mean representations (N, D) of length 1, float32, of the first parts and of their twins."""
    count = int(segments_BT.max()) + 1
    inside_BWT = (segments_BT[:, None, :] == torch.arange(count, device=segments_BT.device)[:, None]).to(x_BTD.dtype)
    sizes_BW = inside_BWT.sum(dim=-1)
    pooled_BWD = (inside_BWT @ x_BTD).float() / sizes_BW.clamp(min=1)[..., None].float()
    first_BWD, second_BWD = F.normalize(pooled_BWD, dim=-1).chunk(2)
    there = sizes_BW.chunk(2)[0] > 0
    return first_BWD[there], second_BWD[there]
