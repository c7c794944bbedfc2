"""How the pair map of an RNA fits into memory: whole, or in windows that are stitched together.

Shape suffixes: L bases, W bases of a window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnafm_cli.encoder.batches import blend_weights, window_starts
from rnafm_cli.errors import InputError
from rnafm_cli.rna.records import SequenceRecord

__all__ = ["GIGABYTE", "PairPlan", "check_memory", "default_max_memory", "plan_pairs", "stitch"]


GIGABYTE = 10**9
DEFAULT_GIGABYTES = 4
PROCESS_BYTES = int(0.6 * GIGABYTE)
"""Interpreter, libraries, encoder and heads, before any RNA."""
DECODING_BYTES = 20
"""For each pair of bases: its probability, its prior, and at worst a sum of the decoder's."""
WIDEST_WINDOW = 2048
"""Windows overlap by half, so this one still holds every pair that the local prior knows of."""
NARROWEST_WINDOW = 512
_WINDOW_STEP = 128


@dataclass(frozen=True)
class PairPlan:
    """What one RNA will need.

    Args:
        window: bases of a window; None for the whole map at once.
        bytes: predicted peak of the whole process.
        whole: the same without windows.
    """

    window: int | None
    bytes: int
    whole: int


def plan_pairs(length: int, max_bytes: int, *, cell_bytes: int, prior_cell_bytes: int, windows: bool) -> PairPlan:
    """Choose how to compute a pair map.

    Args:
        length: L.
        max_bytes: what the process may take.
        cell_bytes: the network's working memory for a pair of bases.
        prior_cell_bytes: the prior's, which is needed and given back before the network's.
        windows: whether the predictor can work in windows; it does so only if the whole does not fit.

    Returns:
        A plan whose ``bytes`` may still exceed the limit, when not even windows help.
    """
    fixed = PROCESS_BYTES + DECODING_BYTES * length**2

    def peak(size: int) -> int:
        return fixed + max(cell_bytes * size**2, prior_cell_bytes * length**2)

    whole = peak(length)
    if whole <= max_bytes or not windows or length <= NARROWEST_WINDOW:
        return PairPlan(None, whole, whole)
    room = max(max_bytes - fixed, 0) // cell_bytes
    size = int(room**0.5) // _WINDOW_STEP * _WINDOW_STEP
    size = min(max(size, NARROWEST_WINDOW), WIDEST_WINDOW, length)
    return PairPlan(size, peak(size), whole)


def check_memory(
    record: SequenceRecord,
    plan: PairPlan,
    max_bytes: int,
    tell: Callable[[str], None] | None,
    *,
    doing: str = "folding",
) -> None:
    """Refuse an RNA that would not fit, and tell of one that goes in windows, before work on it begins.

    Args:
        doing: what is about to be done, for the messages.

    Raises:
        InputError: when not even windows fit.
    """
    length = len(record.sequence)
    if plan.bytes > max_bytes:
        raise InputError(
            f"{record.where}: {doing} {length} nt takes about {plan.bytes / GIGABYTE:.1f} GB "
            f"and the limit is {max_bytes / GIGABYTE:.1f} GB",
            hint=f"--max-memory {-(-plan.bytes // GIGABYTE)} allows it, or cut the sequence into overlapping parts",
        )
    if plan.window is not None and tell is not None:
        tell(
            f"{record.where}: {length} nt would take about {plan.whole / GIGABYTE:.1f} GB at once; "
            f"{doing} in windows of {plan.window} nt (about {plan.bytes / GIGABYTE:.1f} GB)"
        )


def stitch(
    length: int,
    window: int,
    block: Callable[[slice], np.ndarray],
    outside_LL: np.ndarray | None,
    *,
    one_partner: bool = True,
) -> np.ndarray:
    """A map of a long RNA, pair probabilities say, from those of its windows.

    Windows overlap by half. A pair within several gets their mean, weighted by how far from a cut its bases
    lie; a pair within none gets ``outside_LL``.

    Args:
        block: gives the (W, W) symmetric map of a slice of bases.
        outside_LL: (L, L) values for pairs too far apart for a window; 0 if None.
        one_partner: whether a base has one partner at most: rows that sum to more than 1 are then scaled down.

    Returns:
        (L, L) float32, symmetric.
    """
    overlap = window // 2
    starts = window_starts(length, window, overlap)
    weights = [blend_weights(start, window, length, overlap) for start in starts]
    p_LL = np.zeros((length, length), dtype=np.float32) if outside_LL is None else outside_LL.copy()
    for start in starts:
        p_LL[start : start + window, start : start + window] = 0.0
    for number, start in enumerate(starts):
        total_WW = np.zeros((window, window), dtype=np.float32)
        for other, weights_W in zip(starts, weights, strict=True):
            shared = np.zeros(window, dtype=np.float32)
            low, high = max(start, other), min(start, other) + window
            if low < high:
                shared[low - start : high - start] = weights_W[low - other : high - other]
                total_WW += shared[:, None] * shared
        mine_WW = weights[number][:, None] * weights[number]
        part = slice(start, start + window)
        p_LL[part, part] += block(part) * (mine_WW / total_WW)
    if not one_partner:
        return p_LL
    most_L = np.maximum(p_LL.sum(axis=1, dtype=np.float64), 1.0).astype(np.float32)
    if (most_L > 1.0).any():
        for i in range(length):
            p_LL[i] /= np.maximum(most_L[i], most_L)
    return p_LL


def default_max_memory() -> int:
    """Bytes a run takes unless told otherwise: 4 GB, or four fifths of what is free where that is less."""
    free = _free_bytes()
    return DEFAULT_GIGABYTES * GIGABYTE if free is None else min(DEFAULT_GIGABYTES * GIGABYTE, free * 4 // 5)


def _free_bytes() -> int | None:
    """Memory that this process could still get; None where the system does not say."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError):
        pass
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
        found.append(int(limit) - int(used))
    except (OSError, ValueError):
        pass
    return max(min(found), 0) if found else None
