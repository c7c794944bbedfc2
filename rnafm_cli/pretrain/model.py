"""The encoder with its losses as one module, so that DDP and FSDP see a single forward: masked tokens, sketches
and the targets of single letters.

A sketch is taken from the letters alone. Its principal axes over windows of the corpus, as many as the encoder is wide,
are divided by the fourth root of their variance and turned so that the encoder starts as near to them as a rotation
brings it.

Shape suffixes: B rows, T tokens with <cls>/<eos>, W windows, L nucleotides of the longest window, D features, P
places from an end, J bumps, K words, C lengths, F features, N chosen positions, V vocabulary; R rows with aligned
windows, A letters of these, U letters of folded windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.pretrain.config import TERMS, TargetSection
from rnafm_cli.pretrain.targets import LEAST_DISTANCE, NO_PARTNER, UNTOLD, Targets
from rnafm_cli.rna.alphabet import NUCLEOTIDE


class WindowPlaces:
    """The windows of a batch, row by row.

    Args:
        segments_BT: number of the window within its row, -1 at pads; None when every row is one window.
        tokens_BT: the batch's tokens.
    """

    def __init__(self, segments_BT: Tensor | None, tokens_BT: Tensor) -> None:
        if segments_BT is None:
            segments_BT = torch.zeros_like(tokens_BT)
        row_B = torch.arange(len(tokens_BT), device=segments_BT.device)[:, None]
        flat = torch.where(segments_BT < 0, -1, segments_BT + row_B * (segments_BT.max() + 1)).flatten()
        self._size = len(flat)
        self._inside = torch.nonzero(flat >= 0)[:, 0]
        _, self._owners, sizes_W = torch.unique(flat[self._inside], return_inverse=True, return_counts=True)
        none = torch.full_like(sizes_W, self._size)
        self.starts_W = none.scatter_reduce(0, self._owners, self._inside, "amin") + 1
        """Flat place of each window's first nucleotide."""
        self.lengths_W = sizes_W - 2
        """Nucleotides."""

    def gather(self, flat: Tensor, outside: int) -> Tensor:
        """(W, L): which of (B * T,) values stand at the nucleotides of each window, ``outside`` beyond its end."""
        place_L = torch.arange(int(self.lengths_W.max()), device=flat.device)
        inside_WL = place_L < self.lengths_W[:, None]
        return torch.where(inside_WL, flat[torch.where(inside_WL, self.starts_W[:, None] + place_L, 0)], outside)

    def means(self, x_BTD: Tensor) -> Tensor:
        """(W, D) float32: the mean over each window's nucleotides."""
        # Pads and specials are added to a row that is left out.
        nowhere = len(self.lengths_W)
        owners = torch.full((self._size,), nowhere, device=x_BTD.device)
        owners[self._inside] = self._owners
        owners[self.starts_W - 1] = owners[self.starts_W + self.lengths_W] = nowhere
        sums = torch.zeros(nowhere + 1, x_BTD.shape[2], device=x_BTD.device)
        return sums.index_add(0, owners, x_BTD.flatten(0, 1).float())[:-1] / self.lengths_W[:, None]


ASKED = ("sketch", *TERMS)
"""What is asked for beside the masked tokens, each with a weight in the configuration."""

TrueBatch = tuple[Tensor, Tensor | None]
"""tokens_BT, nothing masked, and segments_BT (numbers of packed windows, -1 at pads; None when every row is one)."""

_WORD = 5
_END_WORD = 2
_BUMPS = 24
_LAST_BUMP = 128
"""Nucleotides from an end to the middle of the last bump; bumps grow wider away from the end."""
_LENGTHS = torch.linspace(math.log(16), math.log(3000), 32)
_LENGTH_WIDTH = 0.15
_LENGTH_SHARE = 0.5
"""What length counts beside 5' end, 3' end and 5-mers."""
FEATURES = 2 * _BUMPS * 4**_END_WORD + 4**_WORD + len(_LENGTHS)

_ROTATED = 2500
"""Windows that decide the rotation, at most."""
_LEAST_VARIANCE = 1e-5
"""Of an axis, as a share of the first's."""


