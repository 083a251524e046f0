"""Blocks of settings and modes that generators hold: each ends for itself, in whatever order."""

import asyncio

import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, detect_mutation, enable_grad, no_grad
from staticgrad.eager.tape import checking, recording
from staticgrad.support import building
from staticgrad.support.config import current

BLOCKS = {
    "eager mode": (sg.eager_mode, sg.eager_mode, lambda: type(sg.zeros(1)) is Tensor, True),
    "one setting": (
        lambda: sg.options(debug=True), lambda: sg.options(debug=True),
        lambda: current().debug, True,
    ),
    "another setting": (
        lambda: sg.options(threads=1), lambda: sg.options(debug=True),
        lambda: current().debug, True,
    ),
    "no gradients": (no_grad, no_grad, recording.innermost, False),
    "gradients again": (no_grad, enable_grad, recording.innermost, True),
    "a scope": (
        lambda: sg.scope("a"), lambda: sg.scope("b"), lambda: "b" in building.current().scope, True,
    ),
    "checksums": (detect_mutation, detect_mutation, lambda: bool(checking.innermost()), True),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_that_ends_behind_its_outer_one_leaves_all_as_before(name):
    outer, inner, state, inside = BLOCKS[name]

    def suspend_block():
        with inner():
            yield

    initial, settings = state(), current()
    with outer():
        generator = suspend_block()
        next(generator)
        assert state() == inside
    assert state() == inside  # the inner block has not ended
    generator.close()
    assert state() == initial
    assert current() == settings


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_belongs_to_the_task_that_enters_it(name):
    _, inner, state, inside = BLOCKS[name]
    initial, seen = state(), []

    async def within(entered, looked):
        with inner():
            entered.set()
            await looked.wait()
            seen.append(state() == inside)

    async def beside(entered, looked):
        await entered.wait()
        seen.append(state() == initial)
        looked.set()

    async def both():
        entered, looked = asyncio.Event(), asyncio.Event()
        await asyncio.gather(within(entered, looked), beside(entered, looked))

    asyncio.run(both())
    assert seen == [True, True]


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_holds_while_the_generator_that_it_decorates_runs(name):
    _, inner, state, inside = BLOCKS[name]
    initial, seen = state(), []

    @inner()
    def echo(first):
        try:
            sent = yield first
            seen.append(state() == inside)
            try:
                yield sent
            except ValueError as error:
                seen.append(state() == inside)
                yield str(error)
        finally:
            seen.append(state() == inside)
        return "end"

    generator = echo(1)
    assert (next(generator), state()) == (1, initial)
    assert (generator.send(2), state()) == (2, initial)
    assert (generator.throw(ValueError("three")), state()) == ("three", initial)
    with pytest.raises(StopIteration, match="end"):
        next(generator)
    closed = echo(1)
    next(closed)
    closed.close()
    assert state() == initial
    assert seen == [True] * 4


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_decorates_a_function(name):
    _, inner, state, inside = BLOCKS[name]
    initial = state()

    @inner()
    def check_state(x):
        """The docstring."""
        return x, state() == inside

    assert (check_state(3), check_state(x=4), check_state.__doc__) == (
        (3, True),
        (4, True),
        "The docstring.",
    )
    assert state() == initial
