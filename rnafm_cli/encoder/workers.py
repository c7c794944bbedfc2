"""How a stream of RNAs becomes batches, and the processes that each work on whole batches with one thread.

No core waits for another at a barrier. The processes are copies of this one (fork) and so hold its models already.
Where a process cannot be copied, or only one CPU may be used, the work is done here.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from rnafm_cli.errors import RnafmError, RnafmWarning

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


Task = TypeVar("Task")
Result = TypeVar("Result")

_BESIDE = 4
"""Threads that lead the processes."""
_AHEAD = 2
"""Batches in hand for each process: one being worked on, one waiting."""
_PATIENCE = 0.02
"""Seconds after which a task counts as the only one to be seen."""

_work: Callable[[Any], Any] | None = None
"""What the copies do; set before they are made."""


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, and the quota of its container or job."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(count, cpu_quota())))


GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where the control groups are mounted, and what names those of this process: lines ``number:controllers:path``."""


def control_groups(controller: str, groups: Path = GROUPS, own: Path = OWN_GROUPS) -> Iterator[tuple[Path, bool]]:
    """The control groups that limit this process, those above its own too, and whether each is of version 1."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # Inside a container its own group may be mounted as the root, and not be found by its path.
        root, inner = groups / controllers, Path(path.lstrip("/"))
        yield from ((root / group, bool(controllers)) for group in (inner, *inner.parents))


def cpu_quota(groups: Path = GROUPS, own: Path = OWN_GROUPS) -> float:
    """CPUs that the control groups of this process leave it, as a share of time; infinite without a quota."""
    least = math.inf
    for group, is_first in control_groups("cpu", groups, own):
        try:
            if is_first:
                quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            else:
                quota, period = (group / "cpu.max").read_text().split()
            if int(quota) > 0:
                least = min(least, int(quota) / int(period))
        except (OSError, ValueError):
            continue
    return least


def free_memory(groups: Path = GROUPS, own: Path = OWN_GROUPS, machine: Path = Path("/proc/meminfo")) -> float:
    """Bytes that this process could still get, by the machine and its control groups; infinite where neither says."""
    free = math.inf
    try:
        lines = machine.read_text().splitlines()
        free = next(int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        pass
    for group, is_first in control_groups("memory", groups, own):
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if is_first else ("memory.max", "memory.current")
        cached = "total_inactive_file" if is_first else "inactive_file"
        try:
            limit, used = (int((group / name).read_text()) for name in names)
            told = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            # Files that are kept in memory give way.
            free = min(free, limit - used + int(told.get(cached, 0)))
        except (OSError, ValueError):
            continue
    return max(free, 0.0)


def threads_for(wanted: int | None) -> int:
    """Threads or processes to work with: at most one a CPU; one, with a warning, where the system makes no more.

    Args:
        wanted: None for one a CPU.
    """
    count = min(wanted or usable_cpus(), usable_cpus())
    if count > 1 and not _can_start(2 * count + _BESIDE):
        warnings.warn("the system allows no more threads (ulimit -u): working with one", RnafmWarning, stacklevel=3)
        return 1
    return count


def _can_start(threads: int) -> bool:
    """Whether the system makes so many threads more; processes count as threads."""
    ended = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(threads):
            thread = threading.Thread(target=ended.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        ended.set()
        for thread in started:
            thread.join()
    return True


def worked(
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    processes: int,
    alone: Callable[[Task], bool] = lambda task: False,
) -> Iterator[Result]:
    """Yield ``work(task)`` for every task, in their order, each as soon as it and those before it are done.

    Tasks are read ahead by a thread, so that a slow source does not hold results back. A task that comes when there is
    no other to be seen is done here: a few RNAs need no copies of this process.

    Args:
        work: must not depend on what it did before.
        processes: how many work at a time.
        alone: tasks that need all the memory there is: done here while the others rest.

    Raises:
        RnafmError: when a process is lost, and whatever ``work`` and the source of the tasks raise.
    """
    if processes < 2 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(work, tasks)
        return
    feed: _Feed[Task] = _Feed(tasks, _AHEAD * processes)
    waiting: deque[Future[Result]] = deque()
    pool: ProcessPoolExecutor | None = None
    try:
        while feed.open or waiting:
            if waiting and (waiting[0].done() or not feed.open):
                yield waiting.popleft().result()
                feed.taken()
                continue
            task = feed.next(None if waiting or feed.seen == 0 else _PATIENCE)
            if task is None:
                continue
            if pool is None and (feed.is_last or alone(task) or (pool := _pool(work, processes)) is None):
                yield work(task)
                feed.taken()
            elif alone(task):
                while waiting:
                    yield waiting.popleft().result()
                    feed.taken()
                yield work(task)
                feed.taken()
            else:
                assert pool is not None
                future = pool.submit(_do, task)
                future.add_done_callback(feed.wake)
                waiting.append(future)
        if pool is not None:
            # Its processes hold the files that were open when they began, and HDF5's locks on them.
            pool.shutdown()
    except BrokenProcessPool as error:
        raise RnafmError(
            "a process that worked beside this one was ended, perhaps because memory ran out",
            hint="lower --max-memory, or use -j 1",
        ) from error
    finally:
        feed.close()
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
    if feed.failure is not None:
        raise feed.failure


_READER = "reads tasks ahead"


def is_reading() -> bool:
    """Whether a thread still waits for tasks, which may come from a stream that has not ended."""
    return any(thread.name == _READER for thread in threading.enumerate())


class _Feed(Generic[Task]):
    """Tasks read ahead by a thread, and a place to wait for one of them or for a result."""

    def __init__(self, tasks: Iterable[Task], ahead: int) -> None:
        self.failure: BaseException | None = None
        self.seen = 0
        self._events: queue.SimpleQueue[tuple[Task] | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(ahead)
        self._ended = self._closed = False
        self._unseen = 0
        threading.Thread(target=self._read, args=(tasks,), name=_READER, daemon=True).start()

    @property
    def open(self) -> bool:
        """Whether tasks may still come."""
        return not self._ended or self._unseen > 0

    @property
    def is_last(self) -> bool:
        """Whether the task just taken is the only one there is so far, after a moment's patience."""
        if self.seen > 1:
            return False
        until = time.monotonic() + _PATIENCE
        while not self._ended and not self._unseen and time.monotonic() < until:
            time.sleep(0.001)
        return not self._unseen

    def next(self, patience: float | None) -> Task | None:
        """The next task; None when a result is there instead, the tasks have ended, or the patience has."""
        try:
            event = self._events.get(timeout=patience)
        except queue.Empty:
            return None
        if event is None:
            return None
        self._unseen -= 1
        self.seen += 1
        return event[0]

    def wake(self, future: object = None) -> None:
        """End a wait: something else has happened."""
        self._events.put(None)

    def taken(self) -> None:
        """A result went out: one more task may be read."""
        self._room.release()

    def close(self) -> None:
        """Read no more."""
        self._closed = True
        self._room.release()

    def _read(self, tasks: Iterable[Task]) -> None:
        try:
            for task in tasks:
                self._unseen += 1
                self._events.put((task,))
                self._room.acquire()
                if self._closed:
                    return
        except BaseException as error:
            self.failure = error
        finally:
            self._ended = True
            self.wake()


def _pool(work: Callable[[Any], Any], processes: int) -> ProcessPoolExecutor | None:
    """Copies of this process; None where the system does not allow them."""
    global _work
    _work = work
    pool = ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("fork"), initializer=_begin, initargs=(os.getpid(),)
    )
    # A copy closes its stdin, for which it would wait forever while a thread here reads.
    stdin, sys.stdin = sys.stdin, None
    try:
        pool.submit(_ready).result()
    except (OSError, BrokenProcessPool, RuntimeError):
        pool.shutdown(wait=False)
        return None
    finally:
        sys.stdin = stdin
    return pool


def _begin(parent: int) -> None:
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


def _ready() -> None:
    pass


def _do(task: Any) -> Any:
    assert _work is not None
    return _work(task)
