"""What else a letter shall tell: what relatives have in its place, its partner, and how often it is unpaired.

The first two are known of rows of family alignments, which become training windows. Beside the real rows come new
ones: the gaps of a real row, some of its columns drawn anew from the family's profile, paired ones together, so that
pairs stay pairs. Whether a row is real or drawn, and how, follows from the sample's key. The third is ViennaRNA's.

Shape suffixes: R rows, C columns, P pairs of columns, L nucleotides of a window, N samples, A letters of aligned
windows, U letters of folded windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnafm_cli.errors import InputError
from rnafm_cli.families.library import far_rows
from rnafm_cli.io.stockholm import Alignment, read_stockholm
from rnafm_cli.pretrain.config import TargetSection
from rnafm_cli.pretrain.sampling import EpochPlan, mix64, plan_of, uniform
from rnafm_cli.rna.alphabet import NUCLEOTIDE
from rnafm_cli.rna.thermo import pair_probabilities

NO_PARTNER, UNTOLD = -1, -2
GAP = NUCLEOTIDE.tokens.index("-")
_FIRST = NUCLEOTIDE.letters.start
_SHORTEST, _LEAST_PAIRS, LEAST_DISTANCE = 16, 2, 4
_ALIKE = 0.8
"""Rows that agree in this share of their letters count as one row together."""
_PSEUDOCOUNT = 1.5
_PAIR_PSEUDOCOUNT = np.full((4, 4), 0.02)
for _a, _b in ("AU", "UA", "CG", "GC", "GU", "UG"):
    _PAIR_PSEUDOCOUNT["ACGU".index(_a), "ACGU".index(_b)] += 0.3
_FEWEST_CHANGES = 0.2


class AlignedWindow(NamedTuple):
    """A piece of a row: letters, how often A, C, G, U stand in the column of each, and the place of its partner in the
    window, ``NO_PARTNER`` or ``UNTOLD``."""

    tokens_L: np.ndarray
    profile_L4: np.ndarray
    partner_L: np.ndarray


class _Family:
    """One alignment: its rows, profile and pairs."""

    def __init__(self, alignment: Alignment) -> None:
        self.rows_RC = np.stack([NUCLEOTIDE.encode(row)[1:-1] for row in alignment.rows])
        pairs_P2 = alignment.pairs
        self.has_pairs = len(pairs_P2) >= _LEAST_PAIRS
        self.left_P, self.right_P = pairs_P2[:, 0], pairs_P2[:, 1]
        self.partner_C = np.full(self.rows_RC.shape[1], NO_PARTNER)
        self.partner_C[self.left_P], self.partner_C[self.right_P] = self.right_P, self.left_P
        there_RC4 = (self.rows_RC[:, :, None] == np.arange(_FIRST, _FIRST + 4)).astype(np.float32)
        flat = there_RC4.reshape(len(there_RC4), -1)
        same_RR = flat @ flat.T
        size_R = np.maximum(same_RR.diagonal(), 1)
        weight_R = 1 / np.maximum((same_RR > _ALIKE * np.minimum(size_R[:, None], size_R)).sum(axis=1), 1)
        counts_C4 = np.einsum("r,rca->ca", weight_R, there_RC4)
        table_P44 = np.einsum("r,rpa,rpb->pab", weight_R, there_RC4[:, self.left_P], there_RC4[:, self.right_P])
        table_P44 = table_P44 + _PAIR_PSEUDOCOUNT
        table_P44 /= table_P44.sum(axis=(1, 2), keepdims=True)
        # Half the family's own letters; in a pair, what its partner allows.
        prior_C4 = np.tile(0.125 + 0.5 * (counts_C4.sum(axis=0) + 1) / (counts_C4.sum() + 4), (len(counts_C4), 1))
        prior_C4[self.left_P], prior_C4[self.right_P] = table_P44.sum(axis=2), table_P44.sum(axis=1)
        profile_C4 = (counts_C4 + _PSEUDOCOUNT * prior_C4) / (counts_C4.sum(axis=1, keepdims=True) + _PSEUDOCOUNT)
        self.profile_C4 = profile_C4.astype(np.float32)
        self._letter_steps_C3 = self.profile_C4.cumsum(axis=1)[:, :3]
        self._pair_steps_PK = table_P44.reshape(-1, 16).cumsum(axis=1)[:, :15]

    def drawn(self, row_C: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A new row with the gaps of ``row_C``."""
        row_C, there_C = row_C.copy(), row_C != GAP
        share = rng.uniform(_FEWEST_CHANGES, 1.0)
        whole_P = there_C[self.left_P] & there_C[self.right_P]
        free_C = there_C & (rng.random(len(row_C)) < share)
        free_C[self.left_P[whole_P]] = free_C[self.right_P[whole_P]] = False
        letter_C = (rng.random((len(row_C), 1)) > self._letter_steps_C3).sum(axis=1)
        row_C[free_C] = letter_C[free_C] + _FIRST
        pair_P = (rng.random((len(whole_P), 1)) > self._pair_steps_PK).sum(axis=1)
        new_P = whole_P & (rng.random(len(whole_P)) < share)
        row_C[self.left_P[new_P]], row_C[self.right_P[new_P]] = pair_P[new_P] // 4 + _FIRST, pair_P[new_P] % 4 + _FIRST
        return row_C

    def partners(self, there_C: np.ndarray, column_L: np.ndarray) -> np.ndarray:
        """(L,) ``AlignedWindow.partner_L`` of the letters in some columns of a row."""
        number_L = np.arange(len(column_L))
        if not self.has_pairs:
            return np.full_like(number_L, UNTOLD)
        place_C = np.full(len(there_C), UNTOLD)
        place_C[column_L] = number_L
        partner_L = self.partner_C[column_L]
        place_L = np.where((partner_L >= 0) & there_C[partner_L], place_C[partner_L], NO_PARTNER)
        is_near_L = (place_L >= 0) & (np.abs(place_L - number_L) < LEAST_DISTANCE)
        return np.where(is_near_L, UNTOLD, place_L)


