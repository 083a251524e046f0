"""Locks that are reserved for one program keep other threads out as locks taken one by one do."""

import os
import signal
import threading
import time
from functools import partial

import pytest

from staticgrad.storage import locks as module
from staticgrad.storage.reservation import SETTLED
from tests.safety.moments import moments
from tests.storage import reserved

# -- two threads ----------------------------------------------------------------------------------


def meet(guarded, n, here, there, seconds):
    """Start something in another thread at the n-th moment of this one; whether there was one."""
    begun = []

    def start():
        begun.append(there())
        reserved.done_or_waiting(begun[0], seconds)

    with moments(n, start) as met:
        here()
    for future in begun:
        future.result(10)
    guarded.check()
    return met()


@pytest.mark.thinned
@reserved.forks
@reserved.each_act
@reserved.each_stride
@pytest.mark.parametrize("main", [reserved.Guarded.run, reserved.Guarded.share])
def test_another_thread_at_every_moment_of_a_step(main, act, stride, other):
    """Of one that takes all by a token, and of one after which the locks are reserved."""
    guarded = reserved.Guarded()
    for n in reserved.numbers(stride, main.__name__, act.__name__):
        guarded.prepare()
        if not meet(guarded, n, lambda: main(guarded), lambda: other.submit(act, guarded), 0.001):
            break
    assert n > 5


@pytest.mark.thinned(6)
@reserved.forks
@reserved.each_act
@reserved.each_stride
def test_a_reserved_step_of_another_thread_at_every_moment(act, stride, other):
    guarded = reserved.Guarded()
    if act in (reserved.Guarded.run_often, reserved.Guarded.fork):
        stride *= 23
    for n in reserved.numbers(stride, act.__name__):
        other.submit(guarded.prepare).result(10)
        step = partial(other.submit, guarded.run, 0.002)
        if not meet(guarded, n, lambda: act(guarded), step, 0.003):
            break
    assert n > 5


def test_who_waits_for_a_reserved_step_is_let_in_at_its_end(other, monkeypatch):
    monkeypatch.setattr(module, "POLL", 60)
    guarded = reserved.Guarded()
    reserved.settle(guarded.one, guarded.run)
    begun = []

    def work(_, __):
        begun.append(other.submit(guarded.set))
        while not guarded.b._queue:
            time.sleep(0.001)

    guarded.one.run(work, None)
    begun[0].result(10)
    guarded.check()


@reserved.forks
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_holds_nothing_although_its_fork_looked_at_nothing(other, monkeypatch):
    """An interrupt that comes while a fork waits is only reported, and it forks."""
    guarded, inside, go_on = reserved.Guarded(), threading.Event(), threading.Event()
    other.submit(reserved.settle, guarded.one, guarded.run).result(10)

    def work(_, __):
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


def test_a_step_begins_to_write_when_who_saw_that_it_does_not_has_read(other):
    guarded, copying, writing = reserved.Guarded(), threading.Event(), threading.Event()

    def copy():
        copying.set()
        return writing.wait(0.05)

    def work(_, begin):
        read = other.submit(lambda: seen.append(guarded.a.read(copy)))
        assert copying.wait(10)
        begin()
        writing.set()
        read.result(10)

    for settled in (False, True):
        seen = []
        if settled:
            reserved.settle(guarded.one, guarded.run)
        copying.clear()
        writing.clear()
        guarded.one.run(work, None)
        assert seen == [False]
    guarded.check()


def test_what_another_thread_holds_is_not_reserved(other):
    """Not even if it came after the step that would have been the last in turn."""
    guarded, inside, go_on = reserved.Guarded(), threading.Event(), threading.Event()

    def stay():
        inside.set()
        go_on.wait(10)

    def work(_, __):
        waiting.append(other.submit(guarded.a.write, stay))
        while not guarded.a._queue:
            time.sleep(0.001)

    waiting = []
    for _ in range(SETTLED - 1):
        guarded.run()
    guarded.one.run(work, None)
    assert not guarded.one._reserved.stands
    go_on.set()
    waiting[0].result(10)
    assert inside.is_set()
    guarded.check()