def _bumps() -> Tensor:
    middle_J = torch.logspace(math.log10(3), math.log10(_LAST_BUMP), _BUMPS) - 3
    width_J = torch.gradient(middle_J)[0].clamp(min=0.7)
    place_P = torch.arange(int(1.6 * _LAST_BUMP))
    return torch.exp(-0.5 * ((place_P[:, None] - middle_J) / width_J).square())


_BUMPS_PJ = _bumps()
_LETTERS = torch.full((len(NUCLEOTIDE),), -1)
for _number, _letter in enumerate("ACGU"):
    _LETTERS[NUCLEOTIDE.encode(_letter)[1]] = _number


class Sketch(nn.Module):
    """Codes of windows, as wide as the encoder; a part of the training state, for it is fitted once and then the aim
    of the whole run."""

    mean_F: Tensor
    axes_FD: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(FEATURES))
        self.register_buffer("axes_FD", torch.zeros(FEATURES, width))

    @torch.no_grad()
    def forward(self, tokens_BT: Tensor, places: WindowPlaces) -> Tensor:
        """(W, D) float32 codes of length 1."""
        with torch.autocast(tokens_BT.device.type, enabled=False):
            return F.normalize((sketch_features(tokens_BT, places) - self.mean_F) @ self.axes_FD, dim=-1)


def sketch_loss(x_BTD: Tensor, tokens_BT: Tensor, segments_BT: Tensor | None, sketch: Sketch) -> Tensor:
    """1 minus the mean cosine of the windows' mean representations with the codes of their true tokens; 0 to 2."""
    places = WindowPlaces(segments_BT, tokens_BT)
    return 1 - F.cosine_similarity(places.means(x_BTD), sketch(tokens_BT, places), dim=-1).mean()


@torch.no_grad()
def fit_sketch(encoder: Encoder, batches: Iterator[TrueBatch], *, windows: int, bf16: bool) -> Sketch:
    """Axes of the sketches of at least ``windows`` windows, turned towards the encoder's mean representations."""
    device = encoder.embed.weight.device
    sketch = Sketch(encoder.config.width).to(device)
    features, means, count = [], [], 0
    while count < windows:
        tokens_BT, segments_BT = next(batches)
        places = WindowPlaces(segments_BT, tokens_BT)
        features.append(sketch_features(tokens_BT, places))
        if count < _ROTATED:
            with mixed_precision(device.type, bf16=bf16):
                x_BTD = encoder.forward(tokens_BT, segments_BT=segments_BT).hidden[encoder.config.layers]
            means.append(places.means(x_BTD))
        count += len(features[-1])
    features_WF, means_WD = torch.cat(features), torch.cat(means)
    sketch.mean_F.copy_(features_WF.mean(dim=0))
    features_WF -= sketch.mean_F
    # Fewer windows than features leave eigenvalues of zero, on which float32 may not converge.
    variance_F, axes_FF = torch.linalg.eigh((features_WF.T @ features_WF / len(features_WF)).double())
    width = encoder.config.width
    variance_D, main_FD = variance_F.float().flip(0)[:width], axes_FF.float().flip(1)[:, :width]
    scaled_FD = main_FD * variance_D.clamp(min=_LEAST_VARIANCE * variance_D[0]) ** -0.25
    codes_WD = F.normalize(features_WF[: len(means_WD)] @ scaled_FD, dim=-1)
    found_WD = F.normalize(means_WD - means_WD.mean(dim=0), dim=-1)
    left_DD, _, right_DD = torch.linalg.svd(codes_WD.T @ found_WD)
    sketch.axes_FD.copy_(scaled_FD @ left_DD @ right_DD)
    return sketch


