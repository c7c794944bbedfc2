"""How a stream of RNAs becomes batches: similar lengths under a budget, overlapping windows over long ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

__all__ = ["blend_weights", "buckets", "read_ahead", "window_starts"]


T = TypeVar("T")

MOST_PADDING = 0.05
SMALL_BATCH = 256
"""Up to this padded size, filling a batch gains more than its padding costs."""


def read_ahead(items: Iterable[T], size_of: Callable[[T], int], budget: int, *, cap: int = 16) -> Iterator[list[T]]:
    """Cut a stream into chunks of about ``budget``, 2x, 4x ... ``cap``x ``budget`` summed size.

    Small first chunks bring the first results early; large later ones give similar lengths to batch.
    When the stream raises, what was read before it is yielded first, so nothing complete is lost.
    """
    chunk: list[T] = []
    size, scale = 0, 1
    failure: Exception | None = None
    source = iter(items)
    while True:
        try:
            item = next(source)
        except StopIteration:
            break
        except Exception as error:
            failure = error
            break
        chunk.append(item)
        size += size_of(item)
        if size >= budget * scale:
            yield chunk
            chunk, size, scale = [], 0, min(2 * scale, cap)
    if chunk:
        yield chunk
    if failure is not None:
        raise failure


def buckets(sizes: Sequence[int], budget: int, *, small: int = SMALL_BATCH) -> list[list[int]]:
    """Group items of similar size so that count x largest size stays within the budget.

    Padding costs as much as content, so no more than a twentieth of a batch is padding, unless the batch is ``small``.

    Returns:
        Lists of indices into ``sizes``; an item over the budget stands alone.
    """
    groups: list[list[int]] = []
    content = 0
    for index in sorted(range(len(sizes)), key=lambda k: sizes[k]):
        size = sizes[index]
        padded = (len(groups[-1]) + 1) * size if groups else 0
        snug = padded <= small or padded - content - size <= MOST_PADDING * padded
        if groups and padded <= budget and snug:
            groups[-1].append(index)
            content += size
        else:
            groups.append([index])
            content = size
    return groups


def window_starts(length: int, size: int, overlap: int) -> list[int]:
    """Starts (0-based) of the fewest windows that cover ``length`` with at least ``overlap`` in common.

    All windows have the full ``size`` and lie evenly; one window at 0 if the sequence fits.
    """
    if length <= size:
        return [0]
    count = -(-(length - overlap) // (size - overlap))
    return [round(k * (length - size) / (count - 1)) for k in range(count)]


def blend_weights(start: int, size: int, length: int, overlap: int) -> np.ndarray:
    """Weights (size,) of one window's rows: 1 inside, a linear ramp over the overlap at cut ends.

    The ends of the sequence itself keep weight 1. Divide by the sum over windows to blend.
    """
    weights = np.ones(size, dtype=np.float32)
    ramp = np.arange(1, overlap + 1, dtype=np.float32) / (overlap + 1)
    if start > 0:
        weights[:overlap] = ramp
    if start + size < length:
        weights[size - overlap :] = np.minimum(weights[size - overlap :], ramp[::-1])
    return weights
