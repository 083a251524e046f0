"""Locks that are reserved for one program keep everybody out as locks taken one by one do."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import count
from queue import SimpleQueue
from typing import Any

import pytest

from staticgrad.errors import ReentryError
from staticgrad.storage import locks as module
from staticgrad.storage.locks import HERE, ReadWriteLock, is_inside_another
from staticgrad.storage.reservation import SETTLED, LockSet
from tests.safety.moments import moments

Begin = Callable[[], object]


class Other:
    """A thread that does one thing after the other.

    No ThreadPoolExecutor: its ``submit`` waits for a lock of the module, which a fork holds while
    code is run in the middle of it.
    """

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[None]:
        """What becomes of ``function(*args)`` in the thread."""
        future: Future[None] = Future()

        def task() -> None:
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        self._tasks.put(task)
        return future

    def close(self) -> None:
        """Wait for what is under way, then for the thread."""
        self._tasks.put(None)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()


class Guarded:
    """Two values, a program that writes one and reads the other, and one that writes both.

    Attributes:
        errors: who was inside together.
    """

    def __init__(self) -> None:
        self.a, self.b = ReadWriteLock("a"), ReadWriteLock("b")
        self.elsewhere = ReadWriteLock("a value of no program")
        self.one = LockSet([(self.a, True), (self.b, False)])
        self.both = LockSet([(self.a, True), (self.b, True)])
        self.steps = 0
        self.writing = False
        self.errors: list[str] = []

    def step(self, seconds: float, begin: Begin) -> None:
        """What a program does under its locks; other threads have their turns meanwhile."""
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

    def run(self, seconds: float = 0.0) -> None:
        self.one.run(self.step, seconds)

    def share(self) -> None:
        self.both.run(self.step, 0.0)

    def prepare(self) -> None:
        """The next step of ``share`` reserves its locks; those of ``run`` are reserved."""
        self.a.read(lambda: None)  # nothing is reserved
        while self.both._taken_in_turn % SETTLED != SETTLED - 1:
            self.share()
        settle(self.one, self.run)

    def run_often(self) -> None:
        """Until its locks are reserved."""
        for _ in range(SETTLED):
            self.run()

    def read(self) -> None:
        self.a.read(self.look)

    def look(self) -> None:
        for _ in range(2):
            if self.writing:
                self.errors.append("read in the middle")
            time.sleep(0.001)

    def set(self) -> None:
        self.b.write(lambda: self.steps and self.errors.append("set in the middle"))

    def read_elsewhere(self) -> None:
        self.elsewhere.read(lambda: None)

    def fork(self) -> None:
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

    def check(self) -> None:
        """Nobody is inside, nobody was who should not; what is reserved is so for one alone."""
        assert not self.errors
        for locks in (self.one, self.both):
            holder = locks._reserved
            assert not holder.token.locked()
            assert not holder.stands or all(
                lock._reserved == (holder, write) for lock, write in locks._locks
            )
        for lock in (self.a, self.b):
            assert not lock._queue
            assert not any(holder.token.locked() for holder in lock._holders)
        assert not is_inside_another()


def settle(locks: LockSet, run: Callable[[], None]) -> None:
    for _ in range(3 * SETTLED + 1):
        if locks._reserved.stands:
            return
        run()
    pytest.fail("never reserved")


ACTS: tuple[Callable[[Guarded], None], ...] = (
    Guarded.read, Guarded.set, Guarded.run, Guarded.share, Guarded.run_often,
)  # fmt: skip
if hasattr(os, "fork"):
    ACTS = (*ACTS, Guarded.fork)
each_act = pytest.mark.parametrize("act", ACTS, ids=[act.__name__ for act in ACTS])
forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@pytest.fixture
def other() -> Iterator[Other]:
    """One other thread."""
    thread = Other()
    yield thread
    thread.close()


def done_or_waiting(future: Future[None], seconds: float) -> None:
    """Give another thread the time to do what it can, beside this one."""
    end = time.monotonic() + seconds
    while not future.done() and time.monotonic() < end:
        time.sleep(0.0005)


# -- when locks are reserved ----------------------------------------------------------------------


def test_locks_that_nobody_else_wants_are_taken_by_one_token() -> None:
    guarded = Guarded()
    settle(guarded.one, guarded.run)
    holder = guarded.one._reserved

    def look(_: None, begin: Begin) -> None:
        assert holder.token.locked()
        assert not guarded.a._holders
        assert is_inside_another()
        assert not holder.writing
        begin()
        assert holder.writing

    for _ in range(3):
        guarded.one.run(look, None)
        assert guarded.one._reserved is holder
    guarded.check()


@pytest.mark.parametrize("act", [Guarded.read, Guarded.set, Guarded.share])
def test_whoever_else_wants_one_ends_it_until_the_program_has_settled(
    act: Callable[[Guarded], None],
) -> None:
    guarded = Guarded()
    settle(guarded.one, guarded.run)
    act(guarded)
    assert not guarded.one._reserved.stands
    for _ in range(SETTLED):
        assert not guarded.one._reserved.stands
        guarded.run()
    assert guarded.one._reserved.stands
    guarded.check()


def test_programs_take_a_shared_lock_from_each_other() -> None:
    guarded = Guarded()
    for _ in range(3):
        settle(guarded.one, guarded.run)
        assert not guarded.both._reserved.stands
        settle(guarded.both, guarded.share)
        assert not guarded.one._reserved.stands
        guarded.check()


def test_programs_that_share_nothing_keep_their_locks_by_turns() -> None:
    first, second = Guarded(), Guarded()
    settle(first.one, first.run)
    settle(second.one, second.run)
    for each in (first, second) * 5:
        each.run()
        assert not each.a._holders
        assert HERE.innermost is each.one._reserved
    assert first.one._reserved.stands
    assert second.one._reserved.stands


def test_another_thread_takes_the_locks_over(other: Other) -> None:
    guarded = Guarded()
    settle(guarded.one, guarded.run)
    before = guarded.one._reserved
    for _ in range(SETTLED):
        other.submit(guarded.run).result(10)
    assert not before.stands
    assert guarded.one._reserved.stands
    assert guarded.one._reserved.thread != before.thread
    guarded.run()
    guarded.check()


def test_a_program_inside_the_step_of_another_reserves_nothing() -> None:
    outer, inner = Guarded(), Guarded()
    settle(inner.one, inner.run)
    reserved = inner.one._reserved

    def work(_: None, __: Begin) -> None:
        for _ in range(2 * SETTLED):
            inner.run()
            assert not inner.one._reserved.stands

    outer.one.run(work, None)
    assert not reserved.stands
    inner.check()


def test_a_step_that_fails_gives_back_what_it_reserved() -> None:
    guarded = Guarded()
    settle(guarded.one, guarded.run)

    def fail(_: None, begin: Begin) -> None:
        begin()
        raise ValueError("index")

    for _ in range(3):
        with pytest.raises(ValueError, match="index"):
            guarded.one.run(fail, None)
        guarded.check()
    assert guarded.one._reserved.stands


def test_what_an_earlier_step_left_behind_is_of_no_account() -> None:
    guarded = Guarded()
    settle(guarded.one, guarded.run)
    holder = guarded.one._reserved
    holder.writing = holder.paused = True  # as after an interrupt
    guarded.one.run(lambda _, __: holder.writing and guarded.errors.append("writing"), None)
    guarded.one.run(lambda _, __: holder.paused and guarded.errors.append("paused"), None)
    assert guarded.one._reserved is holder
    guarded.check()


# -- two threads ----------------------------------------------------------------------------------


def meet(
    guarded: Guarded,
    n: int,
    here: Callable[[], None],
    there: Callable[[], Future[None]],
    seconds: float,
) -> bool:
    """Start something in another thread at the n-th moment of this one; whether there was one."""
    begun: list[Future[None]] = []

    def start() -> None:
        begun.append(there())
        done_or_waiting(begun[0], seconds)

    with moments(n, start) as met:
        here()
    for future in begun:
        future.result(10)
    guarded.check()
    return met()


@forks
@each_act
@pytest.mark.parametrize("main", [Guarded.run, Guarded.share])
def test_another_thread_at_every_moment_of_a_step(
    main: Callable[[Guarded], None], act: Callable[[Guarded], None], other: Other
) -> None:
    """Of one that takes all by a token, and of one after which the locks are reserved."""
    guarded = Guarded()
    for n in count(1):
        guarded.prepare()
        if not meet(guarded, n, lambda: main(guarded), lambda: other.submit(act, guarded), 0.001):
            break
    assert n > 5


@forks
@each_act
def test_a_reserved_step_of_another_thread_at_every_moment(
    act: Callable[[Guarded], None], other: Other
) -> None:
    guarded = Guarded()
    for n in count(1, {Guarded.run_often: 23, Guarded.fork: 5}.get(act, 1)):
        other.submit(guarded.prepare).result(10)
        step = partial(other.submit, guarded.run, 0.002)
        if not meet(guarded, n, lambda: act(guarded), step, 0.003):
            break
    assert n > 5


def test_who_waits_for_a_reserved_step_is_let_in_at_its_end(
    other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL", 60)
    guarded = Guarded()
    settle(guarded.one, guarded.run)
    begun: list[Future[None]] = []

    def work(_: None, __: Begin) -> None:
        begun.append(other.submit(guarded.set))
        while not guarded.b._queue:
            time.sleep(0.001)

    guarded.one.run(work, None)
    begun[0].result(10)
    guarded.check()


@forks
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_holds_nothing_although_its_fork_looked_at_nothing(
    other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt that comes while a fork waits is only reported, and it forks."""
    guarded, inside, go_on = Guarded(), threading.Event(), threading.Event()
    other.submit(settle, guarded.one, guarded.run).result(10)

    def work(_: None, __: Begin) -> None:
        inside.set()
        go_on.wait(10)

    begun = other.submit(guarded.one.run, work, None)
    assert inside.wait(10)
    monkeypatch.setattr(module, "_next_for_fork", lambda _: None)
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(5)
            guarded.set()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    go_on.set()
    begun.result(10)
    guarded.check()


