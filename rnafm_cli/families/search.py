"""Which families an RNA belongs to, and where: all profiles of one or more libraries against it, by pyhmmer.

E-values are those of one RNA against the whole library, whatever else is searched with it. A long RNA is searched in
overlapping windows, and its E-values count them: they tell how many such hits chance gives in the whole of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from rnafm_cli.encoder.workers import read_ahead
from rnafm_cli.families.library import Family, Library, load_libraries

if TYPE_CHECKING:
    from pyhmmer.easel import RNA, DigitalSequenceBlock
    from pyhmmer.plan7 import OptimizedProfile

MAX_EVALUE = 1e-3
_OVERLAP = 0.2
_WINDOWS = ((300, 1_500), (100_000, 20_000))
"""Most match states of a family, and bases searched at once for such: HMMER's filters see less in longer stretches."""
_BLOCK = 1_000_000
"""Bases of the windows that one call of the search holds."""
_COMPLEMENT = str.maketrans("ACGURYKMSWBDHVN", "UGCAYRMKSWVHDBN")

Strands = Literal["plus", "both"]
_Entry: TypeAlias = "tuple[OptimizedProfile, Family, str]"
"""A profile, its family and the name of its library."""


def reverse_complement(sequence: str) -> str:
    """The other strand of upper-case RNA, IUPAC letters included."""
    return sequence.translate(_COMPLEMENT)[::-1]


@dataclass(frozen=True, eq=False)
class Hit:
    """A stretch of an RNA that a profile finds.

    Args:
        family: whose profile it is.
        library: name of its library.
        start, end: the stretch, 0-based, end excluded, on the sequence as it is given, whatever the strand.
        score: bits.
        evalue: expected number of such hits by chance in this RNA, by all profiles.
        model_start, model_end: match states that are aligned, 0-based, end excluded.
        strand: ``+``, or ``-`` where the reverse complement matches.
    """

    family: Family
    library: str
    start: int
    end: int
    score: float
    evalue: float
    model_start: int
    model_end: int
    strand: str = "+"

    def __len__(self) -> int:
        return self.end - self.start

    def overlaps(self, other: Hit, share: float) -> bool:
        """Whether they have more than a share of the shorter one in common."""
        both = min(self.end, other.end) - max(self.start, other.start)
        return both > share * min(len(self), len(other))

    def stretch(self, length: int) -> tuple[int, int]:
        """The part of an RNA of ``length`` bases to align: what the profile lacks on either side is let in."""
        before, after = self.model_start, len(self.family) - self.model_end
        if self.strand == "-":
            before, after = after, before
        return max(0, self.start - before - 10), min(length, self.end + after + 10)


class _Window(NamedTuple):
    """A part of a strand of an RNA with a number in the batch."""

    number: int
    strand: str
    start: int
    text: str


