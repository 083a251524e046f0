"""Gains and losses of sharing, in simulated time: when the caller runs alone, and how long."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from hypothesis import given, settings, strategies as st

from staticgrad import native
from staticgrad.native.table import pool_policy
from staticgrad.native.table.pool import Pool
from tests.native.pool_points import Counted, pool_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pool sleeps by futex")

#: ``clock_gettime``.
_CLOCK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_int64))
MS = 1_000_000


class Sections:
    """Sections of two groups, one for the caller and one for the worker, in simulated time.

    The caller works for ``worked`` nanoseconds, alone for twice as long, and waits for ``waited``,
    while the worker has no processor. Less than ``PATIENCE`` is not a stall.
    """

    pool: Pool
    counted: Counted

    def __init__(self):
        self.now = MS
        self.worked = self.waited = self.looks = 0
        self.works, self.helps = False, True
        self.waits, self.claimed = threading.Event(), threading.Event()

    def stop(self, worker, point):
        """The caller leaves one group to the worker, who ends it when the caller has waited."""
        if not self.helps:  # the caller runs both
            assert worker == 0 or self.waits.wait(60)
            return
        if worker == 0 and point == 0 and not self.claimed.is_set():
            assert self.claimed.wait(60)
        if worker == 1 and point == 1:
            self.claimed.set()
            assert self.waits.wait(60)

    def clock(self, number, words):
        """The caller's looks: when it begins, when it begins to wait, and when it has waited."""
        if number != time.CLOCK_MONOTONIC:  # the worker's, which has a processor or not
            stamp = self.now + self.waited * (self.looks > 2) if self.works else 0
        elif threading.current_thread() is threading.main_thread():
            stamp = self.now + (0, self.worked, self.worked + self.waited)[min(self.looks, 2)]
            self.looks += 1
            if self.looks == 2:
                self.waits.set()
        else:
            stamp = time.monotonic_ns()
        words[0], words[1] = divmod(stamp, 10**9)
        return 0

    def run(self, worked, waited=0):
        """One section; whether it was shared."""
        self.worked, self.waited, self.looks = worked, waited, 0
        self.waits.clear()
        self.claimed.clear()
        shared = self.pool.get("sections")
        self.counted.run(native.driver())
        was = self.pool.get("sections") > shared
        self.now += worked + waited if was else 2 * worked
        return was

    def alone(self, worked=MS):
        """Nanoseconds until the caller shares again, in sections of twice so many alone."""
        began = self.now
        while not self.run(worked):
            pass
        return self.now - worked - began


@contextmanager
def sections():
    simulation = Sections()
    called = _CLOCK(simulation.clock)
    with pool_of(2, simulation.stop, penalties=True) as pool:
        simulation.pool, simulation.counted = pool, Counted(pool, 2, [2], 1)
        pool.set("spin", 2**62)  # who falls asleep while a section opens claims nothing of it
        pool.set("clock", ctypes.cast(called, ctypes.c_void_p).value or 0)
        assert simulation.run(0)  # makes the worker
        yield simulation


def test_penalties_grow_until_the_balance_is_full():
    least, most = pool_policy.LEAST_PENALTY, pool_policy.MOST_PENALTY
    with sections() as simulation:
        actual = []
        for _ in range(7):
            assert simulation.run(0, 24 * MS)  # more than the balance of then
            actual.append(simulation.alone(2 * MS))
        assert actual == [min(least * 2**n, most) for n in range(7)]
        assert actual[-1] == actual[-2]
        gain = pool_policy.TOLERANCE * pool_policy.MOST_BALANCE
        for enough in (False, True):
            for _ in range(4):
                assert simulation.run(gain // 4 if enough else gain // 8)
            assert simulation.run(0, pool_policy.MOST_BALANCE + MS)
            assert simulation.alone(2 * MS) == (least if enough else most)


def test_a_long_wait_for_a_worker_that_works_gains_nothing():
    with sections() as simulation:
        simulation.works = True
        simulation.pool.set("balance", 0)
        assert simulation.run(MS, 5 * MS)
        assert simulation.run(MS)
        assert simulation.pool.state.stalls == 0
        assert simulation.pool.get("balance") == MS // pool_policy.TOLERANCE


def test_who_runs_all_groups_gains_nothing():
    """A worker that has no processor when a section begins claims nothing of it."""
    with sections() as simulation:
        simulation.pool.set("balance", 0)
        assert simulation.run(MS)
        assert simulation.pool.get("balance") == MS // pool_policy.TOLERANCE
        simulation.helps = False
        assert simulation.run(MS)
        assert simulation.pool.get("balance") == MS // pool_policy.TOLERANCE


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(10_000, 2 * MS), st.sampled_from([0, 0, 200_000, 3 * MS, 20 * MS])),
        max_size=60,
    )
)
def test_what_sharing_loses_has_an_end(costs):
    """Beside the caller alone: what it may lose at first and after a penalty, and the last wait."""
    with sections() as simulation:
        began, alone, longest, penalties = simulation.now, 0, 0, 0
        for worked, waited in costs:
            shared = simulation.run(worked, waited)
            alone += 2 * worked
            longest = max(longest, waited)
            penalties += shared and simulation.pool.get("alone_until") > 0
        lost = simulation.now - began - alone
        assert lost <= pool_policy.FIRST_BALANCE + penalties * longest + alone // pool_policy.CREDIT
