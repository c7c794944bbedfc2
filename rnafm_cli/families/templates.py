"""What the families say of RNAs before they are folded: expected consensus pairs, coverage, how sure the call is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.families.alignment import align
from rnafm_cli.families.search import Hit, Search, compatible
from rnafm_cli.families.shapes import Relatives

__all__ = ["Template", "templates"]


@dataclass(frozen=True, eq=False)
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


def templates(sequences: Sequence[str], search: Search, *, relatives: bool = False) -> list[Template | None]:
    """The template of each RNA; None where no family with consensus pairs is found.

    Args:
        relatives: tell what known 3D structures let expect, too.
    """
    kept = [compatible(hits) for hits in search.hits(sequences)]
    jobs, owners = [], []
    for number, (sequence, hits) in enumerate(zip(sequences, kept, strict=True)):
        for hit in hits:
            if len(hit.family.pairs):
                start, end = hit.stretch(len(sequence))
                jobs.append((hit.family, sequence[start:end]))
                owners.append((number, hit, start, end))
    found: list[Template | None] = [None] * len(sequences)
    for (number, hit, start, end), posterior in zip(owners, align(jobs), strict=True):
        template = found[number]
        if template is None:
            length = len(sequences[number])
            empty_L = np.zeros(length, dtype=np.float32)
            square_LL = np.zeros((length, length), dtype=np.float32)
            template = found[number] = Template(kept[number], square_LL, empty_L, empty_L.copy())
        if relatives and (shape := hit.family.shape) is not None:
            if template.relatives is None:
                template = found[number] = replace(template, relatives=Relatives.none(len(sequences[number])))
            assert template.relatives is not None
            template.relatives.add(Relatives.expected(shape, posterior.match_ML), slice(start, end))
        inside = slice(start, end)
        template.pairs_LL[inside, inside] = np.maximum(template.pairs_LL[inside, inside], posterior.pair_map())
        template.coverage_L[inside] = np.maximum(template.coverage_L[inside], posterior.coverage)
        sure = min(50.0, -np.log10(max(hit.evalue, 1e-50)))
        template.confidence_L[inside] = np.maximum(template.confidence_L[inside], sure)
    return found
