"""What limits the number of threads: affinity, cores, and quotas of control groups."""

import ctypes
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from staticgrad import native
from staticgrad.native import machine, processors
from tests.native.pool_points import Counted, pool_of

SECOND = "36 35 0:31 {root} {mount} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
FIRST = "33 32 0:28 {root} {mount} rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"


def quota(folder, mounts, groups, files, root="/"):
    """The quota of a made-up machine whose control groups are mounted in a folder."""
    mount = folder / "mount"
    for name, text in files.items():
        (mount / name).parent.mkdir(parents=True, exist_ok=True)
        (mount / name).write_text(text)
    (folder / "mounts").write_text(mounts.format(mount=mount, root=root))
    (folder / "groups").write_text(groups)
    return processors.quota(folder / "groups", folder / "mounts")


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"a/b/cpu.max": "150000 100000\n"}, 1.5),
        ({"a/b/cpu.max": "max 100000\n"}, None),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3.0),
        ({"a/b/cpu.max": "800000 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ({"a/b/cpu.max": "what?"}, None),
        ({"c/cpu.max": "100000 100000\n"}, None),
        ({}, None),
    ],
)
def test_quotas_of_the_second_version(tmp_path, files, wanted):
    assert quota(tmp_path, SECOND, "0::/a/b\n", files) == wanted


@pytest.mark.parametrize(("share", "wanted"), [("250000", 2.5), ("-1", None), ("0", None)])
def test_quotas_of_the_first_version(tmp_path, share, wanted):
    files = {"x/cpu.cfs_quota_us": share, "x/cpu.cfs_period_us": "100000"}
    groups = "5:memory:/other\n2:cpu,cpuacct:/x\n0::/\n"
    assert quota(tmp_path, FIRST, groups, files) == wanted


def test_a_container_that_sees_its_own_group_as_root(tmp_path):
    files = {"cpu.max": "200000 100000"}
    assert quota(tmp_path, SECOND, "0::/docker/1234\n", files, root="/docker/1234") == 2.0
    assert quota(tmp_path, SECOND, "0::/\n", files, root="/docker/1234") == 2.0


def test_without_control_groups_nothing_limits(tmp_path):
    assert processors.quota(tmp_path / "none", tmp_path / "none") is None


def test_threads_of_one_core_count_once(tmp_path):
    for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    assert processors._cores({0, 1, 2, 3}, tmp_path) == 2
    assert processors._cores({0, 2}, tmp_path) == 1
    assert processors._cores({1, 7}, tmp_path) == 2  # nothing is known of 7


def test_caches_are_those_of_data(tmp_path):
    assert machine._read(tmp_path / "none") == machine.Machine()
    names = ("level", "type", "size", "ways_of_associativity", "coherency_line_size")
    for number, words in enumerate(
        (
            ("1", "Instruction", "64K", "4", "32"),
            ("1", "Data", "48K", "12", "128"),
            ("2", "Unified", "2M", "16", "64"),
            ("3", "Unified", "nothing", "16", "64"),
        )
    ):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        for name, word in zip(names, words, strict=True):
            (folder / name).write_text(word + "\n")
    (tmp_path / "index9").mkdir()  # nothing is said there
    found = machine._read(tmp_path)
    assert (found.l1, found.l2, found.ways, found.line) == (48 << 10, 2 << 20, 12, 128)
    assert found.l3 == machine.Machine.l3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
def test_affinity_is_honoured(monkeypatch):
    monkeypatch.setattr(processors, "quota", lambda groups, mounts: None)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert processors.allowed_processors() == 1
        assert processors.threads("auto") == 1
        assert processors.threads(7) == 7
    finally:
        os.sched_setaffinity(0, before)


def test_a_quota_is_rounded_down_to_one_at_least(monkeypatch):
    monkeypatch.setattr(processors, "_cores", lambda usable, folder: 8)
    for share, wanted in ((3.9, 3), (0.2, 1), (None, 8), (64.0, 8)):
        monkeypatch.setattr(processors, "quota", lambda groups, mounts, share=share: share)
        assert processors.allowed_processors() == wanted


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pool sleeps by futex")

