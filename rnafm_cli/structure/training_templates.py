"""What families say of training and development records, from alignments in which no record has a close relative.

A head that always saw the right family would believe it blindly. So the rows of the alignments are dealt into halves by
clusters, and a training record gets the template of the half that has fewer rows close to it. A chain with a known
structure is told of other chains of its family, but of none that is nearly the same. Shapes: L bases, N pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rnafm_cli.errors import InputError
from rnafm_cli.families.alignment import Template, templates
from rnafm_cli.families.known_chains import Placed, shape_of
from rnafm_cli.families.library import build_library, far_rows
from rnafm_cli.families.search import Search
from rnafm_cli.io.stockholm import Alignment, read_stockholm
from rnafm_cli.io.streams import atomic_path
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.kmers import close_pairs, greedy_clusters, kmer_matrix
from rnafm_cli.training.trainer import UNREADABLE, Progress

_SEED = 7
_CUTOFF = 0.01
_AT_ONCE = 256


_Kept = tuple[torch.Tensor, torch.Tensor]
"""Of a template: (3, N) float32, rows, columns and probabilities of pairs; (2, L) float16, coverage and confidence."""


@dataclass(frozen=True)
class RecordTemplates:
    """Templates by sequence.

    Args:
        found: of the sequences of which a family is known.
        close: training sequences that are close to a row of the alignments behind their template.
    """

    found: dict[str, _Kept]
    close: frozenset[str]

    def of(self, sequence: str) -> Template | None:
        """The template of a record, without the hits behind it."""
        if sequence not in self.found:
            return None
        pairs_3N, sure_2L = (kept.numpy() for kept in self.found[sequence])
        row, column = pairs_3N[:2].astype(np.int64)
        pairs_LL = np.zeros((len(sequence), len(sequence)), dtype=np.float32)
        pairs_LL[row, column] = pairs_LL[column, row] = pairs_3N[2]
        return Template([], pairs_LL, *sure_2L.astype(np.float32))


def far_alignments(path: Path, held_out: Sequence[str], families: Collection[str]) -> list[Alignment]:
    """The alignments of a Stockholm file without held-out families and without rows close to a held-out sequence.

    Raises:
        InputError: when nothing is left.
    """
    kept = [far for one in read_stockholm(path) if one.accession not in families and (far := far_rows(one, held_out))]
    if not kept:
        raise InputError(f"{path}: no alignment is left", hint="each is held out or close to a development record")
    return kept


def dealt_halves(alignments: Sequence[Alignment]) -> tuple[list[Alignment], list[Alignment]]:
    """The rows of the alignments dealt into two halves at random, close ones to the same half."""
    sequences = [row.replace("-", "") for one in alignments for row in one.rows]
    clusters = greedy_clusters(sequences)
    half_of = np.random.default_rng(_SEED).integers(2, size=int(clusters.max(initial=0)) + 1)[clusters]
    ends = np.cumsum([len(one.rows) for one in alignments])
    halves: tuple[list[Alignment], list[Alignment]] = ([], [])
    for one, part in zip(alignments, np.split(half_of, ends[:-1]), strict=True):
        for number, half in enumerate(halves):
            if len(rows := np.flatnonzero(part == number)):
                half.append(replace(one, names=[one.names[k] for k in rows], rows=[one.rows[k] for k in rows]))
    return halves


def record_templates(
    path: Path,
    train: Sequence[str],
    dev: Sequence[str],
    *,
    families: Collection[str],
    cache: Path,
    threads: int = 1,
    progress: Progress = lambda what, done, total: None,
) -> RecordTemplates:
    """Templates of training sequences from the half that is farther from each, of development ones from all rows.

    Args:
        path: Stockholm file.
        families: accessions that are held out.
        cache: file of what an earlier call found for the same sequences and alignments.
    """
    alignments = far_alignments(path, dev, families)
    lines = [*train, "", *dev, "", *(row for one in alignments for row in (one.accession, *one.rows))]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    with suppress(*UNREADABLE):  # what is damaged is found again
        state = torch.load(cache, weights_only=True)
        if state["digest"] == digest:
            return RecordTemplates(state["found"], frozenset(state["close"]))
    halves = dealt_halves(alignments)
    counts_2N = np.stack([_close_rows(train, half) for half in halves])
    ties_2N = np.random.default_rng(_SEED).random(counts_2N.shape)
    chosen_N = np.lexsort((ties_2N, counts_2N), axis=0)[0]
    jobs = [(alignments, list(dev))]
    jobs += [
        (half, [s for s, k in zip(train, chosen_N, strict=True) if k == number]) for number, half in enumerate(halves)
    ]
    found: dict[str, _Kept] = {}
    done, total = 0, len(train) + len(dev)
    for part, sequences in jobs:
        try:
            search = Search([build_library(part, "training", reject=lambda error: None)], threads=threads)
        except InputError:
            # Half of a small set may be too few rows for a profile.
            search = Search([])
        for start in range(0, len(sequences), _AT_ONCE):
            block = sequences[start : start + _AT_ONCE]
            for sequence, template in zip(block, templates(block, search), strict=True):
                if template is not None:
                    found[sequence] = _kept(template)
            done += len(block)
            progress("families", done, total)
    close = sorted(s for s, count in zip(train, counts_2N.min(axis=0), strict=True) if count)
    with atomic_path(cache) as scratch:
        torch.save({"digest": digest, "found": found, "close": close}, scratch)
    return RecordTemplates(found, frozenset(close))


def _kept(template: Template) -> _Kept:
    row, column = np.nonzero(np.triu(template.pairs_LL, 1) >= _CUTOFF)
    pairs_3N = np.stack([row, column, template.pairs_LL[row, column]]).astype(np.float32)
    sure_2L = np.stack([template.coverage_L, template.confidence_L]).astype(np.float16)
    return torch.from_numpy(pairs_3N), torch.from_numpy(sure_2L)


def chain_templates(
    chains: Sequence[Chain],
    placed: Sequence[Placed],
    search: Search,
    *,
    folds: NDArray[np.int64],
    clusters: NDArray[np.int64],
) -> list[Template | None]:
    """What families say of chains, and of their known structures those of the other chains.

    Folds keep families whole, so all relatives of a chain lie in its fold; chains of other folds are not looked at, and
    nothing of a fold that is held out enters the training on the others.

    Args:
        placed: the chains on their families.
        folds: (n,) fold of each chain.
        clusters: (n,) number of its cluster: it is told nothing of the chains of its own.
    """
    found = []
    for start in range(0, len(chains), _AT_ONCE):
        found += templates([chain.sequence for chain in chains[start : start + _AT_ONCE]], search)
    for one in placed:
        relatives = [
            other
            for other in placed
            if other.family is one.family
            and folds[other.number] == folds[one.number]
            and clusters[other.number] != clusters[one.number]
        ]
        shape, template = shape_of(relatives, chains), found[one.number]
        if shape is not None and template is not None:
            template.add_relatives(shape, one.match_ML, one.bases)
    return found


def _close_rows(sequences: Sequence[str], alignments: Sequence[Alignment]) -> NDArray[np.int64]:
    """(n,) how many rows of the alignments are close to each sequence."""
    counts = np.zeros(len(sequences), dtype=np.int64)
    rows = kmer_matrix([row.replace("-", "") for one in alignments for row in one.rows])
    for numbers, _ in close_pairs(kmer_matrix(sequences), rows):
        counts += np.bincount(numbers, minlength=len(sequences))
    return counts
