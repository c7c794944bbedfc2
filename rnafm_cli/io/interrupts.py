"""Ctrl-C held back while a library that cannot bear it is at work."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Uninterrupted"]


class Uninterrupted:
    """A ``with`` block that SIGINT and SIGTERM handlers written in Python do not cut; they run right after it.

    HDF5 calls back into Python to reach the file. An exception raised there by a signal is lost, or
    leaves the library in the middle of a change.
    """

    def __enter__(self) -> Self:
        self._met: list[int] = []
        self._handlers: dict[int, Any] = {}
        # Python runs its handlers in the main thread only; elsewhere there is nothing to hold back.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for number in self._met:
            signal.raise_signal(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._met.append(number)
