"""Alignment of RNAs to profiles that knows which match states pair, and the templates for folding made of it.

Instead of covariance models: forward and backward of HMMER's plan 7 model, glocal with a small weight of local entry
and exit, flanks free. Between two passes the emissions of paired states are multiplied by how well each base fits what
its partner may be (mean field). Several alignments go through numpy together, an antidiagonal at a time, on which no
cell needs another. Shape suffixes: B alignments, M match states (padded), L bases (padded), P consensus pairs of one
alignment, S states of one node: insert, match, delete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.families.library import Family
from rnafm_cli.families.search import Hit, Search, compatible, reverse_complement
from rnafm_cli.families.shapes import FamilyShape, Relatives
from rnafm_cli.rna.alphabet import letter_codes
from rnafm_cli.rna.pairs import canonical_matrix

LOCAL = 0.3
"""Weight of entering, and of leaving, the profile anywhere instead of at its ends."""
ROUNDS = 1
"""Passes after the first: one brings all there is to gain."""
LEAST_LOOP = 3
_FLOOR = 0.05
_LIKELY = 0.1
"""Posterior from which a base is put on a match state."""
_RESCALE = 8
"""Antidiagonals from one scaling to the next; in between a weight grows by a few letter and pair odds."""
_CELLS = 1 << 20
"""Cells of the padded dynamic programme that are computed together."""

_Floats = NDArray[np.float64]


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
    match_ML: _Floats

    def pair_map(self) -> NDArray[np.float32]:
        """(L, L) symmetric: expected consensus pairs, canonical letters and loops of at least three bases only."""
        left, right = self.family.pairs.T
        upper_LL = self.match_ML[left].T @ self.match_ML[right]
        near = np.tril(np.ones(upper_LL.shape, dtype=np.bool_), LEAST_LOOP)
        upper_LL[near | ~canonical_matrix(self.sequence)] = 0.0
        return (upper_LL + upper_LL.T).clip(max=1.0).astype(np.float32)

    def path(self) -> NDArray[np.int64]:
        """(L,) match state of each base by the alignment that is right most often, -1 for insertions and flanks."""
        states, bases = self.match_ML.shape
        best = np.zeros((states + 1, bases + 1))
        for k, gain in enumerate(self.match_ML - _LIKELY):
            np.maximum(best[k, 1:], best[k, :-1] + gain, out=best[k + 1, 1:])
            np.maximum.accumulate(best[k + 1], out=best[k + 1])
        state_L = np.full(bases, -1)
        k, i = states, bases
        while k and i:
            if best[k, i] == best[k - 1, i]:
                k -= 1
            elif best[k, i] == best[k, i - 1]:
                i -= 1
            else:
                k, i = k - 1, i - 1
                state_L[i] = k
        return state_L


def align(jobs: Sequence[tuple[Family, str]], *, rounds: int = ROUNDS) -> list[Posterior]:
    """Posteriors of (family, stretch of RNA) in their order.

    Args:
        jobs: stretches are upper-case RNA; letters other than A, C, G, U fit every state alike.
        rounds: passes in which the pairs are known, after one in which they are not.
    """
    found: dict[int, Posterior] = {}
    for part in _batches(jobs):
        batch = _Batch([jobs[k] for k in part])
        match_MLB = batch.posterior()
        for _ in range(rounds):
            batch.know_pairs(match_MLB)
            match_MLB = batch.posterior()
        for b, k in enumerate(part):
            family, sequence = jobs[k]
            found[k] = Posterior(family, sequence, match_MLB[: len(family), : len(sequence), b].copy())
    return [found[k] for k in range(len(jobs))]


def _batches(jobs: Sequence[tuple[Family, str]]) -> Iterator[list[int]]:
    """Numbers of jobs of like size, few enough for the cells at once."""
    order = sorted(range(len(jobs)), key=lambda k: len(jobs[k][0]) + len(jobs[k][1]))
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
    """Padded arrays of some alignments; states and bases beyond an alignment's own have no weight.

    A cell is a state k and a column c, the bases taken so far; its match emits base c - 1. Match cells of one
    antidiagonal k + c lie L - 1 rows apart in an (M * L, B) array.
    """

    def __init__(self, jobs: Sequence[tuple[Family, str]]) -> None:
        self.jobs = jobs
        states = max(len(family) for family, _ in jobs)
        bases = max(2, *(len(sequence) for _, sequence in jobs))
        batch = len(jobs)
        self.codes = [letter_codes(sequence).astype(np.intp) for _, sequence in jobs]
        self.plain_MLB = np.zeros((states, bases, batch))
        # Weights of going on from insert, match, delete: to the next match; to the insert; to the next delete.
        self.to_match_SMB = np.zeros((3, states, batch))
        self.to_insert_SMB = np.zeros((2, states, batch))
        self.to_delete_SMB = np.zeros((2, states, batch))
        self.enter_MB = np.zeros((states, batch))
        self.leave_SMB = np.zeros((2, states, batch))
        self.skip_first_B = np.zeros(batch)
        for b, (family, _) in enumerate(jobs):
            size, codes = len(family), self.codes[b]
            odds = np.concatenate([np.ones((size, 1)), 4.0 * family.match_M4], axis=1)
            self.plain_MLB[:size, : len(codes), b] = odds[:, codes]
            begin, *after = np.split(family.transition_M7.astype(np.float64), [1, size])
            stay = 1.0 - LOCAL / size
            mm, mi, md, im, ii, dm, dd = after[0].T
            self.to_match_SMB[:, : size - 1, b] = im, stay * mm, dm
            self.to_insert_SMB[:, : size - 1, b] = ii, stay * mi
            self.to_delete_SMB[:, : size - 1, b] = stay * md, dd
            self.enter_MB[:size, b] = LOCAL / size
            self.enter_MB[0, b] += (1.0 - LOCAL) * begin[0, 0]
            self.skip_first_B[b] = (1.0 - LOCAL) * begin[0, 2]
            self.leave_SMB[0, : size - 1, b] = LOCAL / size
            self.leave_SMB[:, size - 1, b] = 1.0
        self.emit_MLB = self.plain_MLB

    def know_pairs(self, match_MLB: _Floats) -> None:
        """Let the emissions of paired states follow where their partners stand."""
        self.emit_MLB = self.plain_MLB.copy()
        for b, (family, _) in enumerate(self.jobs):
            if len(family.pairs):
                codes = self.codes[b]
                left, right = family.pairs.T
                odds = np.ones((len(left), 5, 5))
                odds[:, 1:, 1:] = np.exp(family.pair_odds_P44)
                at_left, at_right = match_MLB[left, : len(codes), b], match_MLB[right, : len(codes), b]
                self.emit_MLB[left, : len(codes), b] *= _fit(at_right, codes, odds, partner_follows=True)
                swapped = odds.transpose(0, 2, 1)
                self.emit_MLB[right, : len(codes), b] *= _fit(at_left, codes, swapped, partner_follows=False)

    def posterior(self) -> _Floats:
        """(M, L, B): probability that a state emits a base."""
        weight_MLB, scale_DB, total_B = self._forward()
        self._backward(weight_MLB, scale_DB - total_B)
        return np.minimum(weight_MLB, 1.0, out=weight_MLB)

    def _ranges(self) -> Iterator[tuple[int, slice, slice]]:
        """Each antidiagonal, its states, and the rows of their match cells (of the states from column 1 on)."""
        states, bases, _ = self.plain_MLB.shape
        for d in range(states + bases):
            low, high = max(0, d - bases), min(states, d + 1)
            first = d - 1 + low * (bases - 1)
            yield d, slice(low, high), slice(first, first + (min(high, d) - low - 1) * (bases - 1) + 1, bases - 1)

    def _forward(self) -> tuple[_Floats, _Floats, _Floats]:
        """Weights of all ways to each match cell, the log of their scale by antidiagonal, and the log of all ways."""
        states, bases, batch = self.plain_MLB.shape
        emit_RB = self.emit_MLB.reshape(-1, batch)
        kept_RB = np.zeros_like(emit_RB)
        scale_DB, scale_B = np.zeros((states + bases, batch)), np.zeros(batch)
        # Row 0 stands before the first state. Two antidiagonals of what goes on to the next match, and of the states.
        on_MB, on_before_MB = np.zeros((2, states + 1, batch))
        now_SMB, before_SMB = np.zeros((2, 3, states + 1, batch))
        to_match_SMB, work_SMB = self.to_match_SMB, np.empty((3, states, batch))
        enter_MB, skip_B, sum_MB = self.enter_MB, self.skip_first_B, np.zeros((states, batch))
        for d, k, cells in self._ranges():
            before_SMB, now_SMB, on_before_MB, on_MB = now_SMB, before_SMB, on_MB, on_before_MB
            size = k.stop - k.start
            shifted, work = slice(k.start + 1, k.stop + 1), work_SMB[:, :size]
            emitting = slice(k.start, min(k.stop, d))
            if emitting.stop > emitting.start:
                # on_MB still holds what went on two antidiagonals ago.
                match_MB = now_SMB[1, emitting.start + 1 : emitting.stop + 1]
                np.add(on_MB[emitting], enter_MB[emitting], out=match_MB)
                match_MB *= emit_RB[cells]
                kept_RB[cells] = match_MB
                sum_MB[emitting] += match_MB
            np.multiply(before_SMB[:2, shifted], self.to_insert_SMB[:, k], out=work[:2])
            np.add(work[0], work[1], out=now_SMB[0, shifted])
            earlier = slice(max(k.start, 1) - 1, k.stop - 1)
            if earlier.stop > earlier.start:
                part = work_SMB[:2, : earlier.stop - earlier.start]
                np.multiply(
                    before_SMB[1:, earlier.start + 1 : earlier.stop + 1], self.to_delete_SMB[:, earlier], out=part
                )
                np.add(part[0], part[1], out=now_SMB[2, earlier.start + 2 : earlier.stop + 2])
            if k.start == 0:
                now_SMB[2, 1] = skip_B
            np.multiply(now_SMB[:, shifted], to_match_SMB[:, k], out=work)
            np.add(work[0], work[1], out=on_MB[shifted])
            on_MB[shifted] += work[2]
            scale_DB[d] = scale_B
            if d % _RESCALE == _RESCALE - 1:
                scale_B = scale_B + _rescaled(now_SMB[:, shifted], now_SMB, on_MB, on_before_MB, sum_MB)
                enter_MB, skip_B = self.enter_MB * np.exp(-scale_B), self.skip_first_B * np.exp(-scale_B)
        return kept_RB.reshape(states, bases, batch), scale_DB, scale_B + np.log(self._ended(sum_MB, skip_B))

    def _ended(self, sum_MB: _Floats, skip_B: _Floats) -> _Floats:
        """Weight of all ways, from that of each match state over all bases."""
        total_B = (sum_MB * self.leave_SMB[0]).sum(axis=0)
        gone_B = skip_B * (1 + np.array([len(codes) for codes in self.codes]))
        for k, sum_B in enumerate(sum_MB):
            total_B += gone_B * self.leave_SMB[1, k]
            gone_B = sum_B * self.to_delete_SMB[0, k] + gone_B * self.to_delete_SMB[1, k]
        return total_B

    def _backward(self, weight_MLB: _Floats, scale_DB: _Floats) -> None:
        """Multiply the weights of the ways to each match cell by those from there on, and unscale."""
        states, bases, batch = self.plain_MLB.shape
        emit_RB, weight_RB = self.emit_MLB.reshape(-1, batch), weight_MLB.reshape(-1, batch)
        # The last row stands behind the last state. Two antidiagonals of what a match cell is worth with its letter.
        worth_MB, worth_before_MB = np.zeros((2, states + 1, batch))
        now_SMB, before_SMB = np.zeros((2, 3, states + 1, batch))
        work_SMB, scale_B, leave_SMB = np.empty((3, states, batch)), np.zeros(batch), self.leave_SMB
        for d, k, cells in reversed(list(self._ranges())):
            before_SMB, now_SMB, worth_before_MB, worth_MB = now_SMB, before_SMB, worth_MB, worth_before_MB
            behind, work = slice(k.start + 1, k.stop + 1), work_SMB[:2, : k.stop - k.start]
            now = now_SMB[:, k]
            # worth_MB still holds that of two antidiagonals later.
            np.multiply(worth_MB[behind], self.to_match_SMB[:, k], out=now)
            now[:2] += np.multiply(before_SMB[0, k], self.to_insert_SMB[:, k], out=work)
            now[1:] += np.multiply(before_SMB[2, behind], self.to_delete_SMB[:, k], out=work)
            now[1:] += leave_SMB[:, k]
            emitting = slice(k.start, min(k.stop, d))
            if emitting.stop > emitting.start:
                match_MB = now_SMB[1, emitting]
                np.multiply(emit_RB[cells], match_MB, out=worth_MB[emitting])
                part = np.multiply(
                    match_MB, np.exp(np.minimum(scale_DB[d] + scale_B, 700.0)), out=work[0, : len(match_MB)]
                )
                weight_RB[cells] *= part
            if d % _RESCALE == 0:
                scale_B = scale_B + _rescaled(now, now_SMB, worth_MB, worth_before_MB)
                leave_SMB = self.leave_SMB * np.exp(-scale_B)


def _rescaled(now_SMB: _Floats, *arrays: _Floats) -> _Floats:
    """(B,) logarithm of the largest weight of an antidiagonal, by which the arrays are divided in place."""
    top_B = now_SMB.max(axis=(0, 1))
    top_B[top_B <= 0.0] = 1.0
    for array in arrays:
        array /= top_B
    return np.log(top_B)


def _fit(partner_PL: _Floats, codes: NDArray[np.intp], odds_P55: _Floats, *, partner_follows: bool) -> _Floats:
    """(P, L): how well each base fits the partner that may stand before or behind it, at least ``_FLOOR``.

    Args:
        partner_PL: where the partner stands; it counts from ``LEAST_LOOP`` + 1 bases away.
        odds_P55: by the number of this base's letter and the partner's.
    """
    count, length = partner_PL.shape
    fit_PL = 1.0 - np.repeat(partner_PL.sum(axis=1, keepdims=True), length, axis=1)
    apart = LEAST_LOOP + 1
    if length > apart:
        # For every letter that a base may be: the fit of all partners up to a base.
        upto_P5L = np.take(odds_P55, codes, axis=2)
        upto_P5L *= partner_PL[:, None]
        np.cumsum(upto_P5L, axis=2, out=upto_P5L)
        flat = upto_P5L.reshape(count, -1)
        if partner_follows:
            here = codes[:-apart]
            all_P5 = upto_P5L[:, :, -1]
            fit_PL[:, :-apart] += all_P5[:, here] - flat.take(here * length + np.arange(apart - 1, length - 1), axis=1)
        else:
            here = codes[apart:]
            fit_PL[:, apart:] += flat.take(here * length + np.arange(length - apart), axis=1)
    return np.maximum(_FLOOR, fit_PL, out=fit_PL)


def aligned_hits(
    sequences: Sequence[str], hits: Iterable[Sequence[Hit]]
) -> Iterator[tuple[int, Hit, slice, Posterior]]:
    """Number of the RNA, hit, stretch that was aligned and its posterior, for all hits of all RNAs in their order.

    The stretch is part of the RNA as it is given; of a hit on the minus strand its reverse complement is aligned.
    """
    owners, jobs = [], []
    for number, (sequence, of_rna) in enumerate(zip(sequences, hits, strict=True)):
        for hit in of_rna:
            bases = slice(*hit.stretch(len(sequence)))
            text = sequence[bases] if hit.strand == "+" else reverse_complement(sequence[bases])
            owners.append((number, hit, bases))
            jobs.append((hit.family, text))
    for owner, posterior in zip(owners, align(jobs), strict=True):
        yield *owner, posterior


@dataclass(eq=False)
class Template:
    """Families of one RNA of L bases.

    Args:
        hits: that do not exclude one another, best first.
        pairs_LL: symmetric float32: expected number of consensus pairs between two bases, at most 1.
        coverage_L: probability that a base stands on a family's profile.
        confidence_L: -log10 of the E-value of the hit whose stretch holds the base, 0 elsewhere, at most 50.
        relatives: what known 3D structures of the families let expect; None where there are none.
    """

    hits: list[Hit]
    pairs_LL: NDArray[np.float32]
    coverage_L: NDArray[np.float32]
    confidence_L: NDArray[np.float32]
    relatives: Relatives | None = None

    def part(self, bases: slice) -> Template:
        """The same of some of the bases."""
        return Template(
            self.hits,
            self.pairs_LL[bases, bases],
            self.coverage_L[bases],
            self.confidence_L[bases],
            None if self.relatives is None else self.relatives.part(bases),
        )

    def add_relatives(self, shape: FamilyShape, match_ML: NDArray[np.floating], bases: slice) -> None:
        """Let known structures tell of a stretch, of which each base stands on the match states by ``match_ML``."""
        if self.relatives is None:
            self.relatives = Relatives.none(len(self.coverage_L))
        self.relatives.add(Relatives.expected(shape, match_ML), bases)


def templates(sequences: Sequence[str], search: Search, *, relatives: bool = False) -> list[Template | None]:
    """The template of each RNA; None where no family with consensus pairs is found.

    Args:
        relatives: tell what known 3D structures let expect, too.
    """
    kept = [compatible(hits) for hits in search.hits(sequences)]
    paired = [[hit for hit in hits if len(hit.family.pairs)] for hits in kept]
    found: list[Template | None] = [None] * len(sequences)
    for number, hit, bases, posterior in aligned_hits(sequences, paired):
        template, length = found[number], len(sequences[number])
        if template is None:
            square_LL, zero_L = (np.zeros(shape, dtype=np.float32) for shape in ((length, length), length))
            template = found[number] = Template(kept[number], square_LL, zero_L, zero_L.copy())
        if relatives and hit.family.shape is not None:
            template.add_relatives(hit.family.shape, posterior.match_ML, bases)
        sure = min(50.0, -np.log10(max(hit.evalue, 1e-50)))
        for whole, new in (
            (template.pairs_LL[bases, bases], posterior.pair_map()),
            (template.coverage_L[bases], posterior.match_ML.sum(axis=0).clip(max=1.0)),
            (template.confidence_L[bases], sure),
        ):
            np.maximum(whole, new, out=whole)
    return found