def test_a_step_begins_to_write_when_who_saw_that_it_does_not_has_read(other: Other) -> None:
    guarded, copying, writing = Guarded(), threading.Event(), threading.Event()

    def copy() -> bool:
        copying.set()
        return writing.wait(0.05)

    def work(_: None, begin: Begin) -> None:
        read = other.submit(lambda: seen.append(guarded.a.read(copy)))
        assert copying.wait(10)
        begin()
        writing.set()
        read.result(10)

    for settled in (False, True):
        seen: list[bool] = []
        if settled:
            settle(guarded.one, guarded.run)
        copying.clear()
        writing.clear()
        guarded.one.run(work, None)
        assert seen == [False]
    guarded.check()


def test_what_another_thread_holds_is_not_reserved(other: Other) -> None:
    """Not even if it came after the step that would have been the last in turn."""
    guarded, inside, go_on = Guarded(), threading.Event(), threading.Event()

    def stay() -> None:
        inside.set()
        go_on.wait(10)

    def work(_: None, __: Begin) -> None:
        waiting.append(other.submit(guarded.a.write, stay))
        while not guarded.a._queue:
            time.sleep(0.001)

    waiting: list[Future[None]] = []
    for _ in range(SETTLED - 1):
        guarded.run()
    guarded.one.run(work, None)
    assert not guarded.one._reserved.stands
    go_on.set()
    waiting[0].result(10)
    assert inside.is_set()
    guarded.check()


