"""Alignment of RNAs to profiles that knows which match states pair: posterior of every base, without covariance models.

Forward and backward of HMMER's plan 7 model, glocal with a small weight of local entry and exit, flanks free. Between
two passes the emissions of paired states are multiplied by how well each base fits what its partner may be (mean
field). Several alignments go through numpy together. Shape suffixes: B alignments, M match states (padded), L bases
(padded), P consensus pairs of one alignment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.families.library import Family
from rnafm_cli.rna.pairs import _codes as letter_numbers, canonical_matrix

__all__ = ["Posterior", "align"]

LOCAL = 0.3
"""Weight of entering, and of leaving, the profile anywhere instead of at its ends."""
ROUNDS = 1
"""Passes after the first: one brings all there is to gain."""
LEAST_LOOP = 3
_FLOOR = 0.05
_BLOCK = 64
_CELLS = 1 << 19
"""Cells of the padded dynamic programme that are computed together."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Posterior:
    """One RNA, or a stretch of it, on one profile.

    Args:
        family: the profile's family.
        sequence: the L bases.
        match_ML: probability that a match state emits a base.
    """

    family: Family
    sequence: str
    match_ML: Floats

    def pair_map(self) -> NDArray[np.float32]:
        """(L, L) symmetric: expected consensus pairs, canonical letters and loops of at least three bases only."""
        left, right = self.family.pairs.T
        upper_LL = self.match_ML[left].T @ self.match_ML[right]
        near = np.tril(np.ones(upper_LL.shape, dtype=np.bool_), LEAST_LOOP)
        upper_LL[near | ~canonical_matrix(self.sequence)] = 0.0
        return (upper_LL + upper_LL.T).clip(max=1.0).astype(np.float32)

    @property
    def coverage(self) -> NDArray[np.float32]:
        """(L,) probability that a base stands on any match state."""
        return self.match_ML.sum(axis=0).clip(max=1.0).astype(np.float32)


def align(jobs: Sequence[tuple[Family, str]], *, rounds: int = ROUNDS) -> list[Posterior]:
    """Posteriors of (family, stretch of RNA) in their order.

    Args:
        jobs: stretches are upper-case RNA; letters other than A, C, G, U fit every state alike.
        rounds: passes in which the pairs are known, after one in which they are not.
    """
    found: list[Posterior | None] = [None] * len(jobs)
    for part in _batches(jobs):
        batch = _Batch([jobs[k] for k in part])
        match_BML = batch.posterior()
        for _ in range(rounds):
            batch.know_pairs(match_BML)
            match_BML = batch.posterior()
        for k, match_ML in zip(part, match_BML, strict=True):
            family, sequence = jobs[k]
            found[k] = Posterior(family, sequence, match_ML[: len(family), : len(sequence)].copy())
    return [one for one in found if one is not None]


def _batches(jobs: Sequence[tuple[Family, str]]) -> Iterator[list[int]]:
    """Numbers of jobs of like size, few enough for the cells at once."""
    order = sorted(range(len(jobs)), key=lambda k: (len(jobs[k][0]), len(jobs[k][1])))
    part: list[int] = []
    states = bases = 0
    for k in order:
        states, bases = max(states, len(jobs[k][0])), max(bases, len(jobs[k][1]))
        if part and (len(part) + 1) * states * bases > _CELLS:
            yield part
            part, states, bases = [], len(jobs[k][0]), len(jobs[k][1])
        part.append(k)
    if part:
        yield part