def sketch_features(tokens_BT: Tensor, places: WindowPlaces) -> Tensor:
    """(W, F) float32: four vectors of length 1 (that of the lengths shorter) side by side.

    They are, from the 5' end and from the 3' end, the square roots of how many of each dinucleotide stand under bumps
    that grow wider away from the end; the square roots of the shares of 5-mers; and the logarithm of the length as a
    smooth one-hot vector. Words with other letters than A, C, G, U do not count.
    """
    letters_WL = places.gather(_LETTERS.to(tokens_BT.device)[tokens_BT].flatten(), -1)
    lengths_W = places.lengths_W
    from_end_WL = lengths_W[:, None] - 1 - torch.arange(letters_WL.shape[1], device=letters_WL.device)
    reversed_WL = torch.where(from_end_WL >= 0, letters_WL.gather(1, from_end_WL.clamp(min=0)), -1)
    away_WC = (lengths_W[:, None].float().log() - _LENGTHS.to(lengths_W.device)) / _LENGTH_WIDTH
    length_WC = F.normalize(torch.exp(-0.5 * away_WC.square()), dim=-1) * math.sqrt(_LENGTH_SHARE)
    return torch.cat([_end(letters_WL), _end(reversed_WL), _words(letters_WL), length_WC], dim=1)


def _end(letters_WL: Tensor) -> Tensor:
    bumps_PJ = _BUMPS_PJ.to(letters_WL.device)
    missing = len(bumps_PJ) + _END_WORD - 1 - letters_WL.shape[1]
    codes_WP, whole_WP = _codes(F.pad(letters_WL, (0, missing), value=-1), _END_WORD)
    there_WPK = F.one_hot(codes_WP, 4**_END_WORD) * whole_WP[..., None]
    return F.normalize(torch.einsum("wpk,pj->wjk", there_WPK.float(), bumps_PJ).sqrt().flatten(1), dim=-1)


def _words(letters_WL: Tensor) -> Tensor:
    codes_WP, whole_WP = _codes(letters_WL, _WORD)
    counts_WK = torch.zeros(len(codes_WP), 4**_WORD, device=letters_WL.device)
    return F.normalize(counts_WK.scatter_add_(1, codes_WP, whole_WP.float()).sqrt(), dim=-1)