# -- one thread -----------------------------------------------------------------------------------


@forks
@each_act
@pytest.mark.parametrize("main", [Guarded.run, Guarded.share])
def test_what_interrupts_a_step_at_every_moment(
    main: Callable[[Guarded], None], act: Callable[[Guarded], None]
) -> None:
    guarded, refused = Guarded(), 0
    for n in count(1):
        guarded.prepare()

        def interrupt() -> None:
            nonlocal refused
            try:
                act(guarded)
            except ReentryError:
                refused += 1

        with moments(n, interrupt) as met:
            main(guarded)
        guarded.check()
        if not met():
            assert n > 5
            assert (refused > 0) is (act not in (Guarded.read, Guarded.fork))
            return


def test_an_interruption_that_needs_other_locks_at_every_moment_of_a_step() -> None:
    """It ends no reservation, but the step is the innermost no more."""
    guarded = Guarded()
    for n in count(1):
        settle(guarded.one, guarded.run)
        with moments(n, guarded.read_elsewhere) as met:
            guarded.run()
        guarded.check()
        if not met():
            assert n > 5
            return


class Interrupt(BaseException):
    """As Ctrl-C, but of this test."""


@pytest.mark.parametrize("act", ACTS[:-1], ids=[act.__name__ for act in ACTS[:-1]])
@pytest.mark.parametrize("reserved", [False, True])
def test_an_interrupt_at_every_moment_leaves_nothing_held(
    act: Callable[[Guarded], None], reserved: bool, other: Other
) -> None:
    everything: Sequence[Callable[[Guarded], None]] = (
        Guarded.read, Guarded.set, Guarded.run, Guarded.share,
    )  # fmt: skip

    def raise_interrupt() -> None:
        raise Interrupt

    for n in count(1, 23 if act is Guarded.run_often else 1):
        guarded = Guarded()
        for _ in range(SETTLED if reserved else SETTLED - 1):
            guarded.run()
        assert guarded.one._reserved.stands is reserved
        with moments(n, raise_interrupt) as met:
            try:
                act(guarded)
            except Interrupt:
                guarded.steps, guarded.writing = 0, False
        for every in everything:
            other.submit(every, guarded).result(10)
            every(guarded)
        guarded.check()
        settle(guarded.one, guarded.run)
        guarded.check()
        if not met():
            assert n > 5
            return
