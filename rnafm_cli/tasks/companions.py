"""What belongs to a record, kept while the record goes through a stage that keeps the order but may leave some out."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from rnafm_cli.rna.records import SequenceRecord

__all__ = ["Companions"]

T = TypeVar("T")


class Companions(Generic[T]):
    """A queue of records with what belongs to each; records are told apart by identity, for ids may repeat."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[SequenceRecord, T]] = deque()

    def add(self, record: SequenceRecord, companion: T) -> None:
        """Note a record that goes in."""
        self._waiting.append((record, companion))

    def of(self, record: SequenceRecord) -> T:
        """What belongs to the record that came out; those before it have been left out.

        Raises:
            IndexError: when the record never went in.
        """
        while True:
            candidate, companion = self._waiting.popleft()
            if candidate is record:
                return companion