class _Batch:
    """Padded arrays of some alignments; states and bases beyond an alignment's own have no weight."""

    def __init__(self, jobs: Sequence[tuple[Family, str]]) -> None:
        self.jobs = jobs
        batch = len(jobs)
        self.states = max(len(family) for family, _ in jobs)
        self.bases = max(len(sequence) for _, sequence in jobs)
        self.codes = [letter_numbers(sequence) for _, sequence in jobs]
        self.plain_BML = np.zeros((batch, self.states, self.bases))
        self.move_B7M = np.zeros((batch, 7, self.states + 1))
        self.enter_BM = np.zeros((batch, self.states))
        self.leave_BM = np.zeros((batch, self.states))
        self.last_BM = np.zeros((batch, self.states))
        for k, (family, _) in enumerate(jobs):
            size, codes = len(family), self.codes[k]
            odds = np.concatenate([np.ones((size, 1)), 4.0 * family.match_M4], axis=1)
            self.plain_BML[k, :size, : len(codes)] = odds[:, codes]
            self.move_B7M[k, :, : size + 1] = family.transition_M7.T
            # The end is this class's own: leave_BM and last_BM.
            self.move_B7M[k, :, size] = 0.0
            self.move_B7M[k, :3, 1:size] *= 1.0 - LOCAL / size
            self.enter_BM[k, :size] = LOCAL / size
            self.leave_BM[k, : size - 1] = LOCAL / size
            self.leave_BM[k, size - 1] = self.last_BM[k, size - 1] = 1.0
        self.move_B7M[:, :3, 0] *= 1.0 - LOCAL
        self.enter_BM[:, 0] += self.move_B7M[:, 0, 0]
        self.emit_BML = self.plain_BML

    def know_pairs(self, match_BML: Floats) -> None:
        """Let the emissions of paired states follow where their partners stand."""
        self.emit_BML = self.plain_BML.copy()
        for k, (family, _) in enumerate(self.jobs):
            if len(family.pairs):
                codes = self.codes[k]
                left, right = family.pairs.T
                odds = np.ones((len(left), 5, 5))
                odds[:, 1:, 1:] = np.exp(family.pair_odds_P44)
                at_left, at_right = match_BML[k, left, : len(codes)], match_BML[k, right, : len(codes)]
                self.emit_BML[k, left, : len(codes)] *= _fit(at_right, codes, odds)
                swapped = _fit(at_left[:, ::-1], codes[::-1], odds.transpose(0, 2, 1))
                self.emit_BML[k, right, : len(codes)] *= swapped[:, ::-1]

    def posterior(self) -> Floats:
        """(B, M, L): probability that a state emits a base. Each state's row is scaled, and its scale kept."""
        forward, forward_scale_BM, total_B = self._forward()
        backward, backward_scale_BM = self._backward()
        with np.errstate(under="ignore"):
            weight_BM = np.exp(np.minimum(forward_scale_BM + backward_scale_BM - total_B[:, None], 700.0))
            return np.minimum(forward * backward * weight_BM[..., None], 1.0)

    def _forward(self) -> tuple[Floats, Floats, Floats]:
        batch, states, bases = self.plain_BML.shape
        move = self.move_B7M[..., None]
        kept, scale_BM = np.zeros((batch, states, bases)), np.zeros((batch, states))
        ends = np.full((batch, states), -np.inf)
        # Column 0 of a row stands before the first base; deletions may stand there too.
        match = insert = np.zeros((batch, bases + 1))
        delete = np.repeat(move[:, 2, 0], bases + 1, axis=1) if states else match
        scale = np.zeros((batch, 1))
        loop = _Decay(self.move_B7M[:, 4], bases)
        for k in range(states):
            now = np.zeros((batch, bases + 1))
            if k:
                came = match * move[:, 0, k] + insert * move[:, 3, k] + delete * move[:, 5, k]
                gone = match * move[:, 2, k] + delete * move[:, 6, k]
            else:
                came, gone = now, delete
            now[:, 1:] = self.emit_BML[:, k] * (came[:, :-1] + self.enter_BM[:, k, None] * np.exp(-scale))
            inserted = np.zeros((batch, bases + 1))
            inserted[:, 1:] = loop(k + 1, now[:, :-1] * move[:, 1, k + 1])
            top = np.maximum(now, gone).max(axis=1, keepdims=True)
            top[top == 0.0] = 1.0
            match, insert, delete = now / top, inserted / top, gone / top
            scale = scale + np.log(top)
            kept[:, k], scale_BM[:, k] = match[:, 1:], scale[:, 0]
            end = match.sum(axis=1) * self.leave_BM[:, k] + delete.sum(axis=1) * self.last_BM[:, k]
            with np.errstate(divide="ignore"):
                ends[:, k] = np.log(end) + scale[:, 0]
        return kept, scale_BM, np.logaddexp.reduce(ends, axis=1)

    def _backward(self) -> tuple[Floats, Floats]:
        batch, states, bases = self.plain_BML.shape
        move = self.move_B7M[..., None]
        kept, scale_BM = np.zeros((batch, states, bases)), np.zeros((batch, states))
        # Column i of a row is the weight of what follows base i (1-based); the last has nothing to follow.
        match = delete = np.zeros((batch, bases + 1))
        scale = np.zeros((batch, 1))
        loop = _Decay(self.move_B7M[:, 4], bases)
        for k in range(states - 1, -1, -1):
            # Weight of going on to match state k + 1 with the next base.
            onward = np.zeros((batch, bases + 1))
            if k + 1 < states:
                onward[:, :-1] = self.emit_BML[:, k + 1] * match[:, 1:]
            insert = np.zeros((batch, bases + 1))
            # An insertion at column i holds base i; what follows is scanned from the end.
            insert[:, ::-1] = loop(k + 1, (onward * move[:, 3, k + 1])[:, ::-1])
            unit = np.exp(-scale)
            now = onward * move[:, 0, k + 1] + delete * move[:, 2, k + 1] + self.leave_BM[:, k, None] * unit
            now[:, :-1] += insert[:, 1:] * move[:, 1, k + 1]
            gone = onward * move[:, 5, k + 1] + delete * move[:, 6, k + 1] + self.last_BM[:, k, None] * unit
            top = np.maximum(now, gone).max(axis=1, keepdims=True)
            top[top == 0.0] = 1.0
            match, delete = now / top, gone / top
            scale = scale + np.log(top)
            kept[:, k], scale_BM[:, k] = match[:, 1:], scale[:, 0]
        return kept, scale_BM


