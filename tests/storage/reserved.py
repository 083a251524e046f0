"""Two values with locks, and all that one may do with them, in this thread and in another."""

import os
import threading
import time
from concurrent.futures import Future
from queue import SimpleQueue

import pytest

from staticgrad.language.storage import locks as module
from staticgrad.language.storage.locks import ReadWriteLock, is_inside_another
from staticgrad.language.storage.reservation import SETTLED, LockSet


class Other:
    """A thread that does one thing after the other.

    No ThreadPoolExecutor: its ``submit`` waits for a lock of the module, which a fork holds while
    code is run in the middle of it.
    """

    def __init__(self):
        self._tasks = SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, function, *args):
        """Run ``function(*args)`` in the thread and return its future."""
        future = Future()

        def task():
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        self._tasks.put(task)
        return future

    def close(self):
        """Wait for what is under way, then for the thread."""
        self._tasks.put(None)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _work(self):
        while (task := self._tasks.get()) is not None:
            task()


class Guarded:
    """Two values, a program that writes one and reads the other, and one that writes both.

    Attributes:
        errors: who was inside together.
    """

    def __init__(self):
        self.a, self.b = ReadWriteLock("a"), ReadWriteLock("b")
        self.elsewhere = ReadWriteLock("a value of no program")
        self.mixed = LockSet([(self.a, True), (self.b, False)])
        self.writes = LockSet([(self.a, True), (self.b, True)])
        self.steps = 0
        self.writing = False
        self.errors = []

    def step(self, seconds, begin):
        """Do the work of a program under its locks; other threads have their turns meanwhile."""
        if self.steps:
            self.errors.append("two steps")
        if not is_inside_another():
            self.errors.append("not noted")
        self.steps += 1
        time.sleep(seconds)
        begin()
        self.writing = True
        time.sleep(seconds)
        self.writing = False
        self.steps -= 1

    def run(self, seconds=0.0):
        self.mixed.run(self.step, seconds)

    def share(self):
        self.writes.run(self.step, 0.0)

    def prepare(self):
        """The next step of ``share`` reserves its locks; those of ``run`` are reserved."""
        self.a._end_reservation()
        while self.writes._taken_in_turn % SETTLED != SETTLED - 1:
            self.share()
        settle(self.mixed, self.run)

    def run_often(self):
        """Until its locks are reserved."""
        for _ in range(SETTLED):
            self.run()

    def read(self):
        self.a.read(self.look)

    def look(self):
        for _ in range(2):
            if self.writing:
                self.errors.append("read in the middle")
            time.sleep(0.001)

    def set(self):
        self.b.write(lambda: self.steps and self.errors.append("set in the middle"))

    def read_elsewhere(self):
        self.elsewhere.read(lambda: None)

    def fork(self):
        child = os.fork()
        if not child:
            try:
                free = not any(
                    lock._holders or lock._queue or lock._reserved for lock in module._locks
                )
                os._exit(0 if free and not self.writing else 3)
            finally:
                os._exit(1)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            self.errors.append("forked in the middle")

    def check(self):
        """Nobody is inside, nobody was who should not; what is reserved is so for one alone."""
        assert not self.errors
        for locks in (self.mixed, self.writes):
            holder = locks._reserved
            assert not holder.token.locked()
            assert not holder.stands or all(
                lock._reserved == (holder, write) for lock, write in locks._locks
            )
        for lock in (self.a, self.b):
            assert not lock._queue
            assert not any(holder.token.locked() for holder in lock._holders)
        assert not is_inside_another()


def settle(locks, run):
    for _ in range(3 * SETTLED + 1):
        if locks._reserved.stands:
            return
        run()
    pytest.fail("never reserved")


ACTS = (
    Guarded.read, Guarded.set, Guarded.run, Guarded.share, Guarded.run_often,
)  # fmt: skip
if hasattr(os, "fork"):
    ACTS = (*ACTS, Guarded.fork)
each_act = pytest.mark.parametrize("act", ACTS, ids=[act.__name__ for act in ACTS])
#: How many moments lie between two at which something comes; all of them by hand.
each_stride = pytest.mark.parametrize(
    "stride", [7, pytest.param(1, marks=pytest.mark.exhaustive)], ids=["some", "all"]
)
forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def done_or_waiting(future, seconds):
    """Give another thread the time to do what it can, beside this one."""
    end = time.monotonic() + seconds
    while not future.done() and time.monotonic() < end:
        time.sleep(0.0005)


def numbers(stride, *kind):
    """The first moment, and every ``stride``-th from one on that is not the same for each kind.

    Ever fewer unless every one is asked for; of forks, which copy a large process, least.
    """
    yield 1
    n = 2 + sum(str(kind).encode()) % stride
    while True:
        yield n
        n += max(stride, n // (2 if "fork" in kind else 8)) if stride > 1 else stride
