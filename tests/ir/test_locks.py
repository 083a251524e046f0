"""Read-write locks: who waits is served in the order of arrival, and forks come first."""

from __future__ import annotations

import os
import threading
import time

import pytest

from staticgrad.ir import locks as module
from staticgrad.ir.locks import ReadWriteLock, acquire_all, release_all


class Waiting:
    """Threads that take locks one after the other and write down in which order they got them."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.threads: list[threading.Thread] = []
        self.go_on = threading.Event()

    def start(self, name: str, lock: ReadWriteLock, write: bool, *, stay: bool = False) -> None:
        """A thread that is queued when this returns."""
        before = len(lock._queue)

        def take() -> None:
            lock.acquire(write, name)
            self.got.append(name)
            if stay:
                self.go_on.wait(10)
            lock.release(name)

        self.threads.append(threading.Thread(target=take))
        self.threads[-1].start()
        while len(lock._queue) == before:
            time.sleep(0.001)

    def join(self) -> None:
        self.go_on.set()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def test_who_waits_is_served_in_the_order_of_arrival() -> None:
    lock, waiting = ReadWriteLock(), Waiting()
    lock.acquire(True, "here")
    for name in ("w1", "r1", "w2", "r2"):
        waiting.start(name, lock, name[0] == "w")
    lock.release("here")
    waiting.join()
    assert waiting.got == ["w1", "r1", "w2", "r2"]


def test_nobody_overtakes_a_waiting_writer() -> None:
    lock, waiting = ReadWriteLock(), Waiting()
    lock.acquire(False, "here")
    waiting.start("writer", lock, True)
    waiting.start("reader", lock, False)
    assert waiting.got == []
    lock.release("here")
    waiting.join()
    assert waiting.got == ["writer", "reader"]


def test_readers_next_to_each_other_hold_it_together() -> None:
    lock, waiting = ReadWriteLock(), Waiting()
    lock.acquire(True, "here")
    for name in ("r1", "r2", "r3"):
        waiting.start(name, lock, False, stay=True)
    lock.release("here")
    end = time.monotonic() + 10
    while len(waiting.got) < 3 and time.monotonic() < end:
        time.sleep(0.001)
    assert sorted(waiting.got) == ["r1", "r2", "r3"]
    assert len(lock._readers) == 3
    waiting.join()


def test_a_loop_of_writes_lets_a_reader_in_at_once() -> None:
    """A lock that its last holder takes again before others wake starves them."""
    lock, stop, rounds = ReadWriteLock(), threading.Event(), 0

    def write() -> None:
        nonlocal rounds
        while not stop.is_set():
            lock.acquire(True, "writer")
            rounds += 1
            time.sleep(0.0005)  # as a kernel does, this gives up the interpreter's lock
            lock.release("writer")

    thread = threading.Thread(target=write)
    thread.start()
    worst = 0
    try:
        for _ in range(50):
            before = rounds
            lock.acquire(False, "reader")
            worst = max(worst, rounds - before)
            lock.release("reader")
    finally:
        stop.set()
        thread.join(10)
    assert rounds
    assert worst <= 2


def test_a_wait_that_was_interrupted_leaves_no_turn_behind() -> None:
    first, second, waiting = ReadWriteLock(), ReadWriteLock(), Waiting()
    second.acquire(True, "here")
    both = ((first, True), (second, True))
    thread = threading.Thread(target=acquire_all, args=(both, "gone"), daemon=True)
    thread.start()
    while not second._queue:
        time.sleep(0.001)
    release_all(both, "gone")  # what the interrupted thread's ``finally`` does
    assert first._writer is None
    assert not second._queue
    waiting.start("next", second, True)
    second.release("here")
    waiting.join()
    assert waiting.got == ["next"]


def test_giving_back_what_is_not_held_does_nothing() -> None:
    lock = ReadWriteLock()
    lock.acquire(True, "here")
    lock.release("somebody else")
    assert lock._writer == "here"
    lock.release("here")
    lock.release("here")
    assert lock._writer is None


def test_locks_are_numbered_in_the_order_of_their_creation() -> None:
    serials = [ReadWriteLock().serial for _ in range(5)]
    assert serials == sorted(set(serials))


# -- forks ----------------------------------------------------------------------------------------


def forked() -> int:
    """The exit status of a child that finds every lock free."""
    child = os.fork()
    if not child:
        try:
            free = all(
                lock._writer is None and not lock._readers and not lock._queue
                for lock in module._locks
            )
            os._exit(0 if free else 3)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_waits_for_the_writer_and_comes_before_the_next() -> None:
    lock, stop = ReadWriteLock(), threading.Event()
    torn = []

    def write(name: str) -> None:
        while not stop.is_set():
            lock.acquire(True, name)
            torn.append(name)
            time.sleep(0.0005)
            torn.remove(name)
            lock.release(name)

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    try:
        assert [forked() for _ in range(10)] == [0] * 10
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert not torn
    assert not module._forks
    assert not lock._readers


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_thread_forks_while_it_writes_itself() -> None:
    lock, other = ReadWriteLock(), ReadWriteLock()
    lock.acquire(True, "here")
    other.acquire(False, "here")
    assert forked() == 0
    assert lock._writer == "here"
    assert other._readers == {"here"}
    lock.release("here")
    other.release("here")
