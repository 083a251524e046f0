"""Workers leave the processor of the caller, and may run on all of the process's afterwards."""

import ctypes
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from staticgrad import native
from tests.native.pool_points import Counted, pool_of

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
