"""How a stream of RNAs becomes batches, and the processes that each work on whole batches with one thread.

No core waits for another at a barrier. The processes are copies of this one (fork) and so hold its models already.
Where a process cannot be copied, or only one CPU may be used, the work is done here.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rnafm_cli.errors import RnafmError, RnafmWarning

_Item = TypeVar("_Item")
_Job = TypeVar("_Job")
_Made = TypeVar("_Made")

_MOST_PADDING = 0.05
_SMALL_BATCH = 256
"""Up to this padded size, filling a batch gains more than its padding costs."""


def read_ahead(
    items: Iterable[_Item], size_of: Callable[[_Item], int], budget: int, *, cap: int = 16
) -> Iterator[list[_Item]]:
    """Cut a stream into chunks of about ``budget``, 2x, 4x ... ``cap``x ``budget`` summed size.

    Small first chunks bring the first results early; large later ones give similar lengths to batch.
    When the stream raises, what was read before it is yielded first, so nothing complete is lost.
    """
    chunk: list[_Item] = []
    size, scale = 0, 1
    try:
        for item in items:
            chunk.append(item)
            size += size_of(item)
            if size >= budget * scale:
                yield chunk
                chunk, size, scale = [], 0, min(2 * scale, cap)
    except Exception:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def buckets(sizes: Sequence[int], budget: int, *, small: int = _SMALL_BATCH) -> list[list[int]]:
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
        snug = padded <= small or padded - content - size <= _MOST_PADDING * padded
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


_BESIDE = 4
"""Threads that lead the processes."""
_AHEAD = 2
"""Batches in hand for each process: one being worked on, one waiting."""
_PATIENCE = 0.02
"""Seconds after which a task counts as the only one to be seen."""


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, and the quota of its container or job."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(count, cpu_quota())))


_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where the control groups are mounted, and what names those of this process: lines ``number:controllers:path``."""


