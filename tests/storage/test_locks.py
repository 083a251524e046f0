"""Read-write locks: who waits is served in the order of arrival, and forks come first."""

import os
import threading
import time

import pytest

from staticgrad.errors import ReentryError
from staticgrad.language.storage import locks as module
from staticgrad.language.storage.locks import (
    Holder,
    ReadWriteLock,
    acquire_all,
    is_inside_another,
    release_all,
)


def hold(locks):
    """Take locks as a step does, up to its first write."""
    holder = Holder(is_step=True)
    holder.token.acquire()
    try:
        acquire_all(locks, holder)
    except ReentryError:
        give_back(locks, holder)
        raise
    holder.begin_writing()
    return holder


def give_back(locks, holder):
    holder.token.release()
    release_all(locks, holder)


class Waiting:
    """Threads that take locks one after the other and write down in which order they got them."""

    def __init__(self):
        self.got = []
        self.threads = []
        self.go_on = threading.Event()

    def start(self, name, lock, write, *, stay=False):
        """A thread that is queued when this returns."""
        length = len(lock._queue)

        def take():
            holder = hold([(lock, write)])
            self.got.append(name)
            if stay:
                self.go_on.wait(10)
            give_back([(lock, write)], holder)

        self.threads.append(threading.Thread(target=take))
        self.threads[-1].start()
        while len(lock._queue) == length:
            time.sleep(0.001)

    def join(self):
        self.go_on.set()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def test_who_waits_is_served_in_the_order_of_arrival():
    lock, waiting = ReadWriteLock(), Waiting()
    holder = hold([(lock, True)])
    for name in ("w1", "r1", "w2", "r2"):
        waiting.start(name, lock, name[0] == "w")
    give_back([(lock, True)], holder)
    waiting.join()
    assert waiting.got == ["w1", "r1", "w2", "r2"]


def test_nobody_overtakes_a_waiting_writer():
    lock, waiting = ReadWriteLock(), Waiting()
    holder = hold([(lock, False)])
    waiting.start("writer", lock, True)
    waiting.start("reader", lock, False)
    assert waiting.got == []
    give_back([(lock, False)], holder)
    waiting.join()
    assert waiting.got == ["writer", "reader"]


def test_a_loop_of_writes_lets_a_reader_in_at_once():
    """A lock that its last holder takes again before others wake starves them."""
    lock, stop, rounds = ReadWriteLock(), threading.Event(), 0

    def write():
        nonlocal rounds
        while not stop.is_set():
            holder = hold([(lock, True)])
            rounds += 1
            time.sleep(0.0005)  # as a kernel does, this gives up the interpreter's lock
            give_back([(lock, True)], holder)

    thread = threading.Thread(target=write)
    thread.start()
    worst = 0
    try:
        for _ in range(50):
            start = rounds
            holder = hold([(lock, False)])
            worst = max(worst, rounds - start)
            give_back([(lock, False)], holder)
    finally:
        stop.set()
        thread.join(10)
    assert rounds
    assert worst <= 2


def test_a_wait_that_was_interrupted_leaves_no_turn_behind():
    first, second, waiting = ReadWriteLock(), ReadWriteLock(), Waiting()
    holder = hold([(second, True)])
    locks, gone = ((first, True), (second, True)), Holder(is_step=True)
    gone.token.acquire()
    thread = threading.Thread(target=acquire_all, args=(locks, gone), daemon=True)
    thread.start()
    while not second._queue:
        time.sleep(0.001)
    give_back(locks, gone)  # what the interrupted thread's ``finally`` does
    assert not first._holders
    assert not second._queue
    waiting.start("next", second, True)
    give_back([(second, True)], holder)
    waiting.join()
    assert waiting.got == ["next"]


def test_who_ended_without_tidying_up_holds_nothing():
    """A second interrupt may come before anything is tidied up; who waits finds out by itself."""
    lock, waiting = ReadWriteLock(), Waiting()
    holder = hold([(lock, True)])
    waiting.start("writer", lock, True)
    holder.token.release()  # and no release_all
    waiting.join()
    assert waiting.got == ["writer"]
    lock._holders[holder] = True
    lock.write(lambda: waiting.got.append("another"))
    assert waiting.got == ["writer", "another"]


