"""AUGs in a 5' UTR, which lies directly before the start codon: where a ribosome may begin too early."""

from __future__ import annotations

import re
from dataclasses import dataclass

CONTEXTS = ("none", "in-frame", "out-of-frame", "uORF")
"""No upstream AUG; only AUGs in the frame of the start codon; one out of frame that runs into the coding sequence; one
out of frame, each with a stop codon before it."""

_STARTS = re.compile("(?=AUG)")
_STOPS = {"UAA", "UAG", "UGA"}


@dataclass(frozen=True, slots=True)
class UpstreamStart:
    """An upstream AUG.

    Args:
        position: of its A, 0-based.
        frame: 0 in the frame of the start codon; 1 or 2: so many bases ahead of it.
        stop: position of the first stop codon in its own frame within the UTR, or None.
    """

    position: int
    frame: int
    stop: int | None


def upstream_starts(utr: str) -> list[UpstreamStart]:
    """All AUGs of a UTR, from the 5' end; the start codon follows the UTR's last base."""
    found = []
    for match in _STARTS.finditer(utr):
        begin = match.start()
        stop = next((k for k in range(begin + 3, len(utr) - 2, 3) if utr[k : k + 3] in _STOPS), None)
        found.append(UpstreamStart(begin, (len(utr) - begin) % 3, stop))
    return found


def start_context(utr: str) -> str:
    """The one of ``CONTEXTS`` that a UTR belongs to; an overlapping out-of-frame AUG outweighs the others."""
    starts = upstream_starts(utr)
    if not starts:
        return "none"
    shifted = [start for start in starts if start.frame]
    if not shifted:
        return "in-frame"
    return "out-of-frame" if any(start.stop is None for start in shifted) else "uORF"
