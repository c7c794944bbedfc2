"""Work shared out to copies of this process: order, failures, tasks that are done alone."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnafm_cli.encoder.workers import cpu_quota, free_memory, threads_for, usable_cpus, worked
from rnafm_cli.errors import InputError, RnafmError


def where(number: int) -> tuple[int, int]:
    time.sleep(0.02 * (number % 3))
    return number, os.getpid()


def test_results_come_in_order_from_other_processes() -> None:
    found = list(worked(where, range(12), processes=2))
    assert [number for number, _ in found] == list(range(12))
    assert os.getpid() not in {process for _, process in found}


def test_a_single_task_and_a_single_process_stay_here() -> None:
    assert list(worked(where, [5], processes=2)) == [(5, os.getpid())]
    assert {process for _, process in worked(where, range(4), processes=1)} == {os.getpid()}


def test_large_tasks_are_done_here_while_the_others_rest() -> None:
    found = list(worked(where, range(9), processes=2, alone=lambda number: number == 4))
    assert [number for number, _ in found] == list(range(9))
    assert found[4][1] == os.getpid()


def fails(number: int) -> int:
    if number == 3:
        raise InputError("record 3: is bad", hint="mend it")
    return number


def test_what_was_done_before_a_failure_comes_out() -> None:
    found = []
    with pytest.raises(InputError, match="record 3") as caught:
        for number in worked(fails, range(9), processes=2):
            found.append(number)
    assert found == [0, 1, 2]
    assert caught.value.hint == "mend it"


def test_a_source_that_fails_delivers_what_came_before() -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise InputError("line 6: is torn")

    found = []
    with pytest.raises(InputError, match="line 6"):
        for number, _ in worked(where, source(), processes=2):
            found.append(number)
    assert found == list(range(5))


def dies(number: int) -> int:
    if number == 2:
        os._exit(9)
    return number


def test_a_lost_process_is_told() -> None:
    with pytest.raises(RnafmError, match="was ended"):
        list(worked(dies, range(6), processes=2))


def test_results_do_not_wait_for_a_slow_source() -> None:
    three_are_out = threading.Event()

    def source() -> Iterator[int]:
        yield from (0, 1, 2)
        assert three_are_out.wait(timeout=30), "results wait for the source"
        yield 3

    results = worked(where, source(), processes=2)
    assert [next(results)[0] for _ in range(3)] == [0, 1, 2]
    three_are_out.set()
    assert [number for number, _ in results] == [3]


def test_usable_cpus_are_at_least_one_and_no_more_than_the_affinity() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)


def test_the_quotas_of_all_groups_above_count(tmp_path: Path) -> None:
    own, groups = tmp_path / "own", tmp_path / "groups"
    own.write_text("0::/slice/job\n")
    assert cpu_quota(groups, own) == math.inf
    (groups / "slice" / "job").mkdir(parents=True)
    (groups / "slice" / "cpu.max").write_text("150000 100000\n")
    (groups / "slice" / "job" / "cpu.max").write_text("max 100000\n")
    assert cpu_quota(groups, own) == 1.5
    # In a container the group itself is the root.
    (groups / "cpu.max").write_text("50000 100000\n")
    assert cpu_quota(groups, own) == 0.5
    assert cpu_quota(groups, tmp_path / "nowhere") == math.inf


def test_quotas_of_the_first_version_count(tmp_path: Path) -> None:
    own, group = tmp_path / "own", tmp_path / "cpu,cpuacct" / "job"
    own.write_text("4:memory:/other\n3:cpu,cpuacct:/job\n")
    group.mkdir(parents=True)
    (group / "cpu.cfs_period_us").write_text("100000\n")
    for quota, found in (("-1", math.inf), ("50000", 0.5)):
        (group / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        assert cpu_quota(tmp_path, own) == found


def test_no_more_threads_than_cpus() -> None:
    assert threads_for(64) == threads_for(None) == usable_cpus()
    assert threads_for(1) == 1


def test_memory_is_what_the_machine_and_all_groups_leave(tmp_path: Path) -> None:
    own, groups, machine = tmp_path / "own", tmp_path / "groups", tmp_path / "meminfo"
    own.write_text("0::/job\n2:memory:/old\n")
    assert free_memory(groups, own, machine) == math.inf
    machine.write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    assert free_memory(groups, own, machine) == 8000 * 1024
    files = {
        "job": ("max", "current", "inactive_file"),
        "memory/old": ("limit_in_bytes", "usage_in_bytes", "total_inactive_file"),
    }
    for limit, (name, (most, used, cached)) in zip((6_000_000, 5_000_000), files.items(), strict=True):
        (groups / name).mkdir(parents=True)
        (groups / name / f"memory.{most}").write_text(f"{limit}\n")
        (groups / name / f"memory.{used}").write_text("4000000\n")
        (groups / name / "memory.stat").write_text(f"anon 1\n{cached} 3000000\n")
        # Files in memory give way.
        assert free_memory(groups, own, machine) == limit - 1_000_000
