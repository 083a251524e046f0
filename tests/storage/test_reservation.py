"""Locks are reserved for one program while nobody else wants one; code that interrupts it."""

from itertools import count

import pytest

from staticgrad.errors import ReentryError
from staticgrad.storage.locks import is_inside_another
from staticgrad.storage.reservation import SETTLED
from tests.safety.moments import moments
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
    settle(guarded.one, guarded.run)
    holder = guarded.one._reserved

    def look(_, begin):
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


@pytest.mark.parametrize("act", [Guarded.read, Guarded.set])
def test_between_steps_its_thread_reads_and_sets_without_ending_it(act):
    """A step of the program that is under way holds a value as ever."""
    guarded = Guarded()
    settle(guarded.one, guarded.run)
    holder, waiting = guarded.one._reserved, [guarded.a, guarded.b]
    for _ in range(3):
        act(guarded)
        assert guarded.one._reserved is holder
        assert holder.stands
        assert not any(lock._holders or lock._queue for lock in waiting)
        guarded.run()

    def work(_, begin):
        begin()
        with pytest.raises(ReentryError):
            guarded.b.write(lambda: None)

    guarded.one.run(work, None)
    assert not holder.stands
    guarded.check()


@pytest.mark.parametrize("act", [Guarded.read, Guarded.set, Guarded.share])
def test_whoever_else_wants_one_ends_it_until_the_program_has_settled(act, other):
    guarded = Guarded()
    settle(guarded.one, guarded.run)
    other.submit(act, guarded).result(10)
    assert not guarded.one._reserved.stands
    for _ in range(SETTLED):
        assert not guarded.one._reserved.stands
        guarded.run()
    assert guarded.one._reserved.stands
    guarded.check()


def test_another_thread_takes_the_locks_over(other):
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


def test_a_step_that_fails_gives_back_what_it_reserved():
    guarded = Guarded()
    settle(guarded.one, guarded.run)

    def fail(_, begin):
        begin()
        raise ValueError("index")

    for _ in range(3):
        with pytest.raises(ValueError, match="index"):
            guarded.one.run(fail, None)
        guarded.check()
    assert guarded.one._reserved.stands


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

        with moments(n, interrupt) as met:
            main(guarded)
        guarded.check()
        if not met():
            assert n > 5
            assert (refused > 0) is (act not in (Guarded.read, Guarded.fork))
            return


def test_an_interruption_that_needs_other_locks_at_every_moment_of_a_step():
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


@pytest.mark.thinned(4)
@pytest.mark.parametrize("act", ACTS[:-1], ids=[act.__name__ for act in ACTS[:-1]])
@each_stride
@pytest.mark.parametrize("reserved", [False, True])
def test_an_interrupt_at_every_moment_leaves_nothing_held(act, reserved, stride, other):
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
