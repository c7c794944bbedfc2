"""Signals wait for the end of the block, and none is lost."""

from __future__ import annotations

import signal
import threading

import pytest

from rnafm_cli.io.hdf5_embeddings import Uninterrupted


def test_interrupt_comes_after_the_block() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt):
        with Uninterrupted():
            signal.raise_signal(signal.SIGINT)
            steps.append("still here")
            with Uninterrupted():
                steps.append("inner block")
            steps.append("still whole")
        steps.append("never")
    assert steps == ["still here", "inner block", "still whole"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_others_are_run_and_restored() -> None:
    met = []
    old = signal.signal(signal.SIGTERM, lambda number, frame: met.append(number))
    try:
        with Uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            assert met == []
        assert met == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, old)


def test_other_threads_may_use_it() -> None:
    done = []

    def work() -> None:
        with Uninterrupted():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