def _in_groups(controller: str, groups: Path, own: Path, first: str, second: str) -> Iterator[list[str]]:
    """Words in the files of the control groups that limit this process, those above its own too.

    Args:
        first, second: names of the files of a group of version 1 and 2.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # Inside a container its own group may be mounted as the root, and not be found by its path.
        inner = Path(path.lstrip("/"))
        for group in (inner, *inner.parents):
            with suppress(OSError):
                folder = groups / controllers / group
                names = (first if controllers else second).split()
                yield " ".join((folder / name).read_text() for name in names).split()


def cpu_quota(groups: Path = _GROUPS, own: Path = _OWN) -> float:
    """CPUs that the control groups of this process leave it, as a share of time; infinite without a quota."""
    found = _in_groups("cpu", groups, own, "cpu.cfs_quota_us cpu.cfs_period_us", "cpu.max")
    return min((int(quota) / int(period) for quota, period in found if quota not in ("max", "-1")), default=math.inf)


def free_memory(groups: Path = _GROUPS, own: Path = _OWN, machine: Path = Path("/proc/meminfo")) -> float:
    """Bytes that this process could still get, by the machine and its control groups; infinite where neither says."""
    free = math.inf
    with suppress(OSError):
        told = machine.read_text().split()
        free = int(told[told.index("MemAvailable:") + 1]) * 1024.0 if "MemAvailable:" in told else free
    first = "memory.limit_in_bytes memory.usage_in_bytes memory.stat"
    for limit, used, *stat in _in_groups("memory", groups, own, first, "memory.max memory.current memory.stat"):
        if limit != "max":
            # Files that are kept in memory give way. Version 1 counts those of the groups below apart.
            kept = dict(zip(stat[::2], stat[1::2], strict=True))
            cached = kept.get("total_inactive_file", kept.get("inactive_file", 0))
            free = min(free, int(limit) - int(used) + int(cached))
    return max(free, 0.0)


def threads_for(wanted: int | None) -> int:
    """Threads or processes to work with, one a CPU or fewer; one, with a warning, where the system makes no more."""
    count = min(wanted or usable_cpus(), usable_cpus())
    if count > 1 and not _can_start(2 * count + _BESIDE):
        warnings.warn("the system allows no more threads (ulimit -u): working with one", RnafmWarning, stacklevel=3)
        return 1
    return count


def _can_start(threads: int) -> bool:
    """Whether the system makes so many threads more; processes count as threads."""
    ended = threading.Event()
    made = [threading.Thread(target=ended.wait, daemon=True) for _ in range(threads)]
    try:
        for thread in made:
            thread.start()
    except RuntimeError:
        return False
    finally:
        ended.set()
        for thread in made:
            if thread.ident is not None:
                thread.join()
    return True


def worked(
    work: Callable[[_Job], _Made],
    jobs: Iterable[_Job],
    *,
    processes: int,
    alone: Callable[[_Job], bool] = lambda job: False,
) -> Iterator[_Made]:
    """Yield ``work(job)`` for every job, in their order, each as soon as it and those before it are done.

    Jobs are read ahead by a thread, so that a slow source does not hold results back. A job that comes when there is
    no other to be seen is done here: a few RNAs need no copies of this process.

    Args:
        work: must not depend on what it did before.
        processes: how many work at a time.
        alone: jobs that need all the memory there is: done here while the others rest.

    Raises:
        RnafmError: when a process is lost, and whatever ``work`` and the source of the jobs raise.
    """
    if processes < 2 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(work, jobs)
        return
    source = iter(jobs)
    coming, is_first = _next(source), True
    waiting: deque[Future[_Made]] = deque()
    pool: ProcessPoolExecutor | None = None
    try:
        while True:
            if waiting:
                is_full = len(waiting) == _AHEAD * processes
                awaited: list[Future[Any]] = [waiting[0]] if is_full else [waiting[0], coming]
                wait(awaited, return_when=FIRST_COMPLETED)
                # A job that is there goes out before a result is handed on: the processes have work meanwhile.
                if is_full or not _is_there(coming) or alone(coming.result()[0]):
                    yield waiting.popleft().result()
                    continue
            if not (found := coming.result()):  # it raises what the source raised
                break
            (job,), coming = found, _next(source)
            if is_first:
                wait([coming], timeout=_PATIENCE)
            if pool is None and not alone(job) and (not is_first or _is_there(coming)):
                pool = _pool(work, processes)
            is_first = False
            if pool is None or alone(job):
                yield work(job)
            else:
                waiting.append(pool.submit(_do, job))
        if pool is not None:
            # Its processes hold the files that were open when they began, and HDF5's locks on them.
            pool.shutdown()
    except BrokenProcessPool as error:
        raise RnafmError(
            "a process that worked beside this one was ended, perhaps because memory ran out",
            hint="lower --max-memory, or use -j 1",
        ) from error
    finally:
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


_READER = "reads jobs ahead"


def _next(source: Iterator[_Job]) -> Future[list[_Job]]:
    """The next job, read by a thread; no job where the source has ended."""
    coming: Future[list[_Job]] = Future()

    def read() -> None:
        try:
            coming.set_result(list(itertools.islice(source, 1)))
        except BaseException as error:
            coming.set_exception(error)

    # A thread of an executor would be waited for when the program ends, perhaps forever.
    threading.Thread(target=read, name=_READER, daemon=True).start()
    return coming


def _is_there(coming: Future[list[_Job]]) -> bool:
    """Whether a job has come: the source is not slow and has neither ended nor failed."""
    return coming.done() and coming.exception() is None and bool(coming.result())


def is_reading() -> bool:
    """Whether a thread still waits for a job, which may come from a stream that has not ended."""
    return any(thread.name == _READER for thread in threading.enumerate())


_work: Callable[[Any], Any] | None = None
"""What a copy of this process does."""


def _pool(work: Callable[[Any], Any], processes: int) -> ProcessPoolExecutor | None:
    """Copies of this process; None where the system does not allow them."""
    # What is given to the copies as they begin is copied with them, and need not be picklable.
    pool = ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("fork"), initializer=_begin, initargs=(work, os.getpid())
    )
    # A copy closes its stdin, for which it would wait forever while a thread here reads.
    stdin, sys.stdin = sys.stdin, None
    try:
        pool.submit(os.getpid).result()
    except (OSError, BrokenProcessPool, RuntimeError):
        pool.shutdown(wait=False)
        return None
    finally:
        sys.stdin = stdin
    return pool


def _begin(work: Callable[[Any], Any], parent: int) -> None:
    global _work
    _work = work
    # Ctrl-C goes to every process of the terminal; these end when the one that asks does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Here and not above: what only asks for the number of CPUs loads no torch.
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _do(job: Any) -> Any:
    assert _work is not None
    return _work(job)