_GETCPU = ctypes.CFUNCTYPE(ctypes.c_int)
_AFFINITY = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.POINTER(ctypes.c_uint8)
)
OWN = {1, 3, 9, 1023}


class Processors:
    """A system of which the worker runs on one processor and the caller on another one."""

    def __init__(self, pool, worker, caller, refuses=False):
        self.asked, self.sets = 0, list[set[int]]()
        main = threading.main_thread()

        def getcpu():
            is_caller = threading.current_thread() is main
            self.asked += not is_caller
            return caller if is_caller else worker

        def get(thread, nbytes, mask):
            for number in range(nbytes):
                mask[number] = sum(1 << n % 8 for n in OWN if n // 8 == number)
            return 0

        def set_(thread, nbytes, mask):
            assert thread == 0
            self.sets.append({n for n in range(8 * nbytes) if mask[n // 8] >> n % 8 & 1})
            return -refuses

        self._kept = [_GETCPU(getcpu), _AFFINITY(get), _AFFINITY(set_)]
        names = ("getcpu", "getaffinity", "setaffinity")
        for name, function in zip(names, self._kept, strict=True):
            pool.set(name, ctypes.cast(function, ctypes.c_void_p).value or 0)

    def run(self, pool):
        """Sections until the worker has looked where it is, and has ended."""
        counted, times = Counted(pool, 2, [64], 1), 0
        pool.set("spin", 0)
        deadline = time.monotonic() + 60
        while self.asked < 2:
            counted.run(native.driver())
            times += 1
            assert time.monotonic() < deadline
        counted.check(times)
        pool.end()


@pytest.mark.parametrize("processor", sorted(OWN))
def test_a_worker_leaves_the_processor_of_the_caller(processor):
    with pool_of(2) as pool:
        processors = Processors(pool, processor, processor)
        processors.run(pool)
        others, *rest = processors.sets
        assert others == OWN - {processor}
        assert rest[0] == OWN
        assert rest[1:] == [others, OWN] * (len(rest) // 2)


def test_a_worker_on_another_processor_stays():
    with pool_of(2) as pool:
        processors = Processors(pool, 3, 9)
        processors.run(pool)
        assert processors.sets == []


def test_a_worker_that_has_no_other_processor_stays():
    with pool_of(2) as pool:
        processors = Processors(pool, 3, 3, refuses=True)
        processors.run(pool)
        assert processors.sets == [OWN - {3}] * len(processors.sets)


@pytest.mark.parametrize("processor", [-1, 1024, 70_000])
def test_a_processor_that_no_set_has_is_left_alone(processor):
    with pool_of(2) as pool:
        processors = Processors(pool, processor, processor)
        processors.run(pool)
        assert processors.sets == []


def test_a_worker_that_has_left_may_run_everywhere():
    mine = os.sched_getaffinity(0)
    with pool_of(2) as pool:
        asked = []

        def getcpu():
            asked.append(threading.get_native_id())
            return min(mine)

        kept = _GETCPU(getcpu)
        pool.set("spin", 0)
        pool.set("getcpu", ctypes.cast(kept, ctypes.c_void_p).value or 0)
        counted, times = Counted(pool, 2, [64], 1), 0
        deadline = time.monotonic() + 60
        while asked.count(threading.get_native_id()) + 2 > len(asked):
            counted.run(native.driver())
            times += 1
            assert time.monotonic() < deadline
        counted.check(times)
        tasks = {int(task.name) for task in Path("/proc/self/task").iterdir()}
        workers = (set(asked) & tasks) - {threading.get_native_id()}
        found = [os.sched_getaffinity(worker) for worker in workers]
        deadline = time.monotonic() + 60
        while any(each != mine for each in found):  # one that is just moving
            found = [os.sched_getaffinity(worker) for worker in workers]
            assert time.monotonic() < deadline
        assert found == [mine]