def test_a_step_is_no_hindrance_for_readers_until_it_writes():
    lock, actual = ReadWriteLock(), list[str]()
    step = Holder(is_step=True)
    step.token.acquire()
    acquire_all([(lock, True)], step)

    def read():
        actual.append(lock.read(lambda: "read"))

    def finish(expected):
        thread.join(0.2)
        assert len(actual) == expected
        return thread.is_alive()

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(10)
    assert not finish(1)
    step.begin_writing()
    thread = threading.Thread(target=read)
    thread.start()
    assert finish(1)
    give_back([(lock, True)], step)
    thread.join(10)
    assert not finish(2)


# -- forks ----------------------------------------------------------------------------------------


def fork_child():
    """The exit status of a child that finds every lock free."""
    child = os.fork()
    if not child:
        try:
            free = all(not lock._holders and not lock._queue for lock in module._locks)
            os._exit(0 if free else 3)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_waits_for_the_writer_and_comes_before_the_next():
    lock, stop = ReadWriteLock(), threading.Event()
    torn = []

    def write(name):
        while not stop.is_set():
            holder = hold([(lock, True)])
            torn.append(name)
            time.sleep(0.0005)
            torn.remove(name)
            give_back([(lock, True)], holder)

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    try:
        assert [fork_child() for _ in range(10)] == [0] * 10
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert not torn
    assert not module._forks
    assert not lock._holders


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_thread_forks_while_it_writes_itself():
    lock, second = ReadWriteLock(), ReadWriteLock()
    locks = [(lock, True), (second, False)]
    holder = hold(locks)
    assert fork_child() == 0
    assert lock._holders == {holder: True}
    assert second._holders == {holder: False}
    give_back(locks, holder)


# -- code that interrupts its own thread ----------------------------------------------------------


def queue_thread(lock, take):
    """A thread that holds some of the locks it takes, and waits for ``lock``."""

    def work():
        holder = Holder(is_step=True)
        try:
            with holder.token:
                acquire_all(take, holder)
        finally:
            release_all(take, holder)

    thread = threading.Thread(target=work)
    thread.start()
    while not lock._queue:
        time.sleep(0.001)
    return thread


def test_what_interrupts_a_step_reads_what_waits_for_that_step():
    """Another thread holds ``first`` and waits for ``second``, which the interrupted step holds."""
    first, second = ReadWriteLock("first"), ReadWriteLock("second")
    step = hold([(second, True)])
    thread = queue_thread(second, [(first, True), (second, True)])
    assert first.read(lambda: 1) == 1
    assert second.read(lambda: 2) == 2
    for lock in (first, second):
        with pytest.raises(ReentryError, match=r"SG413.*" + lock.name):
            lock.write(lambda: pytest.fail("written in the middle of a step"))
        with pytest.raises(ReentryError):
            hold([(lock, True)])
    assert is_inside_another()
    give_back([(second, True)], step)
    thread.join(10)
    assert not thread.is_alive()
    assert not first._holders
    assert not second._holders
    assert not is_inside_another()


def test_what_interrupts_a_step_waits_for_a_write_that_has_begun():
    lock, step_lock, waiting = ReadWriteLock(), ReadWriteLock(), Waiting()
    step = hold([(step_lock, True)])
    started, go_on = threading.Event(), threading.Event()

    def write():
        holder = hold([(lock, True)])
        started.set()
        go_on.wait(10)
        waiting.got.append("written")
        give_back([(lock, True)], holder)

    thread = threading.Thread(target=write)
    thread.start()
    assert started.wait(10)
    waiting.start("later", lock, True)
    threading.Timer(0.1, go_on.set).start()
    assert lock.read(lambda: waiting.got[:1]) == ["written"]
    give_back([(step_lock, True)], step)
    thread.join(10)
    waiting.join()


def test_an_interruption_amid_the_bookkeeping_of_locks():
    """It cannot let others do their part of it, and need not."""
    lock, step_lock = ReadWriteLock(), ReadWriteLock()
    step = hold([(step_lock, True)])
    started, go_on = threading.Event(), threading.Event()

    def write():
        holder = hold([(lock, True)])
        started.set()
        go_on.wait(10)
        give_back([(lock, True)], holder)

    thread = threading.Thread(target=write)
    thread.start()
    assert started.wait(10)
    threading.Timer(0.1, go_on.set).start()
    with module._state:
        with pytest.raises(ReentryError):
            lock.write(lambda: None)
        assert lock.read(lambda: go_on.is_set())
        step_lock.read(lambda: None)
    thread.join(10)
    give_back([(step_lock, True)], step)
    assert not lock._holders
    assert not lock._queue
