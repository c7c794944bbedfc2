"""Batches of similar length under a budget, cut from a stream without changing its order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

__all__ = ["buckets", "read_ahead"]

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