class _Decay:
    """y[i] = x[i] + a y[i - 1] along the last axis, for one a of each row and state, by sums within blocks."""

    def __init__(self, factor_BM: Floats, bases: int) -> None:
        self._factor_BM = np.clip(factor_BM, 1e-4, 0.999)
        self._width = bases

    def __call__(self, state: int, x: Floats) -> Floats:
        batch, width = x.shape
        blocks = -(-width // _BLOCK)
        a = self._factor_BM[:, state, None]
        powers = a ** np.arange(_BLOCK)
        padded = x if width == blocks * _BLOCK else np.pad(x, ((0, 0), (0, blocks * _BLOCK - width)))
        y = np.cumsum(padded.reshape(batch, blocks, _BLOCK) / powers[:, None], axis=2) * powers[:, None]
        for block in range(1, blocks):
            y[:, block] += y[:, block - 1, -1:] * powers * a
        return y.reshape(batch, -1)[:, :width]


def _fit(partner_PL: Floats, codes: NDArray[np.int64], odds_P55: Floats) -> Floats:
    """(P, L): how well each base fits the partner that may stand behind it, at least ``_FLOOR``.

    Args:
        partner_PL: where the partner stands; it counts from ``LEAST_LOOP`` + 1 bases further on.
        odds_P55: by the number of this base's letter and the partner's.
    """
    count, length = partner_PL.shape
    behind = np.zeros((count, 5, length + LEAST_LOOP + 1))
    for letter in range(5):
        here = partner_PL * (codes == letter)
        behind[:, letter, :length] = here[:, ::-1].cumsum(axis=1)[:, ::-1]
    behind = behind[:, :, LEAST_LOOP + 1 :]
    fit = np.einsum("plb,pbl->pl", odds_P55[:, codes], behind)
    return np.maximum(_FLOOR, fit + 1.0 - partner_PL.sum(axis=1, keepdims=True))