class Search:
    """Families of libraries, earlier ones first: a family of a later library that an earlier one holds is left out.

    One search at a time: its profiles adapt to the RNA at hand.

    Args:
        max_evalue: hits of higher E-values are not told.
        threads: the profiles are dealt out to so many.
    """

    def __init__(self, libraries: Sequence[Library], *, max_evalue: float = MAX_EVALUE, threads: int = 1) -> None:
        from pyhmmer.easel import Alphabet
        from pyhmmer.plan7 import Background, Profile

        self.max_evalue, self.threads = max_evalue, threads
        families: dict[str, tuple[Family, str]] = {}
        for library in libraries:
            for family in library.families:
                families.setdefault(family.accession, (family, library.name))
        self.families = families
        self._tiers: dict[int, list[_Entry]] = {}
        """The profiles by the windows they are searched in."""
        alphabet = Alphabet.rna()
        background = Background(alphabet)
        # One profile is configured for family after family: to make 3,000 takes longer than to fill them.
        profile = Profile(max((len(family) for family, _ in families.values()), default=1), alphabet)
        for family, name in families.values():
            profile.configure(family.hmm(), background, 100)
            window = next((window for most, window in _WINDOWS if len(family) <= most), _WINDOWS[-1][1])
            self._tiers.setdefault(window, []).append((profile.to_optimized(), family, name))

    def hits(self, sequences: Sequence[str], *, strands: Strands = "plus") -> list[list[Hit]]:
        """All hits of each RNA, best first, overlapping ones too.

        Args:
            sequences: upper-case RNA.
            strands: ``both`` searches the reverse complements as well.
        """
        found: list[list[Hit]] = [[] for _ in sequences]
        for size, profiles in self._tiers.items():
            # A hit of the longest family lies whole in one of two neighbouring windows.
            longest = max(len(family) for _, family, _ in profiles)
            step = size - min(size // 2, longest + longest // 4 + 100)
            starts = [range(0, max(1, len(sequence) - size + step), step) for sequence in sequences]
            windows = _windows(sequences, starts, size, "+-" if strands == "both" else "+")
            for block in read_ahead(windows, lambda window: len(window.text), _BLOCK, cap=1):
                for window, hit in self._search(block, profiles):
                    length = len(sequences[window.number])
                    start, end = hit.start + window.start, hit.end + window.start
                    if window.strand == "-":
                        start, end = length - end, length - start
                    evalue = hit.evalue * len(starts[window.number]) * (2 if strands == "both" else 1)
                    if evalue <= self.max_evalue:
                        hit = replace(hit, start=start, end=end, strand=window.strand, evalue=evalue)
                        found[window.number].append(hit)
        for hits, sequence in zip(found, sequences, strict=True):
            hits.sort(key=lambda hit: (hit.evalue, -hit.score, hit.family.accession, hit.start, hit.strand))
            if len(sequence) > _WINDOWS[0][1]:
                # A second view of a hit from a neighbouring window is none.
                hits[:] = _apart(hits, lambda hit: (hit.family.accession, hit.strand), 0.5)
        return found

    def _search(self, windows: list[_Window], profiles: Sequence[_Entry]) -> Iterator[tuple[_Window, Hit]]:
        """Hits as they lie in their windows."""
        from pyhmmer.easel import Alphabet, DigitalSequenceBlock, TextSequence

        alphabet = Alphabet.rna()
        named = [TextSequence(name=str(k), sequence=w.text).digitize(alphabet) for k, w in enumerate(windows)]
        work = partial(self._search_share, block=DigitalSequenceBlock(alphabet, named))
        shares = [profiles[k :: self.threads] for k in range(self.threads)]
        with ThreadPoolExecutor(self.threads) as pool:
            for hits in map(work, shares) if self.threads == 1 else pool.map(work, shares):
                yield from ((windows[number], hit) for number, hit in hits)

    def _search_share(self, profiles: Iterable[_Entry], block: DigitalSequenceBlock[RNA]) -> list[tuple[int, Hit]]:
        from pyhmmer.easel import Alphabet
        from pyhmmer.plan7 import Background, Pipeline

        # Z is fixed: otherwise E-values would count the RNAs of the block.
        size, limit, alphabet = float(len(self.families)), self.max_evalue, Alphabet.rna()
        pipeline = Pipeline(alphabet, background=Background(alphabet), Z=size, domZ=size, E=limit, domE=limit)
        found = []
        for profile, family, library in profiles:
            for hit in pipeline.search_hmm(profile, block).reported:
                for domain in hit.domains.reported:
                    start, end, aligned = domain.env_from - 1, domain.env_to, domain.alignment
                    states = (aligned.hmm_from - 1, aligned.hmm_to)
                    found.append(
                        (int(hit.name), Hit(family, library, start, end, domain.score, domain.i_evalue, *states))
                    )
            pipeline.clear()
        return found


def _windows(sequences: Sequence[str], starts: Sequence[range], size: int, strands: str) -> Iterator[_Window]:
    for number, sequence in enumerate(sequences):
        for strand in strands:
            text = sequence if strand == "+" else reverse_complement(sequence)
            for start in starts[number]:
                yield _Window(number, strand, start, text[start : start + size])


def _apart(hits: Iterable[Hit], group_of: Callable[[Hit], Any], share: float = _OVERLAP) -> list[Hit]:
    """Of hits, best first, those that have no more than a share in common with a better one of their group."""
    kept: list[Hit] = []
    groups: dict[Any, list[Hit]] = {}
    for hit in hits:
        better = groups.setdefault(group_of(hit), [])
        if not any(hit.overlaps(other, share) for other in better):
            better.append(hit)
            kept.append(hit)
    return kept


def compatible(hits: Iterable[Hit]) -> list[Hit]:
    """Of hits, best first, those that overlap no better one by more than a fifth of the shorter."""
    return _apart(hits, lambda hit: None)


def without_rivals(hits: Iterable[Hit]) -> list[Hit]:
    """Of hits, best first, those that overlap no better one of the same family or clan."""
    return _apart(hits, lambda hit: hit.family.clan or hit.family.accession)


_ahead: dict[Any, Future[Search]] = {}


def search_ahead(libraries: Sequence[str | Path], weights_dir: Path | None) -> None:
    """Begin to make what :func:`search_of` will be asked for, in a thread: torch takes as long to import."""
    if not libraries:
        return
    made: Future[Search] = Future()

    def make() -> None:
        try:
            made.set_result(Search(load_libraries(libraries, weights_dir)))
        except Exception as error:
            made.set_exception(error)

    # Where the system makes no thread, the search is made when it is asked for.
    with suppress(RuntimeError):
        Thread(target=make, daemon=True).start()
        _ahead[tuple(libraries), weights_dir] = made


def search_of(libraries: Sequence[str | Path], weights_dir: Path | None) -> Search:
    """The families of libraries by name or file, ready to be looked for.

    Raises:
        WeightsError: when there is no such library, or it cannot be used.
    """
    made = _ahead.pop((tuple(libraries), weights_dir), None)
    return made.result() if made else Search(load_libraries(libraries, weights_dir))
