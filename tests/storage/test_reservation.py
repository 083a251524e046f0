"""Locks are reserved for one program while nobody else wants one; code that interrupts it."""

import os
import signal
import threading
import time
from functools import partial
from itertools import count

import pytest

from staticgrad.errors import ReentryError
from staticgrad.language.storage import locks as module
from staticgrad.language.storage.locks import is_inside_another
from staticgrad.language.storage.reservation import SETTLED
from tests.safety.moments import moments
from tests.storage import reserved
from tests.storage.reserved import (
    ACTS,
    Guarded,
    each_act,
    each_stride,
    forks,
    numbers,
    settle,
)

# -- when locks are reserved ----------------------------------------------------------------------


def test_locks_that_nobody_else_wants_are_taken_by_one_token():
    guarded = Guarded()
    settle(guarded.mixed, guarded.run)
    holder = guarded.mixed._reserved

    def look(_, begin):
        assert holder.token.locked()
        assert not guarded.a._holders
        assert is_inside_another()
        assert not holder.writing
        begin()
        assert holder.writing

    for _ in range(3):
        guarded.mixed.run(look, None)
        assert guarded.mixed._reserved is holder
    guarded.check()


@pytest.mark.parametrize("act", [Guarded.read, Guarded.set])
def test_between_steps_its_thread_reads_and_sets_without_ending_it(act):
    """A step of the program that is under way holds a value as ever."""
    guarded = Guarded()
    settle(guarded.mixed, guarded.run)
    holder, waiting = guarded.mixed._reserved, [guarded.a, guarded.b]
    for _ in range(3):
        act(guarded)
        assert guarded.mixed._reserved is holder
        assert holder.stands
        assert not any(lock._holders or lock._queue for lock in waiting)
        guarded.run()

    def work(_, begin):
        begin()
        with pytest.raises(ReentryError):
            guarded.b.write(lambda: None)

    guarded.mixed.run(work, None)
    assert not holder.stands
    guarded.check()


@pytest.mark.parametrize("act", [Guarded.read, Guarded.set, Guarded.share])
def test_whoever_else_wants_one_ends_it_until_the_program_has_settled(act, other_thread):
    guarded = Guarded()
    settle(guarded.mixed, guarded.run)
    other_thread.submit(act, guarded).result(10)
    assert not guarded.mixed._reserved.stands
    for _ in range(SETTLED):
        assert not guarded.mixed._reserved.stands
        guarded.run()
    assert guarded.mixed._reserved.stands
    guarded.check()


def test_another_thread_takes_the_locks_over(other_thread):
    guarded = Guarded()
    settle(guarded.mixed, guarded.run)
    earlier = guarded.mixed._reserved
    for _ in range(SETTLED):
        other_thread.submit(guarded.run).result(10)
    assert not earlier.stands
    assert guarded.mixed._reserved.stands
    assert guarded.mixed._reserved.thread != earlier.thread
    guarded.run()
    guarded.check()


def test_a_step_that_fails_gives_back_what_it_reserved():
    guarded = Guarded()
    settle(guarded.mixed, guarded.run)

    def fail(_, begin):
        begin()
        raise ValueError("index")

    for _ in range(3):
        with pytest.raises(ValueError, match="index"):
            guarded.mixed.run(fail, None)
        guarded.check()
    assert guarded.mixed._reserved.stands


@pytest.mark.thinned
@forks
@each_act
@each_stride
@pytest.mark.parametrize("main", [Guarded.run, Guarded.share])
def test_what_interrupts_a_step_at_every_moment(main, act, stride):
    guarded, refused = Guarded(), 0
    for n in numbers(stride, main.__name__, act.__name__):
        guarded.prepare()

        def interrupt():
            nonlocal refused
            try:
                act(guarded)
            except ReentryError:
                refused += 1

        with moments(n, interrupt) as was_reached:
            main(guarded)
        guarded.check()
        if not was_reached():
            assert n > 5
            assert (refused > 0) is (act not in (Guarded.read, Guarded.fork))
            return


def test_an_interruption_that_needs_other_locks_at_every_moment_of_a_step():
    """It ends no reservation, but the step is the innermost no more."""
    guarded = Guarded()
    for n in count(1):
        settle(guarded.mixed, guarded.run)
        with moments(n, guarded.read_elsewhere) as was_reached:
            guarded.run()
        guarded.check()
        if not was_reached():
            assert n > 5
            return


class Interrupt(BaseException):
    """Like Ctrl-C, but of this test."""


