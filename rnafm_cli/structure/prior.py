"""Thermodynamic priors of records on their way to a head, computed in other processes: ViennaRNA holds the
interpreter while it works.

``python -m rnafm_cli.structure.prior`` is such a process: pickled requests on stdin, pickled answers on stdout.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from typing import IO
from weakref import WeakKeyDictionary

import numpy as np

from rnafm_cli.rna import thermo
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.rna.thermo import Parameters
from rnafm_cli.structure.evidence import Evidence

__all__ = ["PriorProcesses", "PriorRequest", "Priors", "prior_of"]


LONGEST_SPAN = 800
"""Pairs farther apart are left out of the prior of a long RNA."""

PriorRequest = tuple[str, thermo.Parameters, str | None, np.ndarray | None]
"""Sequence, energy parameters, constraint, SHAPE reactivities."""


def prior_of(request: PriorRequest) -> np.ndarray:
    """ViennaRNA's pair probabilities, (L, L) symmetric; of a long RNA of which nothing is known, local ones."""
    sequence, parameters, constraint, reactivities = request
    long = len(sequence) > thermo.LONGEST_EXACT
    if long and constraint is None and reactivities is None:
        return thermo.local_pair_probabilities(sequence, parameters=parameters, max_span=LONGEST_SPAN)
    max_span = LONGEST_SPAN if long else None
    return thermo.pair_probabilities(
        sequence, parameters=parameters, constraint=constraint, shape=reactivities, max_span=max_span
    )


class PriorProcesses:
    """A few processes that compute priors in the order in which they are asked for.

    They start with the first request and end with this process, however it ends. If one dies, what it had to do is
    done here.

    Args:
        count: of processes, at least 1.
        most_bytes: results that nobody has taken yet may take; then the processes wait.
    """

    def __init__(self, count: int, *, most_bytes: int = 1 << 27) -> None:
        self._count, self._most_bytes = count, most_bytes
        self._waiting: queue.SimpleQueue[tuple[PriorRequest, Future[np.ndarray]]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._taken = threading.Condition()
        self._held = 0

    def submit(self, request: PriorRequest) -> Future[np.ndarray]:
        """Ask for a prior; get it by :meth:`take`."""
        if not self._threads:
            self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self._count)]
            for thread in self._threads:
                thread.start()
        future: Future[np.ndarray] = Future()
        self._waiting.put((request, future))
        return future

    def take(self, request: PriorRequest, future: Future[np.ndarray]) -> np.ndarray:
        """What :meth:`submit` was asked for, once; computed here if no process has begun with it."""
        if future.cancel():
            return prior_of(request)
        found = future.result()
        with self._taken:
            self._held -= found.nbytes
            self._taken.notify_all()
        return found

    def _serve(self) -> None:
        process = _start()
        while True:
            request, future = self._waiting.get()
            with self._taken:
                self._taken.wait_for(lambda: self._held < self._most_bytes)
            if not future.set_running_or_notify_cancel():
                continue
            try:
                answer = None if process is None else _ask(process, request)
                if answer is None:
                    process = None
                    answer = prior_of(request)
            except Exception as error:
                future.set_exception(error)
            else:
                with self._taken:
                    self._held += answer.nbytes
                future.set_result(answer)


def _start() -> subprocess.Popen[bytes] | None:
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "rnafm_cli.structure.prior"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    except OSError:
        return None


def _ask(process: subprocess.Popen[bytes], request: PriorRequest) -> np.ndarray | None:
    """The answer of a process, None if it died.

    Raises:
        Exception: what the computation raised there.
    """
    assert process.stdin is not None and process.stdout is not None
    try:
        pickle.dump(request, process.stdin)
        process.stdin.flush()
        answer = pickle.load(process.stdout)
    except (OSError, EOFError, pickle.UnpicklingError):
        process.kill()
        return None
    if isinstance(answer, Exception):
        raise answer
    found: np.ndarray = answer
    return found


def _work(requests: IO[bytes], answers: IO[bytes]) -> None:
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        try:
            answer: np.ndarray | Exception = prior_of(request)
        except Exception as error:
            answer = error
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


def main() -> None:
    """Serve until stdin ends."""
    # Ctrl-C goes to every process of the terminal; this one ends when the one that asks does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(1)
    # Whatever ViennaRNA prints must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(BrokenPipeError):
        _work(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()


LONGEST_FORESEEN = 1000
"""Longer RNAs wait for their turn here, where their memory is accounted for."""

START_AFTER = 12
"""Records before other processes start: a few RNAs are folded before they would be ready."""


class Priors:
    """ViennaRNA's pair probabilities; those of foreseen records are computed while the networks run.

    Args:
        parameters: energy parameters, those of the head's training.
        processes: how many processes help; 0 computes everything here, when it is needed.
    """

    def __init__(self, parameters: Parameters, processes: int = 0) -> None:
        self._parameters = parameters
        self._helpers = PriorProcesses(processes) if processes else None
        self._foreseen = 0
        self._coming: WeakKeyDictionary[SequenceRecord, Future[np.ndarray]] = WeakKeyDictionary()

    def foresee(self, record: SequenceRecord, evidence: Evidence) -> None:
        """Say that a record's prior will be needed."""
        self._foreseen += 1
        short = len(record.sequence) <= LONGEST_FORESEEN
        if self._helpers is not None and short and self._foreseen > START_AFTER:
            self._coming[record] = self._helpers.submit(self._request(record, evidence))

    def of(self, record: SequenceRecord, evidence: Evidence) -> np.ndarray:
        """(L, L) float32, symmetric.

        Raises:
            RnafmError: when ViennaRNA is missing.
        """
        request, future = self._request(record, evidence), self._coming.pop(record, None)
        if future is None or self._helpers is None:
            return prior_of(request)
        return self._helpers.take(request, future)

    def _request(self, record: SequenceRecord, evidence: Evidence) -> PriorRequest:
        return record.sequence, self._parameters, evidence.nested(record.sequence), evidence.reactivities
