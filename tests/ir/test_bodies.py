"""Plans are trees: a step with bodies goes through every reader of schedules and plans."""

from dataclasses import replace

import numpy as np
import pytest

from staticgrad import native
from staticgrad.analysis.cost import DEFAULT, all_seconds, plan_seconds, step_seconds
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.codegen.kernel_source import render
from staticgrad.errors import VerifyError
from staticgrad.ir.plan_text import parse_plan
from staticgrad.ir.schedule import Buffer
from staticgrad.ir.schedule_text import parse_schedule
from staticgrad.ir.verify_schedule import verify_schedule
from staticgrad.memory.planner import Planner
from staticgrad.runtime.arena import Arena
from staticgrad.runtime.guard import GuardedTable
from staticgrad.runtime.step import Program, Table
from staticgrad.types.dim import dim
from staticgrad.types.dtype import F32
from tests.ir.repeated_step import Repeated
from tests.runtime.handmade import ADD, ADD3, COPY, NEGATE, Builder, N
from tests.runtime.several_workers import Claims

ITERATIONS = dim("iterations", min=0)


def body(wide):
    """b = 3a, by way of one temporary, or (``wide``) of two that live together."""
    build = Builder()
    build.buffers += [Buffer("a", "input", F32, N, "a"), Buffer("b", "output", F32, N, "b")]
    twice = build.buffer("temp")
    build.step(ADD, "a", "a", twice)
    if wide:
        four, less = build.buffer("temp"), build.buffer("temp")
        build.step(ADD, twice, twice, four)
        build.step(NEGATE, twice, less)
        build.step(ADD3, four, less, "a", "b")
    else:
        build.step(ADD, "a", twice, "b")
    return build.schedule(b="b")


def program(iterations=ITERATIONS, wide=False):
    """y = -(9**iterations * x): the value goes from one buffer to the other and back."""
    build = Builder()
    x, y = build.buffer("input", label="x"), build.buffer("output", label="y")
    here, there, room = build.buffer("temp"), build.buffer("temp"), build.buffer("scratch", 0)
    build.step(COPY, x, here)
    repeated = Repeated(here, there, room, iterations, body(False), body(wide), label="thrice")
    build.steps.append(repeated)
    build.step(NEGATE, here, y)
    return build.schedule(y=y)


def run(plan, table_class=Table, *rest):
    schedule = plan.schedule
    addresses = {k: native.kernel(render(k)).address for k in schedule.kernels}
    table = table_class(Program(schedule, addresses, {}, native.driver()), plan, *rest)
    x, y = np.arange(1, 41, dtype="f4"), np.full(40, np.nan, "f4")
    arena = Arena()
    arena.reserve(plan.peak_bytes)
    table.bind_arena(arena)
    table.bind("b0", x.ctypes.data)
    table.bind("b1", y.ctypes.data)
    table.run(arena)
    return y


def test_the_text_of_a_schedule_with_bodies_reads_back():
    schedule = program()
    verify_schedule(schedule)
    text = str(schedule)
    assert "repeat (b2, b3, b4) total iterations" in text
    assert text.count("schedule handmade {") == 3
    again = parse_schedule(text)
    assert again == schedule
    assert str(again) == text


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_a_plan_with_bodies_is_placed_verified_written_and_run(iterations):
    plan = Planner(program(wide=True)).plan({"n": 40, "iterations": iterations})
    verify_plan(plan)
    each = -(-40 * 4 // 64) * 64
    first, second = plan.steps[1].bodies
    assert (first.peak_bytes, second.peak_bytes) == (each, 2 * each)
    assert plan.peak_bytes == 2 * each + second.peak_bytes
    assert parse_plan(str(plan)) == plan
    wanted = -(9.0**iterations) * np.arange(1, 41, dtype="f4")
    np.testing.assert_array_equal(run(plan), wanted)
    np.testing.assert_array_equal(run(plan, GuardedTable), wanted)


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_wait_between_the_bodies(workers):
    plan = Planner(program(), workers=workers).plan({"n": 40, "iterations": 3})
    verify_plan(plan)
    for seed in range(5):
        np.testing.assert_array_equal(run(plan, Claims, seed), -729 * np.arange(1, 41, dtype="f4"))


def test_the_predicted_seconds_are_those_of_the_kernels_that_run():
    plan = Planner(program()).plan({"n": 40, "iterations": 5})
    steps = [plan.schedule.steps[planned.step] for planned in plan.steps]
    _, inner, _ = all_seconds(steps, [planned.arguments for planned in plan.steps])
    assert inner == pytest.approx(5 * 4 * step_seconds(ADD, (40,), DEFAULT))
    assert inner == pytest.approx(5 * sum(map(plan_seconds, plan.steps[1].bodies)))


def damaged(plan, **changes):
    """The plan with its first body changed."""
    first, second = plan.steps[1].bodies
    made = replace(plan.steps[1], bodies=(replace(first, **changes), second))
    return replace(plan, steps=(plan.steps[0], made, plan.steps[2]))


def test_damage_in_a_body_is_found():
    plan = Planner(program()).plan({"n": 40, "iterations": 2})
    first = plan.steps[1].bodies[0]
    for changes in (
        {"placements": ()},
        {"peak_bytes": first.peak_bytes - 64},
        {"sizes": (("n", 41), ("iterations", 2))},
        {"workers": 2},
        {"steps": first.steps[:1]},
    ):
        with pytest.raises(VerifyError):
            verify_plan(damaged(plan, **changes))
    with pytest.raises(VerifyError, match="buffer_bytes are not those"):
        verify_plan(
            replace(plan, buffer_bytes=tuple((n, b - (n == "b4")) for n, b in plan.buffer_bytes))
        )
    with pytest.raises(VerifyError, match="other bodies"):
        verify_plan(
            replace(plan, steps=(plan.steps[0], replace(plan.steps[1], bodies=()), plan.steps[2]))
        )


def test_bodies_that_do_other_than_their_step_says_are_refused():
    schedule = program()
    step = schedule.steps[1]
    assert isinstance(step, Repeated)

    def with_first(first):
        steps = (schedule.steps[0], replace(step, first=first), schedule.steps[2])
        return replace(schedule, steps=steps)

    buffers = step.first.buffers
    parameter = (*buffers, Buffer("w", "parameter", buffers[0].dtype, N, "w"))
    with pytest.raises(VerifyError, match="a body has 'w', of role parameter"):
        verify_schedule(with_first(replace(step.first, buffers=parameter)))
    named = (replace(buffers[0], name="q"), *buffers[1:])
    with pytest.raises(VerifyError):
        verify_schedule(with_first(replace(step.first, buffers=named)))
    more = (*buffers, Buffer("c", "input", buffers[0].dtype, N, "c"))
    with pytest.raises(VerifyError, match="inputs and outputs of bodies are bound: 'c'"):
        verify_schedule(with_first(replace(step.first, buffers=more)))