def _codes(letters_WL: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Numbers of the words at each place, and which of these are words of A, C, G, U."""
    words = letters_WL.unfold(1, size, 1)
    powers = 4 ** torch.arange(size - 1, -1, -1, device=letters_WL.device)
    whole = (words >= 0).all(dim=-1)
    return torch.where(whole, (words * powers).sum(dim=-1), 0), whole


_PARTNER_WIDTH = 64
_FAR_BELOW = -1e4


class TargetHeads(nn.Module):
    """Small heads on the last layer for the terms that have a weight; saved in checkpoints, not in the model file."""

    def __init__(self, width: int, section: TargetSection) -> None:
        super().__init__()
        heads: dict[str, nn.Module] = {
            "profile": nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 4)),
            "partner": nn.ModuleDict(
                {
                    "query": nn.Linear(width, _PARTNER_WIDTH),
                    "key": nn.Linear(width, _PARTNER_WIDTH),
                    "none": nn.Linear(width, 1),
                }
            ),
            "unpaired": nn.Linear(width, 1),
        }
        self.heads = nn.ModuleDict({term: heads[term] for term in TERMS if getattr(section, term)})

    def forward(self, x_BTD: Tensor, tokens_BT: Tensor, segments_BT: Tensor | None, targets: Targets) -> Tensor:
        """(3,) mean cross-entropies in nats, in the order of ``TERMS``; 0 for a term without a weight or a target."""
        flat_ND = x_BTD.flatten(0, 1)
        # Every head has a part in every loss, however small, or processes would wait for each other's gradients.
        nothing = sum(
            (parameter.sum() * 0.0 for parameter in self.heads.parameters()), x_BTD.new_zeros((), dtype=torch.float32)
        )
        losses = dict.fromkeys(TERMS, nothing)
        if "profile" in self.heads and len(targets.aligned_A):
            found_A4 = self.heads["profile"](flat_ND[targets.aligned_A]).float().log_softmax(dim=-1)
            losses["profile"] = nothing - (targets.profile_A4 * found_A4).sum(dim=-1).mean()
        if "partner" in self.heads and bool((targets.partner_A != UNTOLD).any()):
            losses["partner"] = nothing + self._partner_loss(x_BTD, tokens_BT, segments_BT, targets)
        if "unpaired" in self.heads and len(targets.folded_U):
            logits_U = self.heads["unpaired"](flat_ND[targets.folded_U])[:, 0].float()
            losses["unpaired"] = nothing + F.binary_cross_entropy_with_logits(logits_U, targets.unpaired_U)
        return torch.stack([losses[term] for term in TERMS])

    def _partner_loss(self, x_BTD: Tensor, tokens_BT: Tensor, segments_BT: Tensor | None, targets: Targets) -> Tensor:
        """Each told letter chooses its partner among the letters of its window, or none."""
        head: nn.ModuleDict = self.heads["partner"]  # type: ignore[assignment]
        told = targets.partner_A != UNTOLD
        place_A, partner_A = targets.aligned_A[told], targets.partner_A[told]
        width = tokens_BT.shape[1]
        row_R, own_A = torch.unique(place_A // width, return_inverse=True)
        x_RTD = x_BTD[row_R]
        score_RTT = (head["query"](x_RTD) @ head["key"](x_RTD).transpose(1, 2)).float() * _PARTNER_WIDTH**-0.5
        segments_RT = torch.zeros_like(tokens_BT)[row_R] if segments_BT is None else segments_BT[row_R]
        letter_RT = (tokens_BT[row_R] != NUCLEOTIDE.cls) & (tokens_BT[row_R] != NUCLEOTIDE.eos) & (segments_RT >= 0)
        column_T = torch.arange(width, device=x_BTD.device)
        allowed_RTT = (segments_RT[:, :, None] == segments_RT[:, None, :]) & letter_RT[:, None, :]
        allowed_RTT &= (column_T[:, None] - column_T).abs() >= LEAST_DISTANCE
        score_AT = score_RTT.masked_fill(~allowed_RTT, _FAR_BELOW)[own_A, place_A % width]
        none_A1 = head["none"](x_BTD.flatten(0, 1)[place_A]).float()
        choice_A = torch.where(partner_A == NO_PARTNER, width, partner_A % width)
        return F.cross_entropy(torch.cat([score_AT, none_A1], dim=1), choice_A)


class MaskedTokenModel(nn.Module):
    """Sum of the cross-entropies at the chosen positions, how many of them are right, and what else is asked for.

    Sketches are asked for in training mode, targets where a batch has some.
    """

    def __init__(self, encoder: Encoder, *, sketch: Sketch | None = None, targets: TargetHeads | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.sketch = sketch
        self.targets = targets

    def forward(
        self,
        tokens_BT: Tensor,
        segments_BT: Tensor | None,
        chosen_N: Tensor,
        truth_N: Tensor,
        targets: Targets | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss sum (float32 scalar, nats), how many predictions are right, losses by ``ASKED`` (else 0); arguments as
        in :class:`~rnafm_cli.pretrain.batches.MicroBatch`."""
        # Through forward itself while evaluating: a compiled graph with gradients is of no use there.
        run = self.encoder if torch.is_grad_enabled() else self.encoder.forward
        x_BTD = run(tokens_BT, segments_BT=segments_BT).hidden[self.encoder.config.layers]
        x_ND = x_BTD.flatten(0, 1).index_select(0, chosen_N)
        logits_NV = self.encoder.token_logits(x_ND).float()
        loss = F.cross_entropy(logits_NV, truth_N, reduction="sum")
        with torch.no_grad():
            right = (logits_NV.argmax(dim=-1) == truth_N).sum()
        sketched, told = x_BTD.new_zeros(1, dtype=torch.float32), x_BTD.new_zeros(len(TERMS), dtype=torch.float32)
        if self.sketch is not None and self.training:
            true_BT = uncorrupted(tokens_BT, chosen_N, truth_N)
            sketched = sketch_loss(x_BTD, true_BT, segments_BT, self.sketch)[None]
        if self.targets is not None and targets is not None:
            told = self.targets(x_BTD, tokens_BT, segments_BT, targets)
        return loss, right, torch.cat([sketched, told])


def uncorrupted(tokens_BT: Tensor, chosen_N: Tensor, truth_N: Tensor) -> Tensor:
    """(B, T) tokens as they were before some were masked."""
    return tokens_BT.flatten().index_copy(0, chosen_N, truth_N).view_as(tokens_BT)
