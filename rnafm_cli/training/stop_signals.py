"""Signals that ask a run to save and stop after the step it is in."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class StopSignals:
    """Notes SIGINT, SIGTERM, SIGUSR1 and SIGHUP for the time of a ``with`` block.

    Alone, a second Ctrl-C stops at once. Under torchrun it does not: the launcher passes on the Ctrl-C that the
    terminal has already sent to every process.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        # Only the main thread may set handlers; elsewhere (a run inside a service, say) nobody asks.
        if threading.current_thread() is threading.main_thread():
            # What was ignored stays so: under nohup a hang-up ends nothing.
            heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT and "TORCHELASTIC_RUN_ID" not in os.environ:
            raise KeyboardInterrupt
        self.received = number