@pytest.mark.thinned(4)
@pytest.mark.parametrize("act", ACTS[:-1], ids=[act.__name__ for act in ACTS[:-1]])
@each_stride
@pytest.mark.parametrize("reserved", [False, True])
def test_an_interrupt_at_every_moment_leaves_nothing_held(act, reserved, stride, other_thread):
    everything = (
        Guarded.read, Guarded.set, Guarded.run, Guarded.share,
    )  # fmt: skip

    def raise_interrupt():
        raise Interrupt

    if act is Guarded.run_often:
        stride *= 23
    for n in numbers(stride, act.__name__, reserved):
        guarded = Guarded()
        for _ in range(SETTLED if reserved else SETTLED - 1):
            guarded.run()
        assert guarded.mixed._reserved.stands is reserved
        with moments(n, raise_interrupt) as was_reached:
            try:
                act(guarded)
            except Interrupt:
                guarded.steps, guarded.writing = 0, False
        for every in everything:
            other_thread.submit(every, guarded).result(10)
            every(guarded)
        guarded.check()
        settle(guarded.mixed, guarded.run)
        guarded.check()
        if not was_reached():
            assert n > 5
            return


# -- reservation beside threads --------------------------------------------------------------------


def meet(guarded, n, action, submit, seconds):
    """Start something in another thread at the n-th moment of this one; whether there was one."""
    begun = []

    def start():
        begun.append(submit())
        reserved.done_or_waiting(begun[0], seconds)

    with moments(n, start) as was_reached:
        action()
    for future in begun:
        future.result(10)
    guarded.check()
    return was_reached()


@pytest.mark.thinned
@reserved.forks
@reserved.each_act
@reserved.each_stride
@pytest.mark.parametrize("main", [reserved.Guarded.run, reserved.Guarded.share])
def test_another_thread_at_every_moment_of_a_step(main, act, stride, other_thread):
    """The step takes all by a token, or is one after which the locks are reserved."""
    guarded = reserved.Guarded()
    for n in reserved.numbers(stride, main.__name__, act.__name__):
        guarded.prepare()
        if not meet(
            guarded, n, lambda: main(guarded), lambda: other_thread.submit(act, guarded), 0.001
        ):
            break
    assert n > 5


@pytest.mark.thinned(6)
@reserved.forks
@reserved.each_act
@reserved.each_stride
def test_a_reserved_step_of_another_thread_at_every_moment(act, stride, other_thread):
    guarded = reserved.Guarded()
    if act in (reserved.Guarded.run_often, reserved.Guarded.fork):
        stride *= 23
    for n in reserved.numbers(stride, act.__name__):
        other_thread.submit(guarded.prepare).result(10)
        step = partial(other_thread.submit, guarded.run, 0.002)
        if not meet(guarded, n, lambda: act(guarded), step, 0.003):
            break
    assert n > 5


def test_who_waits_for_a_reserved_step_is_let_in_at_its_end(other_thread, monkeypatch):
    monkeypatch.setattr(module, "POLL", 60)
    guarded = reserved.Guarded()
    reserved.settle(guarded.mixed, guarded.run)
    begun = []

    def work(_, __):
        begun.append(other_thread.submit(guarded.set))
        while not guarded.b._queue:
            time.sleep(0.001)

    guarded.mixed.run(work, None)
    begun[0].result(10)
    guarded.check()


@reserved.forks
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_holds_nothing_although_its_fork_looked_at_nothing(other_thread, monkeypatch):
    """An interrupt that comes while a fork waits is only reported, and it forks."""
    guarded, inside, go_on = reserved.Guarded(), threading.Event(), threading.Event()
    other_thread.submit(reserved.settle, guarded.mixed, guarded.run).result(10)

    def work(_, __):
        inside.set()
        go_on.wait(10)

    begun = other_thread.submit(guarded.mixed.run, work, None)
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


def test_a_step_begins_to_write_when_who_saw_that_it_does_not_has_read(other_thread):
    guarded, copying, writing = reserved.Guarded(), threading.Event(), threading.Event()

    def copy():
        copying.set()
        return writing.wait(0.05)

    def work(_, begin):
        read = other_thread.submit(lambda: seen.append(guarded.a.read(copy)))
        assert copying.wait(10)
        begin()
        writing.set()
        read.result(10)

    for settled in (False, True):
        seen = []
        if settled:
            reserved.settle(guarded.mixed, guarded.run)
        copying.clear()
        writing.clear()
        guarded.mixed.run(work, None)
        assert seen == [False]
    guarded.check()


def test_what_another_thread_holds_is_not_reserved(other_thread):
    """Not even if it came after the step that would have been the last in turn."""
    guarded, inside, go_on = reserved.Guarded(), threading.Event(), threading.Event()

    def stay():
        inside.set()
        go_on.wait(10)

    def work(_, __):
        waiting.append(other_thread.submit(guarded.a.write, stay))
        while not guarded.a._queue:
            time.sleep(0.001)

    waiting = []
    for _ in range(SETTLED - 1):
        guarded.run()
    guarded.mixed.run(work, None)
    assert not guarded.mixed._reserved.stands
    go_on.set()
    waiting[0].result(10)
    assert inside.is_set()
    guarded.check()
