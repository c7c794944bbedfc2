"""A test run in the background of a shell ignores Ctrl-C; its children, which are sent one, must not inherit that."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