class AlignedRows:
    """The rows of a Stockholm file, in an epoch numbered -1, -2, ... beside the sequences of the corpus.

    A family is shown in proportion to the square root of its rows.

    Args:
        held_out: sequences to which no row may be 8-mer-close.
        drawn: share of shown rows that are new ones.
        window: longest piece of a row, in nucleotides.

    Raises:
        InputError: when no row is left.
    """

    def __init__(self, path: Path, *, held_out: Sequence[str], drawn: float, window: int, seed: int) -> None:
        self._drawn, self._window, self._seed = drawn, window, seed
        self._families: list[_Family] = []
        self.rejected: list[InputError] = []
        """Of alignments that cannot be used."""
        found: list[tuple[np.ndarray, ...]] = []
        for alignment in read_stockholm(path, reject=self.rejected.append):
            far = far_rows(alignment, held_out)
            if far is None:
                continue
            family = _Family(far)
            size_R = (family.rows_RC != GAP).sum(axis=1)
            usable = np.flatnonzero(size_R >= _SHORTEST)
            of, weight = np.full(len(usable), len(self._families)), np.full(len(usable), len(size_R) ** -0.5)
            found.append((of, usable, size_R[usable], weight))
            self._families.append(family)
        if not any(len(usable) for _, usable, *_ in found):
            raise InputError(
                f"{path}: no row is left to train on", hint="rows close to held-out sequences are left out"
            )
        self._family_N, self._row_N, self._length_N, weight_N = map(np.concatenate, zip(*found, strict=True))
        self._share_N = weight_N / weight_N.sum()

    def __len__(self) -> int:
        return len(self._row_N)

    @property
    def families(self) -> int:
        """How many families there are."""
        return len(self._families)

    def among(self, plan: EpochPlan, share: float, epoch: int) -> EpochPlan:
        """The samples of an epoch and rows among them, which take ``share`` of its nucleotides."""
        size_N = np.minimum(self._length_N, self._window)
        wanted = plan.lengths.sum() * share / (1 - share)
        count = max(1, round(wanted / float(size_N @ self._share_N)))
        rng = np.random.default_rng([self._seed, 6, epoch])
        chosen = rng.choice(len(self), size=count, p=self._share_N)
        keys = mix64(mix64(np.uint64(self._seed) ^ np.uint64(epoch << 32)) + np.arange(count, dtype=np.uint64))
        rows = plan_of(-1 - chosen, self._length_N[chosen], self._window, keys)
        order = rng.permutation(len(plan) + count)
        return np.concatenate([plan, rows])[order].view(np.recarray)

    def window(self, number: int, start: int, length: int, key: int) -> AlignedWindow:
        """A piece of the row numbered ``number`` (below 0), real or drawn as its key says."""
        at = -1 - number
        family = self._families[self._family_N[at]]
        row_C = family.rows_RC[self._row_N[at]]
        if uniform(mix64(key ^ 11)) < self._drawn:
            row_C = family.drawn(row_C, np.random.default_rng(key))
        there_C = row_C != GAP
        column_L = np.flatnonzero(there_C)[start : start + length]
        return AlignedWindow(row_C[column_L], family.profile_C4[column_L], family.partners(there_C, column_L))


@dataclass(frozen=True)
class Targets:
    """Of one micro-batch; places are flat, row * T + column."""

    aligned_A: Tensor
    profile_A4: Tensor
    partner_A: Tensor
    """Flat place of the partner, ``NO_PARTNER`` or ``UNTOLD``."""
    folded_U: Tensor
    unpaired_U: Tensor

    def to(self, device: torch.device) -> Targets:
        """The same on a device."""
        return Targets(**{name: values.to(device, non_blocking=True) for name, values in vars(self).items()})


Shown = tuple[int, np.ndarray, int, AlignedWindow | None]
"""A window of a batch: flat place of its first letter, its true letters (L,), its key, and what its family says."""


def targets_of(windows: Sequence[Shown], section: TargetSection) -> Targets:
    """The targets of a micro-batch."""
    aligned, profile, partner = [np.empty(0, np.int64)], [np.empty((0, 4), np.float32)], [np.empty(0, np.int64)]
    folded, unpaired = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for first, tokens_L, key, relatives in windows:
        place_L = first + np.arange(len(tokens_L))
        if relatives is not None:
            aligned.append(place_L)
            profile.append(relatives.profile_L4)
            partner_L = relatives.partner_L
            partner.append(np.where(partner_L >= 0, partner_L + first, partner_L))
        is_short = len(tokens_L) <= section.longest
        if section.unpaired and is_short and uniform(mix64(key ^ 12)) < section.folded:
            p_LL = pair_probabilities(NUCLEOTIDE.decode(tokens_L))
            folded.append(place_L)
            unpaired.append((1 - p_LL.sum(axis=1)).clip(0, 1).astype(np.float32))
    columns = (aligned, profile, partner, folded, unpaired)
    return Targets(*(torch.from_numpy(np.concatenate(values)) for values in columns))
