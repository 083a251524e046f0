"""The pool of workers: every group runs once, whoever claims it and whoever is stopped where."""

import ctypes
import os
import platform
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from staticgrad import native
from staticgrad.native.table import pool_code
from staticgrad.native.table.pool import Pool
from tests.helpers.diagonals import diagonals
from tests.native.pool_points import Counted, pool_of
from tests.native.test_process import python

#: Flags of sections.
FLAGS = 0, pool_code.KEEPS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pool sleeps by futex")


@pytest.mark.thinned(4)
@pytest.mark.parametrize("threads", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("grain", [0, 1, 3])
@pytest.mark.parametrize("flags", FLAGS)
def test_every_group_runs_once(threads, grain, flags):
    with pool_of(threads) as pool:
        totals, sections = [1, 40, 0, 7, 2, 0], [1, 4, 1]
        counted = Counted(pool, threads, totals, grain, sections, flags=flags)
        counted.run(native.driver(), 300)
        counted.check(300)
        assert pool.state.threads == threads - 1
        assert (pool.state.sections > 0) == (threads > 1)


@pytest.mark.thinned
@diagonals(3, ("threads", range(2, 17)), ("point", pool_code.POINTS), ("flags", FLAGS))
def test_workers_that_are_stopped_at_random_claims(threads, point, flags):
    """Bytes and counts are those of one worker; the caller is stopped too."""
    random = np.random.default_rng(threads)
    stops = iter(random.random(100_000).tolist())
    number = pool_code.POINTS.index(point)

    def stop(worker, at):
        if at == number and next(stops, 1.0) < 0.2:
            time.sleep(0.0005)

    with pool_of(threads, stop) as pool:
        counted = Counted(pool, threads, [11, 30, 2, 17], 1, sections=[1, 3], flags=flags)
        counted.run(native.driver(), 4)
        counted.check(4)


def test_each_claim_in_turn_is_stopped():
    """The worker is stopped at its n-th claim until the caller has done all the rest."""
    for point in range(len(pool_code.POINTS)):
        for nth in range(8):
            _stop_once(point, nth)


def _stop_once(point, nth):
    seen, released = 0, threading.Event()

    def stop(worker, at):
        nonlocal seen
        if worker == 1 and at == point:
            seen += 1
            if seen == nth + 1:
                released.wait(0.005)

    with pool_of(2, stop) as pool:
        counted = Counted(pool, 2, [8, 8, 8], 1)
        counted.run(native.driver(), 3)
        counted.check(3)


def test_nobody_waits_for_a_worker_that_has_claimed_nothing():
    stopped, released = threading.Event(), threading.Event()

    def stop(worker, point):
        if worker == 1 and point == 0:
            stopped.set()
            assert released.wait(60)

    with pool_of(2, stop, penalties=True) as pool:
        counted, done = Counted(pool, 2, [50], 1), 0
        while not stopped.is_set():
            counted.run(native.driver())
            done += 1
        counted.run(native.driver(), 200)  # ends although the worker does not go on
        counted.check(done + 200)
        assert pool.state.stalls == 0
        released.set()
        counted.run(native.driver(), 100)
        counted.check(done + 300)


def test_a_stall_is_followed_by_runs_alone():
    claimed, caller = threading.Event(), threading.Event()

    def stop(worker, point):
        if worker == 1 and point == 1 and not claimed.is_set():
            claimed.set()
            caller.wait(0.5)  # in vain where it took the last group
            time.sleep(0.02)
        if worker == 0 and point == 2 and claimed.is_set():
            caller.set()

    with pool_of(2, stop, penalties=True) as pool:
        counted, done = Counted(pool, 2, [64], 1), 0
        while not claimed.is_set():
            pool.set("balance", 0)  # hooks take long, and so count as work
            counted.run(native.driver())
            done += 1
        assert pool.state.stalls == 1
        sections = pool.state.sections
        counted.run(native.driver())  # alone for the shortest penalty
        assert pool.state.sections == sections
        pool.set("alone_until", 1)
        counted.run(native.driver())
        assert pool.state.sections == sections + 1
        counted.check(done + 2)


def test_workers_sleep_and_wake():
    with pool_of(2) as pool:
        counted = Counted(pool, 2, [64], 1)
        counted.run(native.driver())
        for _ in range(20):
            _until(lambda: pool.get("asleep") == 1)
            woken = pool.get("wake")
            counted.run(native.driver())
            assert pool.get("wake") == woken + 1
        idle = Counted(pool, 2, [64], 1, wakes=False)
        _until(lambda: pool.get("asleep") == 1)
        woken = pool.get("wake")
        for _ in range(5):
            pool.set("begun", 0)
            idle.run(native.driver())
        assert pool.get("wake") == woken  # nobody was woken for what is not worth it
        pool.set("spin", 2**62)
        idle.run(native.driver())
        assert pool.get("wake") == woken + 1  # but where the one before began so long ago
        counted.check(21)
        idle.check(6)


def _until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_callers_beside_each_other_neither_wait_nor_seat_more_than_there_are():
    """Two callers and two seats: while both run, the worker claims nothing."""
    seen = []

    def watch(worker, point):
        if worker == 1 and point == 1:
            seen.append(pool.get("callers"))

    with pool_of(2, watch) as pool:
        tables = [Counted(pool, 2, [200], 1) for _ in range(3)]
        threads = [
            threading.Thread(target=table.run, args=(native.driver(), 50)) for table in tables
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
            assert not thread.is_alive()
        for table in tables:
            table.check(50)
        assert pool.get("callers") == pool.get("taken") == 0
    assert all(callers <= 2 for callers in seen)


def test_signals_do_not_come_to_workers():
    with pool_of(3) as pool:
        Counted(pool, 3, [64], 1).run(native.driver())
        main = threading.get_native_id()
        blocked = []
        for task in Path("/proc/self/task").iterdir():
            lines = (task / "status").read_text().splitlines()
            (mask,) = (line.split()[1] for line in lines if line.startswith("SigBlk"))
            expected = 1 << (signal.SIGINT - 1) | 1 << (signal.SIGALRM - 1)
            if int(task.name) != main and int(mask, 16) & expected == expected:
                blocked.append(task.name)
        assert len(blocked) >= 2
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_starts_anew():
    """The child has none of the threads: what another thread had open there is closed."""
    pool = Pool(native.shared_runs())
    pool.want(2)
    counted = Counted(pool, 2, [64], 1)
    counted.run(native.driver(), 5)
    pool.set("taken", 1)
    pool.set("callers", 1)
    first = ctypes.c_ulong.from_address(pool.address + pool_code.PLACES["threads"]).value
    pool.after_fork_in_child()
    counted.run(native.driver(), 5)
    assert pool.state.threads == 1
    counted.check(10)
    pool.end()
    # No child has the first thread, but this process does: it reads the pool until it has ended.
    join = ctypes.CDLL(None).pthread_join
    join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
    assert join(first, None) == 0


def test_a_barrier_stands_between_the_end_and_its_count(monkeypatch):
    """A worker of aarch64 that sees the new count must see that the pool has ended, too."""
    pool, calls = Pool(native.shared_runs()), []

    def wake_all(place):
        assert place == pool.address + pool_code.PLACES["wake"]
        calls.append((pool.get("ended"), pool.get("wake")))

    monkeypatch.setattr(pool._threads, "wake_all", wake_all)
    pool.end()
    assert calls == [(1, 0), (1, 1)]


AT_THE_END = """
import threading, numpy as np
import staticgrad as sg
x = sg.input("x", ("n", 300))
f = sg.compile({"y": sg.exp(x) @ sg.tanh(x).T, "z": sg.sort(x, axis=0)}, threads=3)
feed = {"x": np.ones((400, 300), "f4")}
f.run(feed)
from staticgrad.native.table import pool
assert pool.present().state.threads == 2
def go():
    while True:
        f.run(feed)
for _ in range(2):
    threading.Thread(target=go, daemon=True).start()
print("ended")
"""


@pytest.mark.slow
def test_a_process_ends_while_workers_and_other_threads_run():
    for _ in range(3):
        assert python(AT_THE_END) == "ended"


@pytest.mark.slow
def test_the_floating_point_environment_of_workers_is_the_default():
    """A caller that flushes denormals makes the workers' threads, which do not inherit that."""
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("the environment of this processor is unknown")
    assert python(FLUSHING) == "True"


FLUSHING = """
import ctypes, platform, numpy as np
import staticgrad as sg
x = sg.input("x", (2000, 300))
f = sg.compile(x * 0.5 + x * 0.25, threads=2)
data = np.full((2000, 300), 1e-44, "f4")
library = ctypes.CDLL(None)
state = (ctypes.c_char * 64)()
library.fegetenv(state)
place, flushes = (0, 1 << 24) if platform.machine() == "aarch64" else (28, 0x8040)
word = ctypes.c_uint32.from_buffer(state, place)
word.value |= flushes
library.fesetenv(state)
found = [f.run({"x": data}).copy() for _ in range(50)]
word.value &= ~flushes
library.fesetenv(state)
print(all((each != 0).all() for each in found))
"""
