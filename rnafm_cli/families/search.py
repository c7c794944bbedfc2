"""Which families an RNA belongs to, and where: all profiles of one or more libraries against it, by pyhmmer.

E-values are those of one RNA against the whole library, whatever else is searched with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rnafm_cli.families.library import Family, Library

if TYPE_CHECKING:
    from pyhmmer.plan7 import OptimizedProfile

__all__ = ["MAX_EVALUE", "Hit", "Search", "compatible"]

MAX_EVALUE = 1e-3
_OVERLAP = 0.2
_LONGEST = 100_000


@dataclass(frozen=True, eq=False)
class Hit:
    """A stretch of an RNA that a profile finds.

    Args:
        family: whose profile it is.
        library: name of its library.
        start, end: the stretch, 0-based, end excluded, on the strand that was searched.
        score: bits.
        evalue: expected number of such hits by chance in one RNA of this length and this library.
        model_start, model_end: match states that are aligned, 0-based, end excluded.
    """

    family: Family
    library: str
    start: int
    end: int
    score: float
    evalue: float
    model_start: int
    model_end: int

    def __len__(self) -> int:
        return self.end - self.start

    def overlap(self, other: Hit) -> int:
        """Bases that both hits hold."""
        return max(0, min(self.end, other.end) - max(self.start, other.start))

    def stretch(self, length: int) -> tuple[int, int]:
        """The part of an RNA of ``length`` bases to align: what the profile lacks on either side is let in."""
        before, after = self.model_start, len(self.family) - self.model_end
        return max(0, self.start - before - 10), min(length, self.end + after + 10)


class Search:
    """Families of libraries, earlier ones first: a family of a later library that an earlier one holds is left out."""

    def __init__(self, libraries: Sequence[Library], *, max_evalue: float = MAX_EVALUE) -> None:
        self.max_evalue = max_evalue
        families: dict[str, tuple[Family, str]] = {}
        for library in libraries:
            for family in library.families:
                families.setdefault(family.accession, (family, library.name))
        self.families = families

    @cached_property
    def _profiles(self) -> list[OptimizedProfile]:
        from pyhmmer.easel import Alphabet
        from pyhmmer.plan7 import Background, Profile

        background = Background(Alphabet.rna())
        profiles = []
        for family, _ in self.families.values():
            hmm = family.hmm()
            profile = Profile(hmm.M, hmm.alphabet)
            profile.configure(hmm, background, 100)
            profiles.append(profile.to_optimized())
        return profiles

    def hits(self, sequences: Sequence[str]) -> list[list[Hit]]:
        """All hits of each RNA, best first, overlapping ones too."""
        from pyhmmer.easel import Alphabet, DigitalSequenceBlock, TextSequence
        from pyhmmer.plan7 import Background, Pipeline

        alphabet = Alphabet.rna()
        named = [TextSequence(name=str(k), sequence=text).digitize(alphabet) for k, text in enumerate(sequences)]
        block = DigitalSequenceBlock(alphabet, named)
        size, limit = float(len(self.families)), self.max_evalue
        pipeline = Pipeline(alphabet, background=Background(alphabet), Z=size, domZ=size, E=limit, domE=limit)
        found: list[list[Hit]] = [[] for _ in sequences]
        for profile, (family, library) in zip(self._profiles, self.families.values(), strict=True):
            for hit in pipeline.search_hmm(profile, block).reported:
                for domain in hit.domains.reported:
                    aligned = domain.alignment
                    found[int(hit.name)].append(
                        Hit(
                            family,
                            library,
                            domain.env_from - 1,
                            domain.env_to,
                            domain.score,
                            domain.i_evalue,
                            aligned.hmm_from - 1,
                            aligned.hmm_to,
                        )
                    )
            pipeline.clear()
        for hits in found:
            hits.sort(key=lambda hit: (hit.evalue, -hit.score, hit.family.accession))
        return found


def compatible(hits: Iterable[Hit]) -> list[Hit]:
    """Of hits, best first, those that overlap no better one by more than a fifth of the shorter."""
    kept: list[Hit] = []
    for hit in hits:
        if all(hit.overlap(other) <= _OVERLAP * min(len(hit), len(other)) for other in kept):
            kept.append(hit)
    return kept
