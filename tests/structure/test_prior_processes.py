"""Priors from other processes: the same numbers, errors that arrive, and processes that may die or wait."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rnafm_cli.errors import InputError
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.rna.thermo import TURNER
from rnafm_cli.structure import prior as prior_processes
from rnafm_cli.structure.evidence import Evidence
from rnafm_cli.structure.prior import START_AFTER, PriorProcesses, PriorRequest, Priors, prior_of

pytest.importorskip("RNA")

PARAMETERS = ("andronescu2007", "langdon2018")


def requests(count: int, length: int = 60) -> list[PriorRequest]:
    rng = random.Random(0)
    return [("".join(rng.choices("ACGU", k=length)), PARAMETERS, None, None) for _ in range(count)]


def wait(pool: PriorProcesses, futures) -> None:  # type: ignore[no-untyped-def]
    for future in futures:
        while not future.done():
            time.sleep(0.01)


def test_results_are_those_of_this_process() -> None:
    pool, wanted = PriorProcesses(2), requests(6)
    wanted.append((wanted[0][0], TURNER, "x" * 60, np.full(60, np.nan)))
    futures = [pool.submit(request) for request in wanted]
    wait(pool, futures)
    for request, future in zip(wanted, futures, strict=True):
        np.testing.assert_array_equal(pool.take(request, future), prior_of(request))


def test_errors_arrive_and_the_process_goes_on() -> None:
    pool, good = PriorProcesses(1), requests(1)[0]
    bad: PriorRequest = (good[0], PARAMETERS, "x" * 59, None)
    first, second = pool.submit(bad), pool.submit(good)
    wait(pool, [first, second])
    with pytest.raises(InputError, match="59 positions"):
        pool.take(bad, first)
    np.testing.assert_array_equal(pool.take(good, second), prior_of(good))


def test_what_a_dead_process_had_to_do_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = prior_processes._start

    def noted() -> subprocess.Popen[bytes]:
        process = start()
        assert process is not None
        started.append(process)
        return process

    monkeypatch.setattr(prior_processes, "_start", noted)
    pool, wanted = PriorProcesses(1), requests(3)
    first = pool.submit(wanted[0])
    wait(pool, [first])
    os.kill(started[0].pid, signal.SIGKILL)
    started[0].wait()
    futures = [first, *map(pool.submit, wanted[1:])]
    wait(pool, futures)
    for request, future in zip(wanted, futures, strict=True):
        np.testing.assert_array_equal(pool.take(request, future), prior_of(request))


def test_what_nobody_takes_does_not_pile_up() -> None:
    pool, wanted = PriorProcesses(1, most_bytes=3 * 60 * 60 * 4), requests(8)
    futures = [pool.submit(request) for request in wanted]
    wait(pool, futures[:3])
    time.sleep(0.2)
    assert not any(future.done() for future in futures[3:])
    # Taken from the other end: what no process has begun is computed here.
    for request, future in reversed(list(zip(wanted, futures, strict=True))):
        np.testing.assert_array_equal(pool.take(request, future), prior_of(request))


def test_records_foreseen_taken_or_never_come() -> None:
    priors, wanted = Priors(PARAMETERS, 1), [request[0] for request in requests(START_AFTER + 6)]
    records = [SequenceRecord(f"r{k}", sequence, "", "x.fa", k) for k, sequence in enumerate(wanted)]
    for record in records:
        priors.foresee(record, Evidence())
    assert len(priors._coming) == 6
    for record in records[::2]:
        np.testing.assert_array_equal(
            priors.of(record, Evidence()), prior_of((record.sequence, PARAMETERS, None, None))
        )
    del records, record
    assert not priors._coming, "records that were left out on the way are still held"


def test_processes_end_with_the_one_that_asked(tmp_path: Path) -> None:
    script = (
        "import sys; from rnafm_cli.structure import prior as p; pool = p.PriorProcesses(1)\n"
        "start = p._start\n"
        "def noted():\n    process = start(); print(process.pid, flush=True); return process\n"
        "p._start = noted\n"
        "request = ('GGGGAAAACCCC', ('turner2004',), None, None); future = pool.submit(request)\n"
        "while not future.done(): pass\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    pid = int(run.stdout)
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.02)
    pytest.fail("the process outlives its parent")
